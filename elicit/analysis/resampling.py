"""The bootstrap distribution of a curve: problems resampled jointly over checkpoints and seeds, and seeds as well.

A problem keeps its answers at all checkpoints, so the correlation between checkpoints is in the distribution and
differences between checkpoints are as sharp as pairing makes them. With several training seeds, seeds are resampled
too; their deviations from the mean curve are enlarged by sqrt(S / (S - 1)), because S resampled seeds spread too
little, and the covariance of the seed part is drawn half way to equal independent checkpoints, because S - 1 degrees
of freedom do not determine it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from elicit.errors import ElicitError
from elicit.seeds import make_generator

RESAMPLES = 1000


class CurveBootstrap(NamedTuple):
    """A measured curve and its bootstrap distribution."""

    curve: Float[np.ndarray, " checkpoints"]
    draws: Float[np.ndarray, "resamples checkpoints"]
    covariance: Float[np.ndarray, "checkpoints checkpoints"]
    """Of the draws, with half a discordant problem each way per checkpoint, so that equal answers keep a width."""


def validate_correctness(correct: np.ndarray, steps: np.ndarray) -> Float[np.ndarray, "seeds checkpoints problems"]:
    """Correctness as [seed, checkpoint, problem]; a matrix [checkpoint, problem] is one seed.

    Raises:
        ElicitError: for other shapes, entries outside [0, 1] or missing, fewer than 3 checkpoints or 2 problems, or
            steps that do not start at 0 and grow.
    """
    array = np.asarray(correct, dtype=np.float64)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[0] < 1 or array.shape[1] < 3 or array.shape[2] < 2:
        raise ElicitError(
            f"curve: correctness has shape {np.shape(correct)}; give [checkpoint, problem] or [seed, checkpoint, "
            "problem] with at least 3 checkpoints and 2 problems"
        )
    if not bool(((array >= 0) & (array <= 1)).all()):
        raise ElicitError(
            "curve: correctness has entries that are missing or outside [0, 1]; leave out problems without an answer "
            "at every checkpoint"
        )
    if len(steps) != array.shape[1] or steps[0] != 0 or not bool((np.diff(steps) > 0).all()):
        raise ElicitError(
            f"curve: steps {np.asarray(steps).tolist()} do not fit {array.shape[1]} checkpoints; "
            "give one step per checkpoint, growing, the base's 0 first"
        )
    return array


def bootstrap_curve(correct: Float[np.ndarray, "seeds checkpoints problems"], seed: int) -> CurveBootstrap:
    """The curve (mean over seeds and problems) and its bootstrap distribution, drawn by ("curve", seed)."""
    seeds, checkpoints, problems = correct.shape
    rows = correct.mean(axis=2)
    curve = rows.mean(axis=0)
    over_problems = draw_resampling_weights(problems, RESAMPLES, "curve", seed, "problems") @ correct.mean(axis=0).T
    draws = over_problems
    covariance = np.cov(over_problems.T) + np.eye(checkpoints) / (problems * (problems - 1))
    if seeds > 1:
        deviations = (rows - curve) * np.sqrt(seeds / (seeds - 1))
        draws = over_problems + draw_resampling_weights(seeds, RESAMPLES, "curve", seed, "seeds") @ deviations
        seed_covariance = deviations.T @ deviations / seeds**2
        trained = np.diag(seed_covariance) > 0  # the base is one model: it does not move with the seed
        shrunk = np.diag(np.where(trained, np.diag(seed_covariance)[trained].mean() if trained.any() else 0.0, 0.0))
        covariance = covariance + 0.5 * seed_covariance + 0.5 * shrunk
    return CurveBootstrap(curve, draws, covariance)


@lru_cache(maxsize=8)
def draw_resampling_weights(units: int, resamples: int, *identity: object) -> Float[np.ndarray, "resamples units"]:
    """Draw counts of each unit, divided by the number of units. Cached: curves of one comparison share resamples."""
    counts = make_generator(*identity).multinomial(units, np.full(units, 1 / units), size=resamples)
    shares = counts / units
    shares.setflags(write=False)
    return shares
