"""The same problems under two conditions: where each feature fires, and how strongly at the last prompt token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from elicit.errors import ElicitError
from elicit.schema import Estimate
from elicit.statistics import mean
from saes.activations import stream
from saes.sae import SAE


class Prompt(NamedTuple):
    """One prompt and a feature's activations on it."""

    ids: tuple[int, ...]
    activations: tuple[float, ...]
    """One per token; NaN at the first, which the SAE does not read."""


class Difference(NamedTuple):
    """One feature under two conditions, at the last prompt token."""

    positive: Estimate
    negative: Estimate
    paired: Estimate
    """Positive minus negative, problem by problem."""
    shown: tuple[tuple[Prompt, Prompt], ...]
    """The first problems, not chosen for anything: (positive, negative)."""


class Contrast(NamedTuple):
    """All features under two conditions."""

    names: tuple[str, str]
    """What the positive and the negative condition are called."""
    features: tuple[int, ...]
    differences: tuple[Difference, ...]

    def of(self, feature: int) -> Difference | None:
        return self.differences[self.features.index(feature)] if feature in self.features else None


def contrast(
    model: Any,
    sae: SAE,
    positive: Sequence[Sequence[int]],
    negative: Sequence[Sequence[int]],
    *,
    features: Sequence[int],
    names: tuple[str, str] = ("cued", "uncued"),
    show: int = 4,
    skip: int = 1,
    batch_tokens: int = 8192,
) -> Contrast:
    """Compare features between two conditions of the same problems.

    Args:
        positive, negative: prompts as token ids; entry i of both is the same problem.
        show: problems whose activations are kept for every token.
        skip: first tokens of a prompt that are not read.

    Raises:
        ElicitError: lists of different length, or prompts with no token to read.
    """
    if len(positive) != len(negative) or not positive:
        raise ElicitError(
            f"contrast: {len(positive)} prompts of one condition and {len(negative)} of the other; "
            "expected as many of both, and at least one."
        )
    if min(map(len, [*positive, *negative])) <= skip:
        raise ElicitError(f"contrast: a prompt has no token to read (the first {skip} are left out).")
    chosen = tuple(int(i) for i in features)
    sides = [_read(model, sae, prompts, chosen, show, skip, batch_tokens) for prompts in (positive, negative)]
    differences = []
    for slot in range(len(chosen)):
        last = [side.last[:, slot] for side in sides]
        pairs = tuple(
            (_prompt(positive[i], sides[0].shown[i][:, slot]), _prompt(negative[i], sides[1].shown[i][:, slot]))
            for i in range(min(show, len(positive)))
        )
        differences.append(Difference(mean(last[0]), mean(last[1]), mean(last[0] - last[1]), pairs))
    return Contrast(names, chosen, tuple(differences))


class _Side(NamedTuple):
    last: np.ndarray
    """[prompt, feature] at the last token."""
    shown: dict[int, np.ndarray]
    """Prompt -> [token, feature]."""


def _read(
    model: Any,
    sae: SAE,
    prompts: Sequence[Sequence[int]],
    features: tuple[int, ...],
    show: int,
    skip: int,
    batch_tokens: int,
) -> _Side:
    last = np.zeros((len(prompts), len(features)))
    shown = {i: np.full((len(prompts[i]), len(features)), np.nan) for i in range(min(show, len(prompts)))}
    lengths = np.array([len(prompt) for prompt in prompts])
    for harvest in stream(model, sae.layer, prompts, batch_tokens=batch_tokens, skip=skip):
        sequence, position = harvest.sequence.numpy(), harvest.position.numpy()
        wanted = np.flatnonzero((position == lengths[sequence] - 1) | (sequence < show))
        with torch.no_grad():
            h = harvest.h[torch.from_numpy(wanted).to(harvest.h.device)]
            f = sae.encode(h)[:, list(features)].cpu().numpy()
        for row, (s, p) in enumerate(zip(sequence[wanted], position[wanted], strict=True)):
            if p == lengths[s] - 1:
                last[s] = f[row]
            if s in shown:
                shown[s][p] = f[row]
    return _Side(last, shown)


def _prompt(ids: Sequence[int], activations: np.ndarray) -> Prompt:
    return Prompt(tuple(int(i) for i in ids), tuple(float(a) for a in activations))
