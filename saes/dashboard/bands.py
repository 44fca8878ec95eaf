"""A feature's activity: counts, and its examples at the top and in bands between quantiles of its firings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from saes.dashboard.examples import Window
from saes.dashboard.histogram import find_bins, get_lower_edge

#: Bands are cut at these quantiles of the firings, each at the nearest edge of a histogram bin.
QUANTILES = (0.25, 0.5, 0.75, 0.95)


class Example(NamedTuple):
    """A firing and the tokens around it."""

    ids: tuple[int, ...]
    activations: tuple[float, ...]
    """One per token; NaN at tokens that the SAE does not read (the first of a sequence)."""
    peak: int
    """Which of them the example was chosen for."""
    value: float
    opens: bool
    """Whether the first token shown is the first of its sequence."""
    closes: bool
    """Whether the last token shown is the last of its sequence."""


@dataclass(frozen=True, eq=False)
class Band:
    """Firings between two values."""

    low: float
    high: float
    quantiles: tuple[float, float]
    """Share of the feature's firings below `low` and below `high`."""
    count: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class Activity:
    """The activity of one feature on the text."""

    tokens: int
    count: int
    """Tokens it fires on."""
    mean: float
    """Mean activation where it fires; NaN if it never does."""
    maximum: float
    histogram: Int[np.ndarray, " bin"]
    """Tokens per bin of `saes.dashboard.histogram`; the others, `tokens - count`, are at zero."""
    top: tuple[Example, ...]
    bands: tuple[Band, ...]
    """From the strongest to the weakest."""

    @property
    def density(self) -> float:
        return self.count / self.tokens


def summarize_activity(
    histogram: Int[np.ndarray, " bin"],
    *,
    tokens: int,
    total: float,
    maximum: float,
    top: np.ndarray,
    sampled: np.ndarray,
    window: Window,
    examples: int,
    per_band: int,
) -> Activity:
    """A feature's counts and the records that were kept for it, as they are shown.

    Args:
        top: records of the strongest firing of some sequences.
        sampled: records of a uniform sample of its firings; `rank` is their random number.
    """
    count = int(histogram.sum())
    best = top[:examples][np.argsort(-top[:examples]["value"], kind="stable")]
    bands = []
    cuts = find_band_edges(histogram)
    cumulative = np.concatenate([[0], np.cumsum(histogram)])
    bins = find_bins(sampled["value"].astype(np.float64))
    for low, high in pairwise(cuts):
        in_band = sampled[(bins >= low) & (bins < high)]
        in_band = _keep_one_per_sequence(in_band[np.argsort(in_band["rank"], kind="stable")])[:per_band]
        in_band = in_band[np.argsort(-in_band["value"], kind="stable")]
        below = float(cumulative[low]) / count, float(cumulative[high]) / count
        inside = int(cumulative[high] - cumulative[low])
        upper = min(get_lower_edge(high), maximum) if high == cuts[-1] else get_lower_edge(high)
        bands.append(
            Band(get_lower_edge(low), upper, below, inside, tuple(_build_example(record, window) for record in in_band))
        )
    return Activity(
        tokens,
        count,
        total / count if count else float("nan"),
        maximum,
        histogram,
        tuple(_build_example(record, window) for record in best),
        tuple(reversed(bands)),
    )


def find_band_edges(histogram: Int[np.ndarray, " bin"], quantiles: Sequence[float] = QUANTILES) -> list[int]:
    """Bin numbers at which bands begin and end: the occupied range, cut at the edges nearest to the quantiles."""
    occupied = np.flatnonzero(histogram)
    if not len(occupied):
        return []
    first, last = int(occupied[0]), int(occupied[-1]) + 1
    share = np.concatenate([[0], np.cumsum(histogram)]) / histogram.sum()
    inner = {int(first + np.argmin(np.abs(share[first : last + 1] - q))) for q in quantiles}
    edges = sorted({first, *inner, last})
    # Two cuts with nothing between them are one.
    return [e for i, e in enumerate(edges) if i == 0 or share[e] > share[edges[i - 1]]]


def _keep_one_per_sequence(records: np.ndarray) -> np.ndarray:
    """The first of each sequence and of each context, in order."""
    for name in ("sequence", "context"):
        records = records[np.sort(np.unique(records[name], return_index=True)[1])]
    return records


def _build_example(record: np.ndarray, window: Window) -> Example:
    """`window` holds one token more on either side than is shown."""
    inside = record["ids"] >= 0
    opens, closes = not inside[0], not inside[-1]
    inside[[0, -1]] = False
    ids = tuple(int(i) for i in record["ids"][inside])
    values = tuple(float(v) for v in record["acts"][inside])
    peak = window.before - int(np.flatnonzero(inside)[0])
    return Example(ids, values, peak, float(record["value"]), opens, closes)
