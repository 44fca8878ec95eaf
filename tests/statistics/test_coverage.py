"""Do the intervals cover as they say? Simulated from a known truth; `-s` prints the measured figures.

The model is probit: problems have difficulties that arms share in part, training seeds move a whole row, and each
answer has its own noise. The truth is the mean over problems and seeds.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from elicit.statistics import (
    estimate_accuracy,
    estimate_difference,
    estimate_table_mean,
    gap_recovered,
    wilson_interval,
)

PROBLEMS, DIFFICULTY, SHARED = 200, 1.5, 0.7
DRAWS = 1500
#: Coverage wanted; the tolerance holds three standard errors of the simulation (0.0056) beyond 0.93-0.98.
LOW, HIGH = 0.925, 0.985


def draw(
    rng: np.random.Generator, accuracy: float, seeds: int, seed_sd: float, shared: np.ndarray, difficulty: float
) -> np.ndarray:
    """(seeds, problems) of 0/1 whose mean over everything is `accuracy`; seeds move it by about `seed_sd`."""
    spread = np.sqrt(1 + difficulty**2)
    latent_sd = seed_sd * spread / stats.norm.pdf(stats.norm.ppf(accuracy))
    latent = stats.norm.ppf(accuracy) * np.hypot(spread, latent_sd)
    own = rng.normal(size=PROBLEMS) * difficulty * np.sqrt(1 - SHARED)
    noise = rng.normal(size=(seeds, PROBLEMS))
    return (latent + shared + own + rng.normal(size=(seeds, 1)) * latent_sd + noise > 0).astype(float)


def pair(
    rng: np.random.Generator, accuracies: tuple[float, float], seeds: tuple[int, int], sds: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    shared = rng.normal(size=PROBLEMS) * DIFFICULTY * np.sqrt(SHARED)
    a, b = (
        draw(rng, accuracy, rows, sd, shared, DIFFICULTY)
        for accuracy, rows, sd in zip(accuracies, seeds, sds, strict=True)
    )
    return a, b


@pytest.mark.slow
@pytest.mark.parametrize("accuracies", [(0.4, 0.4), (0.5, 0.4), (0.15, 0.1), (0.9, 0.9)])
@pytest.mark.parametrize(
    ("seeds", "sds"),
    [
        ((1, 1), (0.0, 0.0)),
        ((3, 1), (0.0, 0.0)),
        ((3, 1), (0.04, 0.0)),
        ((3, 1), (0.08, 0.0)),
        ((3, 3), (0.0, 0.0)),
        ((3, 3), (0.04, 0.02)),
        ((3, 3), (0.08, 0.08)),
    ],
)
def test_difference_covers(accuracies: tuple[float, float], seeds: tuple[int, int], sds: tuple[float, float]) -> None:
    # A seed sd of 0.08 around an accuracy of 0.1 would be nearly as large as the accuracy: scale with its room.
    room = 2 * np.sqrt(accuracies[0] * (1 - accuracies[0]))
    sds = (sds[0] * room, sds[1] * room)
    rng = np.random.default_rng(0)
    truth = accuracies[0] - accuracies[1]
    results = [estimate_difference(*pair(rng, accuracies, seeds, sds)) for _ in range(DRAWS)]
    covered = np.mean([r.ci is not None and r.ci[0] <= truth <= r.ci[1] for r in results])
    small = np.mean([r.p is not None and r.p < 0.05 for r in results])
    width = np.mean([r.ci[1] - r.ci[0] for r in results if r.ci is not None])
    print(
        f"\naccuracies {accuracies} seeds {seeds} sd {sds[0]:.3f}/{sds[1]:.3f}: "
        f"covered {covered:.3f}, width {width:.3f}, p < 0.05 {small:.3f}"
    )
    assert LOW <= covered <= HIGH
    if truth == 0:
        assert small <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("seed_sd", [0.04, 0.08])
def test_why_mcnemar_is_never_pooled_over_seeds(seed_sd: float) -> None:
    """Pooling the discordant pairs of three seeds into one table finds differences that are not there."""
    rng = np.random.default_rng(1)
    pooled, ours = 0, 0
    for _ in range(DRAWS):
        a, b = pair(rng, (0.4, 0.4), (3, 1), (seed_sd, 0.0))
        gained, lost = int((a > b).sum()), int((a < b).sum())
        pooled += stats.binomtest(gained, gained + lost).pvalue < 0.05
        result = estimate_difference(a, b)
        assert result.p is not None
        assert "McNemar" not in result.test
        ours += result.p < 0.05
    print(f"\nno difference, 3 seeds against 1, sd {seed_sd}: pooled McNemar {pooled / DRAWS:.3f}, ", end="")
    print(f"two-level {ours / DRAWS:.3f}")
    assert pooled / DRAWS > 0.2
    assert ours / DRAWS <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", [0.0, 1.5, 6.0])
@pytest.mark.parametrize("accuracy", [0.02, 0.3, 0.97])
@pytest.mark.parametrize("seeds", [1, 3])
def test_level_covers_for_these_seeds(accuracy: float, difficulty: float, seeds: int) -> None:
    """Also when rows are nearly independent (difficulty 0) or nearly copies (6), and near the ends."""
    rng = np.random.default_rng(2)
    hits = []
    naive = []
    for _ in range(DRAWS):
        shared = rng.normal(size=PROBLEMS) * difficulty * np.sqrt(SHARED)
        scores = draw(rng, accuracy, seeds, 0.0, shared, difficulty)
        ci = estimate_accuracy(scores).ci
        assert ci is not None
        hits.append(ci[0] <= accuracy <= ci[1])
        trials = wilson_interval(int(scores.sum()), scores.size).ci
        assert trials is not None
        naive.append(trials[0] <= accuracy <= trials[1])
    print(
        f"\naccuracy {accuracy}, difficulty {difficulty}, {seeds} seeds: covered {np.mean(hits):.3f} "
        f"(n x seeds trials: {np.mean(naive):.3f})"
    )
    assert 0.925 <= np.mean(hits) <= 0.99


def _count_hits(accuracy: float, seed_sd: float, draws: int) -> tuple[float, float]:
    """Share of intervals of an accuracy, and of a mean, that hold it; three seeds, `seed_sd` at an accuracy of 1/2."""
    rng = np.random.default_rng(4)
    room = 2 * np.sqrt(accuracy * (1 - accuracy))
    hits = []
    for _ in range(draws):
        shared = rng.normal(size=PROBLEMS) * DIFFICULTY * np.sqrt(SHARED)
        scores = draw(rng, accuracy, 3, seed_sd * room, shared, DIFFICULTY)
        intervals = estimate_accuracy(scores).ci, estimate_table_mean(scores).ci
        hits.append([ci is not None and ci[0] <= accuracy <= ci[1] for ci in intervals])
    share, mean = np.mean(hits, axis=0).tolist()
    return share, mean


@pytest.mark.slow
@pytest.mark.parametrize("seed_sd", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("accuracy", [0.05, 0.2, 0.5, 0.8, 0.97])
def test_level_covers_other_training_seeds(accuracy: float, seed_sd: float) -> None:
    """Also where three seeds differ by more than the problems explain, which intervals over problems do not cover."""
    share, mean = _count_hits(accuracy, seed_sd, DRAWS)
    print(f"\naccuracy {accuracy}, 3 seeds, sd {seed_sd}: covered {share:.3f}, as a plain mean {mean:.3f}")
    assert 0.915 <= share <= 0.99
    if 0.2 <= accuracy <= 0.8:  # a plain mean does not know that an accuracy ends at 0 and 1
        assert 0.915 <= mean <= 0.99


def test_three_seeds_that_differ_by_five_points_are_covered() -> None:
    share, mean = _count_hits(0.5, 0.05, 300)
    assert min(share, mean) > 0.91


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (3, 0.0), (3, 0.05)])
def test_gap_covers(seeds: int, seed_sd: float) -> None:
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(400):
        shared = rng.normal(size=PROBLEMS) * DIFFICULTY * np.sqrt(SHARED)
        arm = draw(rng, 0.45, seeds, seed_sd, shared, DIFFICULTY)
        base, ceiling = (draw(rng, p, 1, 0.0, shared, DIFFICULTY) for p in (0.3, 0.6))
        got = gap_recovered(arm, base, ceiling, 0)
        if got.ci is not None:
            hits.append(got.ci[0] <= 0.5 <= got.ci[1])
    print(f"\ngap, {seeds} seeds, sd {seed_sd}: covered {np.mean(hits):.3f} of {len(hits)} shown")
    assert len(hits) > 390
    assert 0.915 <= np.mean(hits) <= 0.99
