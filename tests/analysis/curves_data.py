"""Synthetic curves: 0/1 answers of models along a training run, correlated between checkpoints as real ones are."""

from __future__ import annotations

import numpy as np
from scipy import stats

STEPS = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
#: Movements from the base in units of the effect, one list per shape and truth.
TRUTHS: dict[str, list[list[float]]] = {
    "flat": [[0.0] * 8],
    "monotone-up": [[0, 0.1, 0.25, 0.4, 0.6, 0.8, 0.95, 1.0], [0, 0, 0, 0.5, 1, 1, 1, 1]],
    "monotone-down": [[0, -0.1, -0.2, -0.3, -0.45, -0.6, -0.8, -1.0], [0, 0, 0, 0, 0, -0.3, -0.8, -1]],
    "dip-recover": [[0, -0.6, -1, -1, -0.7, -0.3, 0, 0.1], [0, -0.9, -1, -0.7, -0.2, 0.4, 1, 1.3]],
    "dip-only": [[0, -0.7, -1, -1, -1, -1, -1, -1], [0, -0.8, -1, -1, -0.9, -0.8, -0.8, -0.8]],
    "peak-decline": [[0, 0.6, 1, 1, 0.7, 0.3, 0, -0.1], [0, 0.8, 1, 0.6, 0, -0.6, -1, -1.2]],
}


def answers(
    rng: np.random.Generator,
    accuracies: list[float] | np.ndarray,
    problems: int,
    *,
    difficulty: float = 2.0,
    seeds: int = 1,
    seed_sd: float = 0.0,
) -> np.ndarray:
    """[seed, checkpoint, problem] of 0/1 with these accuracies: probit, a difficulty per problem shared by all models.

    Half the remaining noise is a walk from checkpoint to checkpoint, so that neighbours agree more than distant ones.
    A difficulty of 2 gives answers correlated at about 0.6. The base is one model for all seeds.
    """
    accuracies = np.asarray(accuracies)
    checkpoints = len(accuracies)
    hard = difficulty * rng.normal(size=problems)
    walk = rng.normal(size=(seeds, checkpoints, problems))
    for t in range(1, checkpoints):
        walk[:, t] = 0.7 * walk[:, t - 1] + np.sqrt(1 - 0.49) * walk[:, t]
    noise = (walk + rng.normal(size=walk.shape)) * np.sqrt(0.5)
    moved = accuracies + seed_sd * rng.normal(size=(seeds, checkpoints))
    level = stats.norm.ppf(np.clip(moved, 0.001, 0.999)) * np.hypot(1, difficulty)
    right = (level[:, :, None] + hard + noise > 0).astype(float)
    right[:, 0] = right[0, 0]
    return right
