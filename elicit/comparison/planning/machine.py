"""Seconds of a cell on this machine, from a short measurement of it (`speed`), corrected by cells that ran here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from elicit.comparison.planning.basis import ModelBasis
from elicit.comparison.planning.memory import ModelProfile
from elicit.comparison.planning.speed import MachineSpeed, measure_machine
from elicit.comparison.planning.token_costs import CellPrice, Price
from elicit.method import CostEstimate

#: A worker's imports, in seconds; reading and hashing its weights, in seconds per GiB.
START, LOAD = 6.0, 8.0
#: Seconds for writing, verifying and statistics of a cell; for starting a trainer; for importing trl once.
CELL, TRAINER, TRL = 0.3, 0.7, 4.0
#: Backward passes cost twice a forward one.
_BACKWARD = 3.0
#: Mean share of a batch that is still generating: rows leave it as they end.
FILLED = 0.6


class Correction(NamedTuple):
    """How long finished cells took against what is estimated for them."""

    factor: float = 1.0
    cells: int = 0
    """Finished cells behind it; 0 for none."""


NOT_CORRECTED = Correction()


def compute_correction(pairs: Iterable[tuple[float, float]]) -> Correction:
    """The correction from (measured, estimated) seconds of finished cells: the ratio of their sums."""
    pairs = [(measured, estimated) for measured, estimated in pairs if measured > 0 and estimated > 0]
    if not pairs:
        return NOT_CORRECTED
    return Correction(sum(pair[0] for pair in pairs) / sum(pair[1] for pair in pairs), len(pairs))


def estimate_cell_seconds(
    basis: ModelBasis, price: CellPrice, cost: CostEstimate, workers: int, *, fresh: bool
) -> float:
    """Seconds of a cell of a model of known size, beside other workers that share the machine.

    Args:
        fresh: time the machine now, even if its speed is known from an earlier plan.
    """
    profile = basis.profile
    assert profile is not None
    threads = max(1, profile.threads // workers)
    speed = measure_machine(profile.width, profile.values, profile.dtype, profile.device, threads, fresh=fresh)
    seconds = CELL + (TRAINER if cost.trained_tokens else 0.0)
    return seconds + sum(_estimate_seconds(work, profile, speed) for work in price.work)


def _estimate_seconds(price: Price, profile: ModelProfile, speed: MachineSpeed) -> float:
    layers = profile.layers
    seconds = speed.forward_seconds(1024, profile.inner, layers) * price.prompted / 1024 if price.prompted else 0.0
    for draw in price.draws:
        if draw.completions:
            rows = max(
                1.0, min(draw.rows, draw.completions, profile.rows_per_batch(draw.prompt + draw.length)) * FILLED
            )
            step = speed.forward_seconds(rows, profile.matrices, layers)
            seconds += draw.passes * draw.completions * draw.length / rows * step
    trained = speed.forward_seconds(1024, profile.matrices, layers) * price.trained / 1024
    return seconds + _BACKWARD * trained
