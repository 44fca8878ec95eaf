"""Gap recovered (when it is shown, where it may lie) and the minimum detectable effect against simulated power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elicit.statistics import detectable_difference, gap_recovered, minimum_detectable_effect


def rows(rng: np.random.Generator, p: float, seeds: int = 1, problems: int = 300) -> np.ndarray:
    return (rng.random((seeds, problems)) < p).astype(float)


def test_gap_of_exact_means() -> None:
    base, ceiling, arm = (np.repeat([[1.0, 0.0]], [right, 100 - right], axis=1) for right in (20, 80, 50))
    got = gap_recovered(arm, base, ceiling, 0, ceiling_name="cue")
    assert got.value == pytest.approx(0.5)
    assert got.ci is not None
    assert got.ci[0] < 0.5 < got.ci[1]
    assert got.to_json() == {"gap_recovered": got.value, "gap_ci": list(got.ci), "gap_ceiling": "cue"}


def test_gap_is_not_cut_to_the_unit_interval() -> None:
    rng = np.random.default_rng(0)
    base, ceiling = rows(rng, 0.3), rows(rng, 0.6)
    above, below = gap_recovered(rows(rng, 0.95), base, ceiling, 0), gap_recovered(rows(rng, 0.02), base, ceiling, 0)
    assert above.value is not None
    assert above.ci is not None
    assert above.ci[1] > above.value > 1
    assert below.value is not None
    assert below.ci is not None
    assert below.ci[0] < below.value < 0


@pytest.mark.parametrize("more", [0, 5, 100])
def test_gap_is_withheld_unless_the_ceiling_is_two_standard_errors_above(more: int) -> None:
    base = np.zeros((1, 200))
    ceiling = base.copy()
    ceiling[0, :more] = 1
    difference = more / 200
    error = math.sqrt((200 * difference * (1 - difference) + 1) / (200 * 199))
    got = gap_recovered(base, base, ceiling, 0, ceiling_name="cue")
    assert (got.value is None) == (difference <= 2 * error)
    if got.value is None:
        assert got.reason == (
            f"cue - base = {difference:.3f} does not exceed two standard errors ({2 * error:.3f}, n=200)"
        )
        assert got.to_json() == {"gap_recovered": None, "gap_ci": None, "gap_ceiling": "cue"}


def test_gap_draws_by_identity_and_widens_with_seeds() -> None:
    rng = np.random.default_rng(1)
    base, ceiling, arm = rows(rng, 0.2), rows(rng, 0.9), rows(rng, 0.5)
    first, again, other = (gap_recovered(arm, base, ceiling, seed).ci for seed in (0, 0, 1))
    assert first == again != other
    seeds = np.concatenate([rows(rng, p) for p in (0.35, 0.5, 0.65)])
    wide = gap_recovered(seeds, base, ceiling, 0).ci
    assert first is not None
    assert wide is not None
    assert wide[1] - wide[0] > 2 * (first[1] - first[0])


def test_gap_of_an_arm_that_is_the_base_keeps_a_width() -> None:
    base = np.zeros((1, 50))
    got = gap_recovered(base, base, np.ones((1, 50)), 0)
    assert got.value == 0
    assert got.ci is not None
    assert got.ci[0] < -0.01 < 0.01 < got.ci[1]


def test_gap_is_paired_over_complete_problems() -> None:
    rng = np.random.default_rng(2)
    base, ceiling, arm = rows(rng, 0.2), rows(rng, 0.9), rows(rng, 0.5, seeds=3)
    whole = gap_recovered(arm, base, ceiling, 0)
    hole = gap_recovered(*(np.insert(x, 0, math.nan, axis=1) for x in (arm, base, ceiling)), seed=0)
    assert (hole.value, hole.ci, hole.n) == (whole.value, whole.ci, 300)
    with pytest.raises(ValueError, match="share their problems"):
        gap_recovered(arm[:, :9], base, ceiling, 0)
    assert gap_recovered(arm[:, :1], base[:, :1], ceiling[:, :1], 0).value is None


@pytest.mark.parametrize(
    ("n", "p_ref", "correlation"), [(200, 0.4, 0.0), (200, 0.4, 0.5), (500, 0.1, 0.3), (1000, 0.7, 0.6)]
)
def test_simulated_power_at_the_minimum_detectable_effect(n: int, p_ref: float, correlation: float) -> None:
    """The score form of McNemar's test, (b - c)^2 / (b + c), on drawn tables rejects in about 80 % of them."""
    gain = minimum_detectable_effect(n, p_ref, correlation=correlation)
    assert gain is not None
    q = p_ref + gain
    both = p_ref * q + correlation * math.sqrt(p_ref * (1 - p_ref) * q * (1 - q))
    cells = [both, q - both, p_ref - both, 1 - p_ref - q + both]
    tables = np.random.default_rng(0).multinomial(n, cells, size=20_000)
    b, c = tables[:, 1], tables[:, 2]
    found = (b - c) ** 2 > 1.959964**2 * (b + c)
    assert found.mean() == pytest.approx(0.8, abs=0.02)
    same = minimum_detectable_effect(n, p_ref, discordance=cells[1] + cells[2])
    assert same == pytest.approx(gain, abs=1e-6)


@pytest.mark.parametrize(("problems", "runs"), [(400, (1, 1)), (400, (3, 1)), (300, (4, 4)), (200, (16, 16))])
def test_simulated_power_at_the_detectable_difference(problems: int, runs: tuple[int, int]) -> None:
    """Drawn runs on problems of four kinds: always for one arm, always for the other, a coin for both, alike for both.

    A paired t test over problems finds the difference in about 80 % of comparisons.
    """
    gain = detectable_difference(problems, runs, discordance=0.3, between=0.5)
    assert gain is not None
    for_one, coin = (0.15 + gain) / 2, 0.3
    kinds = [for_one, 0.15 - for_one, coin, 1 - 0.15 - coin]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(3000):
        kind = rng.choice(4, problems, p=kinds)
        first, second = (np.select([kind == 2], [rng.binomial(n, 0.5, problems) / n], 0.0) for n in runs)
        differences = first - second + (kind == 0) - (kind == 1)
        error = differences.std(ddof=1) / math.sqrt(problems)
        found.append(abs(differences.mean()) > 1.96 * error)
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_runs_shrink_only_their_own_share_of_the_variance() -> None:
    one = detectable_difference(400)
    assert one == minimum_detectable_effect(400, 0.5, discordance=0.3)
    assert detectable_difference(400, (10**6, 10**6)) == pytest.approx(detectable_difference(800), rel=1e-4)
    assert detectable_difference(400, (8, 8), between=1.0) == one
    with pytest.raises(ValueError, match="runs must be"):
        detectable_difference(400, (0, 1))


@given(st.integers(30, 5000), st.floats(0.05, 0.7), st.floats(0, 0.8))
def test_more_problems_or_closer_arms_see_smaller_effects(n: int, p_ref: float, correlation: float) -> None:
    def effect(n: int, **options: float) -> float:
        found = minimum_detectable_effect(n, p_ref, **{"correlation": correlation, **options})
        return math.inf if found is None else found

    assert effect(2 * n) <= effect(n)
    assert effect(n, correlation=correlation + 0.1) <= effect(n) + 1e-9
    assert effect(n, power=0.9) >= effect(n)
    assert effect(n, level=0.99) >= effect(n)


def test_effects_out_of_reach_and_wrong_questions() -> None:
    assert minimum_detectable_effect(20, 0.99) is None
    assert minimum_detectable_effect(200, 1.0) is None
    assert minimum_detectable_effect(10, 0.5, discordance=0.0) is None
    with pytest.raises(ValueError, match="not both"):
        minimum_detectable_effect(200, 0.4, discordance=0.2, correlation=0.5)
    with pytest.raises(ValueError, match="p_ref must lie"):
        minimum_detectable_effect(200, 1.4)
