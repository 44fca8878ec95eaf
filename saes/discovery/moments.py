"""Means, densities and the contrast of means, from sums that are kept while activations stream by."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float64, Int64

from saes.discovery.conditions import SparseActivations

#: Parts that groups are dealt into by their identity, for the interval.
PARTS = 128


@dataclass
class Moments:
    """Sums of one condition: memory is `PARTS` + 1 numbers per feature, whatever the number of tokens."""

    d_sae: int
    spans: int = 0
    counts: Int64[torch.Tensor, " d_sae"] = field(init=False)
    """Tokens at which a feature is active."""
    parts: Float64[torch.Tensor, "part d_sae"] = field(init=False)
    """Summed activations of the spans of each part. A group (a problem; else the ids) lies in one part, and in the
    same one under both conditions."""
    sizes: Int64[torch.Tensor, " part"] = field(init=False)
    """Tokens of each part."""

    def __post_init__(self) -> None:
        self.counts = torch.zeros(self.d_sae, dtype=torch.int64)
        self.parts = torch.zeros(PARTS, self.d_sae, dtype=torch.float64)
        self.sizes = torch.zeros(PARTS, dtype=torch.int64)

    def add(self, active: SparseActivations) -> None:
        self.spans += len(active.spans)
        self.counts += torch.bincount(active.feature, minlength=self.d_sae)
        part = torch.tensor([span.unit_key % PARTS for span in active.spans])[active.span]
        self.sizes += torch.bincount(part, minlength=PARTS)
        flat_index = part[active.token] * self.d_sae + active.feature
        self.parts.view(-1).index_add_(0, flat_index, active.value.double())

    @property
    def tokens(self) -> int:
        return int(self.sizes.sum())

    @property
    def mean(self) -> Float64[np.ndarray, " d_sae"]:
        """Mean activation over tokens."""
        return (self.parts.sum(0) / self.tokens).numpy()

    @property
    def density(self) -> Float64[np.ndarray, " d_sae"]:
        """Share of tokens at which a feature is active."""
        return (self.counts / self.tokens).numpy()

    @property
    def means_without(self) -> Float64[np.ndarray, "part d_sae"]:
        """The mean with each part left out; NaN where nothing is left."""
        sums, sizes = self.parts.sum(0) - self.parts, (self.tokens - self.sizes)[:, None]
        return torch.where(sizes > 0, sums / sizes, torch.nan).numpy()


def compute_contrast(
    positive: Moments, negative: Moments, *, level: float = 0.95
) -> dict[str, Float64[np.ndarray, " d_sae"]]:
    """Mean activation under the positive condition minus under the negative one (He et al., 2601.08058).

        contrast_i = mean_+ f_i - mean_- f_i

    over the counted tokens. The interval is a t interval from the delete-a-group jackknife (Kott 2001, J. Official
    Statistics 17:521): groups - a span's `group`, such as a problem; else the ids of a sequence - are dealt into 128
    parts by their identity, and the contrast is recomputed without each. So tokens of a sequence, and spans of a
    problem, do not count as independent; and where both conditions hold the same groups they are paired. It is one
    feature's own: of the *largest* contrast of many it is too hopeful, so judge a chosen feature on another split.

    Returns:
        `contrast`, and `contrast_low`, `contrast_high`: NaN where a condition has one group or nothing varies.
    """
    from scipy import special

    value = positive.mean - negative.mean
    occupied = ((positive.sizes + negative.sizes) > 0).numpy()
    without = (positive.means_without - negative.means_without)[occupied]
    n = len(without)
    if n < 2:
        return {"contrast": value, **dict.fromkeys(("contrast_low", "contrast_high"), np.full_like(value, np.nan))}
    variance = (n - 1) / n * ((without - without.mean(0)) ** 2).sum(0)
    # Rounding leaves about 1e-16 of the means where all parts agree: that is no spread.
    scale = np.maximum(np.abs(positive.mean), np.abs(negative.mean))
    spread = np.where(variance > (1e-9 * scale) ** 2, np.sqrt(variance), np.nan)
    half = float(special.stdtrit(n - 1, (1 + level) / 2)) * spread
    return {"contrast": value, "contrast_low": value - half, "contrast_high": value + half}
