"""The same problems under two conditions: where each feature fires, and how strongly at the last prompt token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from elicit.errors import ElicitError
from elicit.schema import Estimate
from elicit.statistics import estimate_mean
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
    prompt_pairs: tuple[tuple[Prompt, Prompt], ...]
    """The first problems, not chosen for anything: (positive, negative)."""


class Contrast(NamedTuple):
    """All features under two conditions."""

    names: tuple[str, str]
    """What the positive and the negative condition are called."""
    features: tuple[int, ...]
    differences: tuple[Difference, ...]

    def get_difference(self, feature: int) -> Difference | None:
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
        positive: prompts of one condition as token ids.
        negative: prompts of the other; entry i of both is the same problem.
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
    sides = [_read_side(model, sae, prompts, chosen, show, skip, batch_tokens) for prompts in (positive, negative)]
    differences = []
    for slot in range(len(chosen)):
        last = [side.last[:, slot] for side in sides]
        pairs = tuple(
            (
                _build_prompt(positive[i], sides[0].token_activations[i][:, slot]),
                _build_prompt(negative[i], sides[1].token_activations[i][:, slot]),
            )
            for i in range(min(show, len(positive)))
        )
        differences.append(
            Difference(estimate_mean(last[0]), estimate_mean(last[1]), estimate_mean(last[0] - last[1]), pairs)
        )
    return Contrast(names, chosen, tuple(differences))


class _Side(NamedTuple):
    last: np.ndarray
    """[prompt, feature] at the last token."""
    token_activations: dict[int, np.ndarray]
    """Prompt -> [token, feature]."""


def _read_side(
    model: Any,
    sae: SAE,
    prompts: Sequence[Sequence[int]],
    features: tuple[int, ...],
    show: int,
    skip: int,
    batch_tokens: int,
) -> _Side:
    last = np.zeros((len(prompts), len(features)))
    token_activations = {i: np.full((len(prompts[i]), len(features)), np.nan) for i in range(min(show, len(prompts)))}
    lengths = np.array([len(prompt) for prompt in prompts])
    for harvest in stream(model, sae.layer, prompts, batch_tokens=batch_tokens, skip=skip):
        sequence, position = harvest.sequence.numpy(), harvest.position.numpy()
        token_rows = np.flatnonzero((position == lengths[sequence] - 1) | (sequence < show))
        with torch.no_grad():
            h = harvest.h[torch.from_numpy(token_rows).to(harvest.h.device)]
            f = sae.encode(h)[:, list(features)].cpu().numpy()
        for row, (s, p) in enumerate(zip(sequence[token_rows], position[token_rows], strict=True)):
            if p == lengths[s] - 1:
                last[s] = f[row]
            if s in token_activations:
                token_activations[s][p] = f[row]
    return _Side(last, token_activations)


def _build_prompt(ids: Sequence[int], activations: np.ndarray) -> Prompt:
    return Prompt(tuple(int(i) for i in ids), tuple(float(a) for a in activations))
