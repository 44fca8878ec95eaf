"""AUROC of every feature from a stream: exact on small inputs, quantised with a bound that is known on large ones.

    AUROC_i = P(f_i+ > f_i-) + P(f_i+ = f_i-) / 2

over pairs of a positive and a negative token (Mann and Whitney 1947). Most activations are 0, and zeros need only be
counted. Nonzero values are kept while there are at most `KEPT` per condition: the figure is then exact. Above that they
are counted in a fixed logarithmic grid of their float32 bits (2^b steps per octave, b from `bits`): only pairs whose
values share a cell are not told apart, and count half. So

    |AUROC_i - exact| <= (share of pairs in the same cell) / 2,

a figure the counts give, feature by feature. The grid does not depend on the data: neither order nor batches matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float64, Int64

from saes.discovery.conditions import SparseActivations

#: Nonzero values a condition keeps before it falls back on the grid (12 bytes each).
MAX_EXACT_VALUES = 2**21
#: Cells of a grid for each sign, at most (4 bytes each, touched only where values fall).
CELLS = 2**24
#: Octaves the grid tells apart: 2^-12 to 2^20. Values outside share the end cells of their sign.
_LOWEST, _OCTAVES = -12, 32
_MANTISSA = 23


@dataclass
class ActivationValues:
    """The nonzero activations of one condition, or their histograms."""

    d_sae: int
    limit: int = MAX_EXACT_VALUES
    tokens: int = 0
    above: Int64[torch.Tensor, " d_sae"] = field(init=False)
    """Tokens with a positive activation."""
    below: Int64[torch.Tensor, " d_sae"] = field(init=False)
    """Tokens with a negative one (only AbsTopK has any)."""
    entries: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    size: int = 0
    grid: torch.Tensor | None = None

    def __post_init__(self) -> None:
        self.above, self.below = torch.zeros(2, self.d_sae, dtype=torch.int64).unbind()

    def add(self, active: SparseActivations) -> None:
        self.tokens += active.tokens
        negative = active.value < 0
        self.above += torch.bincount(active.feature[~negative], minlength=self.d_sae)
        self.below += torch.bincount(active.feature[negative], minlength=self.d_sae)
        self.size += len(active.value)
        if self.grid is None:
            self.entries.append((active.feature.int(), active.value.float()))
            if self.size > self.limit:
                self.switch_to_grid()
        else:
            self._count_in_grid(active.feature, active.value.float())

    def switch_to_grid(self) -> None:
        """Trade the kept values for their counts in the grid."""
        if self.grid is None:
            self.grid = torch.zeros(self.d_sae * count_cells(self.d_sae), dtype=torch.int32)
            for feature, value in self.entries:
                self._count_in_grid(feature.long(), value)
            self.entries = []

    def _count_in_grid(self, feature: torch.Tensor, value: torch.Tensor) -> None:
        assert self.grid is not None
        b, half = compute_mantissa_bits(self.d_sae), count_cells(self.d_sae) // 2
        size = ((value.abs().view(torch.int32) >> (_MANTISSA - b)) - ((127 + _LOWEST) << b)).clamp(0, half - 1)
        # Negative values mirror the positive ones, so that cells are in the order of their values.
        index = feature * 2 * half + torch.where(value < 0, half - 1 - size, half + size)
        self.grid.index_add_(0, index, torch.ones(1, dtype=torch.int32).expand(len(index)))


def compute_mantissa_bits(d_sae: int) -> int:
    """Mantissa bits the grid keeps: a cell is 2^-bits of its octave wide. 6 (1.6 %) for 8,192 features."""
    affordable = CELLS // (_OCTAVES * d_sae)
    return max(2, min(8, affordable.bit_length() - 1))


def count_cells(d_sae: int) -> int:
    """Cells of the grid per feature, both signs."""
    return 2 * _OCTAVES << compute_mantissa_bits(d_sae)


def compute_auroc(positive: ActivationValues, negative: ActivationValues) -> dict[str, Float64[np.ndarray, " d_sae"]]:
    """AUROC per feature, and how far it can be from the exact one.

    Returns:
        `auroc`: 0.5 for a feature that is never active; `auroc_error`: 0 where exact.
    """
    if positive.grid is None and negative.grid is None:
        wins, shared = _count_exact_wins(positive, negative)
    else:
        positive.switch_to_grid()
        negative.switch_to_grid()
        wins, shared = _count_grid_wins(positive, negative)
    silent_p, silent_n = (side.tokens - (side.above + side.below).double().numpy() for side in (positive, negative))
    # A silent token loses to a positive activation and wins over a negative one.
    wins += positive.above.double().numpy() * silent_n + silent_p * negative.below.double().numpy()
    pairs = float(positive.tokens) * negative.tokens
    return {"auroc": (wins + silent_p * silent_n / 2) / pairs, "auroc_error": shared / 2 / pairs}


def _count_exact_wins(positive: ActivationValues, negative: ActivationValues) -> tuple[np.ndarray, np.ndarray]:
    """(pairs of nonzero values that the positive wins, ties as halves; pairs left untold: none)."""
    keys = []
    for side in (positive, negative):
        parts = [(feature.long() << 32) + _to_sortable_int(value) for feature, value in side.entries]
        keys.append(torch.cat(parts).numpy() if parts else np.zeros(0, np.int64))
    # One sort orders by feature and then by value.
    distinct, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    ours, theirs = (
        np.bincount(part, minlength=len(distinct)).astype(np.float64)
        for part in (inverse[: len(keys[0])], inverse[len(keys[0]) :])
    )
    feature = distinct >> 32
    starts = np.searchsorted(feature, np.arange(positive.d_sae))
    before = np.concatenate([[0.0], np.cumsum(theirs)])
    below = before[:-1] - before[starts[feature]]
    wins = np.bincount(feature, weights=ours * (below + theirs / 2), minlength=positive.d_sae)
    return wins, np.zeros(positive.d_sae)


def _to_sortable_int(value: torch.Tensor) -> torch.Tensor:
    """Integers from 0 to 2^32 in the order of float32 values: bits of positive ones, mirrored bits of negative ones."""
    bit = value.view(torch.int32).long()
    return torch.where(bit < 0, -(bit & 0x7FFF_FFFF), bit) + 2**31


def _count_grid_wins(positive: ActivationValues, negative: ActivationValues) -> tuple[np.ndarray, np.ndarray]:
    ours_grid, theirs_grid = positive.grid, negative.grid
    assert ours_grid is not None
    assert theirs_grid is not None
    wins, shared = np.zeros((2, positive.d_sae))
    width = count_cells(positive.d_sae)
    step = max(1, 2**20 // width)
    for first in range(0, positive.d_sae, step):
        part = slice(first * width, (first + step) * width)
        ours, theirs = (
            rearrange(grid[part], "(feature cell) -> feature cell", cell=width).double()
            for grid in (ours_grid, theirs_grid)
        )
        below = theirs.cumsum(1) - theirs
        wins[first : first + step] = (ours * (below + theirs / 2)).sum(1).numpy()
        shared[first : first + step] = (ours * theirs).sum(1).numpy()
    return wins, shared
