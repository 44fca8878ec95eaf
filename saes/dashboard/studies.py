"""`study`: everything that the pages of an SAE's features show, computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from saes.dashboard.collecting import Collected, collect
from saes.dashboard.contrasting import Contrast, contrast
from saes.dashboard.lens import Lens, logit_lens
from saes.dashboard.text import Vocabulary, vocabulary
from saes.sae import SAE


class Dose(NamedTuple):
    """One dose-response curve of a feature."""

    label: str
    """Whose it is and how it was applied: an arm, a mode."""
    points: Sequence[Mapping[str, Any]]
    """As `record["dose_response"]` of a steering method holds them: layer, strength, absolute, accuracy, ci, n,
    trace_rate and, where it was recorded, trace_ci."""
    unit: str = "median residual norms"
    """What strength 1 is."""


class Neighbour(NamedTuple):
    """Another feature and how near it is."""

    feature: int
    value: float


@dataclass(frozen=True, eq=False)
class Study:
    """Results on the features of one SAE on one model and text."""

    collected: Collected
    vocabulary: Vocabulary
    lens: Lens | None = None
    contrast: Contrast | None = None
    doses: Mapping[int, Sequence[Dose]] = field(default_factory=dict)
    text: str = ""
    """What the text is, in words."""
    used: Mapping[int, str] = field(default_factory=dict)
    """Feature -> arms of a run that use it. These features are shown before the others."""

    def __repr__(self) -> str:
        return (
            f"Study({self.sae.name}: {len(self.collected.features):,} features, {len(self.collected.live):,} of them "
            "live, "
            f"over {self.collected.tokens:,} tokens)"
        )

    @property
    def sae(self) -> SAE:
        return self.collected.sae

    def find_nearest(self, feature: int, count: int = 8) -> tuple[Neighbour, ...]:
        """The features of the SAE whose decoder rows have the largest cosine with this one's."""
        rows = self.sae.directions
        sizes = rows.norm(dim=-1).clamp_min(torch.finfo(rows.dtype).tiny)
        cosine = (rows @ rows[feature]) / (sizes * sizes[feature])
        cosine[feature] = -torch.inf
        best = torch.sort(cosine, descending=True, stable=True).indices[: min(count, len(cosine) - 1)]
        return tuple(Neighbour(int(i), float(cosine[i])) for i in best)

    def find_correlated(self, feature: int, count: int = 8) -> tuple[Neighbour, ...]:
        """The collected features whose activations correlate most with this one's; empty where not known."""
        if self.collected.correlations is None:
            return ()
        row = self.collected.correlations[self.collected.get_slot(feature)]
        others = [(f, float(r)) for f, r in zip(self.collected.features, row, strict=True) if f != feature and r == r]
        others.sort(key=lambda entry: (-entry[1], entry[0]))
        return tuple(Neighbour(f, r) for f, r in others[:count] if r > 0)


def study(
    model: Any,
    tokenizer: Any,
    sae: SAE,
    sequences: Iterable[Sequence[int]],
    *,
    features: Sequence[int] | None = None,
    positive: Sequence[Sequence[int]] = (),
    negative: Sequence[Sequence[int]] = (),
    names: tuple[str, str] = ("cued", "uncued"),
    doses: Mapping[int, Sequence[Dose]] | None = None,
    text: str = "",
    used: Mapping[int, str] | None = None,
    examples: int = 20,
    seed: int = 0,
    batch_tokens: int = 8192,
    progress: Callable[[int], None] | None = None,
) -> Study:
    """Collect examples, the logit lens and, given prompts of two conditions, the contrast.

    Args:
        model: a transformers causal LM or a TransformerBridge.
        tokenizer: its transformers tokenizer.
        sequences: token ids of the text, with their BOS.
        features: which latents; None for all.
        positive: prompts of problems under one condition, as token ids.
        negative: prompts of the same problems under the other.
        doses: dose-response curves by feature.
        text: what the text is, in words; printed on the pages.
        used: features that arms use, and which; shown before the others.

    Raises:
        ElicitError: as `collect`, `logit_lens` and `contrast`.
    """
    words = vocabulary(tokenizer)
    collected = collect(
        model, sae, sequences, features=features, examples=examples, seed=seed, batch_tokens=batch_tokens,
        progress=progress,
    )  # fmt: skip
    # A pad token of its own was never trained; one that is the end token was.
    pad = {tokenizer.pad_token_id} - {None, tokenizer.eos_token_id}
    lens = logit_lens(model, sae, collected.features, ignore=pad | words.gaps, size=words.size)
    sides = (
        contrast(model, sae, positive, negative, features=collected.features, names=names, batch_tokens=batch_tokens)
        if positive or negative
        else None
    )
    return Study(collected, words, lens, sides, dict(doses or {}), text, dict(used or {}))
