"""How examples, bins and bands are chosen, against sorting by hand and counting."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.seeds import make_generator
from saes.dashboard.bands import QUANTILES, find_band_edges
from saes.dashboard.examples import FiringPool, Firings, Window, round_for_ordering, select_smallest
from saes.dashboard.histogram import BINS, find_bins, get_lower_edge

firings = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=60
)


@given(firings, st.integers(1, 4))
@settings(max_examples=300)
def test_choosing_is_sorting(entries: list[tuple[int, int, int, int]], keep: int) -> None:
    slot, rank, key, sequence = (np.array(column) for column in zip(*entries, strict=True))
    kept = select_smallest(slot, rank.astype(float), key.astype(np.uint64), sequence.astype(np.uint64), keep)
    expected = []
    for s in sorted(set(slot.tolist())):
        best: dict[int, tuple[int, int]] = {}
        for s2, r, k, q in entries:
            if s2 == s:
                best[k] = min(best.get(k, (99, 99)), (r, q))
        ranked = sorted((r, k, q) for k, (r, q) in best.items())[:keep]
        expected += [(s, r, k, q) for r, k, q in ranked]
    assert [(slot[i], rank[i], key[i], sequence[i]) for i in kept] == expected


@given(st.lists(st.integers(0, 40), min_size=1, max_size=200).filter(any))
@settings(max_examples=200)
def test_cuts_cover_the_firings_and_leave_no_band_empty(counts: list[int]) -> None:
    histogram = np.array(counts)
    cuts = find_band_edges(histogram)
    assert cuts == sorted(set(cuts))
    assert len(cuts) <= len(QUANTILES) + 2
    assert sum(histogram[cuts[0] : cuts[-1]]) == histogram.sum()
    assert all(histogram[low:high].sum() > 0 for low, high in pairwise(cuts))


def test_the_sample_is_uniform() -> None:
    """40 of 400 firings under 300 seeds: every firing is drawn as often as any other."""
    n, keep, seeds = 400, 40, 300
    drawn = np.zeros(n)
    for seed in range(seeds):
        pool = FiringPool(1, keep, Window(0, 0))
        keys = make_generator("uniform", seed).integers(0, 2**63, n, dtype=np.uint64)
        for part in np.array_split(np.arange(n), 7):
            zero = np.zeros(len(part), dtype=np.int64)
            firing = Firings(zero, keys[part].astype(float), keys[part], keys[part], keys[part], part, part + 1.0)
            offered = pool.filter_candidates(firing)
            record = np.zeros(len(offered.slot), dtype=pool.kept.dtype)
            for name in ("slot", "rank", "key", "context", "sequence", "value"):
                record[name] = getattr(offered, name)
            pool.add(record)
        drawn[pool.kept["value"].astype(int) - 1] += 1
    assert drawn.sum() == keep * seeds
    spread = ((drawn - keep * seeds / n) ** 2).sum() / (keep * seeds / n * (1 - keep / n))
    assert 1e-3 < scipy.stats.chi2.cdf(spread, n - 1) < 1 - 1e-3


@given(st.floats(1e-5, 1e5))
def test_values_that_rounding_tells_apart_count_as_equal(value: float) -> None:
    middle = round_for_ordering(np.array([value]))
    assert middle == pytest.approx(value, rel=1 / 2048)
    noisy = middle * np.array([1 - 1e-6, 1 + 1e-6])
    assert (round_for_ordering(noisy) == middle).all()


def test_bins_and_edges_agree() -> None:
    edges = [get_lower_edge(b) for b in range(0, BINS, 37)]
    inside = np.array([value * 1.001 for value in edges])
    assert find_bins(inside).tolist() == list(range(0, BINS, 37))
    assert find_bins(np.array([1e-30, 1e30])).tolist() == [0, BINS - 1]
