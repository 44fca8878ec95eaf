"""Estimate the cost and the power of a comparison before it is run. Loads no weights and touches no network.

1. Every unfinished cell's method states what it generates, reads and trains on (`elicit.method.estimate_cost`), in
   lengths that are estimated from the task (`lengths`).
2. Tokens become seconds by a short measurement of this machine at the model's shapes (`speed`).
3. Memory is that of a worker's largest cell: libraries, weights, cache, activations, and what training adds.

Both aim to be within a factor of two of the measured values. The length of a model's own reasoning can be further off;
the plan states the length it assumed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from elicit import statistics
from elicit.comparison.cell_state import count_test_problems, is_done
from elicit.comparison.planning import memory
from elicit.comparison.planning.lengths import estimate_lengths, find_model_folder
from elicit.comparison.planning.memory import Basis
from elicit.comparison.planning.speed import MachineSpeed, measure_machine
from elicit.comparison.planning.token_costs import Price, price_cell
from elicit.comparison.spec import Spec
from elicit.comparison.spec import checkpoints as steps
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.loading import catalog, size
from elicit.method import TokenLengths

#: A worker's imports, in seconds; reading and hashing its weights, in seconds per GiB.
_START, _LOAD = 6.0, 8.0
#: Seconds for writing, verifying and statistics of a cell; for starting a trainer; for importing trl once.
_CELL, _TRAINER, _TRL = 0.3, 0.7, 4.0
#: Backward passes cost twice a forward one.
_BACKWARD = 3.0
#: Mean share of a batch that is still generating: rows leave it as they end.
_FILLED = 0.6


class ModelPlan(NamedTuple):
    """Estimated cost of one model's cells."""

    label: str
    name: str
    parameters: int | None
    """None where its size is unknown."""
    basis: Basis | None
    """Source of its size."""
    lengths: TokenLengths
    seconds: float | None
    """Of its unfinished cells, one after the other; None where its size is unknown."""
    gib: float | None
    """Memory of a worker while it runs the largest cell."""


@dataclass(frozen=True)
class Plan:
    """Estimated cost of a comparison."""

    cells: int
    finished: int
    """Cells that are already finished in the run directory."""
    test_problems: int
    samples: int
    """Completions at temperature 1, in addition to the answers."""
    generated_tokens: int
    """Expected number, including votes, branches, rejected tokens and generation while fitting."""
    limit_tokens: int
    """Tokens of answers and samples if every completion ran to its limit."""
    read_tokens: int
    """Prompt tokens."""
    trained_tokens: int
    models: tuple[ModelPlan, ...]
    workers: int
    seconds: float
    """Total over models of known size."""
    memory_gib: float
    """Memory of all workers together: the largest worker's times their number."""
    minimum_detectable_effect: float | None
    """Smallest difference to SFT found with 80 % power at this n, if 30 % of problems change."""
    checkpoints: int = 0
    """Checkpoints evaluated, over all cells; not counting the last step, which is the cell's own policy."""

    @property
    def unknown(self) -> list[str]:
        """Models of unknown size."""
        return [model.name for model in self.models if model.parameters is None]


def estimate_plan(
    spec: Spec,
    run: Path | None,
    *,
    arms: Sequence[str] | None = None,
    limit: int | None = None,
    workers: int = 1,
    fresh: bool = True,
    again: Collection[str] = (),
) -> Plan:
    """Estimate the cost of a comparison.

    Args:
        workers: processes that share the machine.
        fresh: time the machine now, even if its speed is known from an earlier plan.
        again: names of finished cells that will be run again.

    Raises:
        ElicitError: a model does not exist, or files cannot be read.
    """
    todo = list_cells(spec, arms)
    finished = {cell.name for cell in todo if run is not None and is_done(cell, spec, run, limit)} - set(again)
    pending = [cell for cell in todo if cell.name not in finished]
    worker_count = max(1, min(workers, len(pending)))
    models, totals, samples, most = [], [0.0, 0.0, 0.0], 0, 0.0
    for label in dict.fromkeys(cell.model for cell in pending):
        model_cells = [cell for cell in pending if cell.model == label]
        model_plan, price, sample_count, bound = _plan_model(
            label, model_cells, spec.for_model(label), limit, worker_count, fresh
        )
        models.append(model_plan)
        samples += sample_count
        most += bound
        totals = [a + b for a, b in zip(totals, price, strict=True)]
    sized_models = [model for model in models if model.seconds is not None]
    start = _START if pending else 0.0
    effect = statistics.minimum_detectable_effect(count_test_problems(spec, limit), 0.5, discordance=0.3)
    return Plan(
        len(todo),
        len(finished),
        count_test_problems(spec, limit),
        samples,
        round(totals[0]),
        round(most),
        round(totals[1]),
        round(totals[2]),
        tuple(models),
        worker_count,
        start + sum(model.seconds or 0.0 for model in sized_models) / worker_count,
        worker_count * max((model.gib or 0.0 for model in sized_models), default=0.0),
        effect,
        sum(len(steps.checkpoint_steps(spec.arms[cell.arm])) for cell in pending),
    )


def _plan_model(
    label: str, model_cells: Sequence[Cell], spec: Spec, limit: int | None, worker_count: int, fresh: bool
) -> tuple[ModelPlan, tuple[float, float, float], int, float]:
    """Plan one model's cells: (plan, (generated, prompt, trained) tokens, samples, most tokens)."""
    source = catalog.resolve_model(spec.models[label])
    folder = find_model_folder(source)
    expected = estimate_lengths(spec, spec.task, source, folder)
    others = [estimate_lengths(spec, description, source, folder) for description in spec.off_target.values()]
    methods, n = spec.build_methods(), count_test_problems(spec, limit)
    prices: list[Price] = []
    samples, most, gib, seconds = 0, 0.0, 0.0, 0.0
    profile = memory.profile_model(source, spec)
    if profile is not None:
        expected = expected._replace(layers=profile.layers)
    threads = 1 if profile is None else max(1, profile.threads // worker_count)
    for cell in model_cells:
        cost = methods[cell.arm].estimate_cost(expected)
        price = price_cell(methods[cell.arm], cell, spec, n, expected, others)
        prices += price.work
        samples += price.samples
        most += price.most
        if profile is not None:
            speed = measure_machine(profile.width, profile.values, profile.dtype, profile.device, threads, fresh=fresh)
            seconds += _CELL + (_TRAINER if cost.trained_tokens else 0.0)
            seconds += sum(_estimate_seconds(work_price, profile, expected.layers, speed) for work_price in price.work)
            gib = max(gib, memory.estimate_memory_gib(profile, cost, expected, n))
    if profile is not None:
        seconds += _LOAD * profile.weights / 2**30 * worker_count
        seconds += _TRL * worker_count if any(price.trained for price in prices) else 0.0
    values, basis = (None, None) if profile is None else (profile.values, profile.basis)
    model_plan = ModelPlan(
        label, source.name, values, basis, expected, None if profile is None else seconds, gib or None
    )
    generated = sum(price.generated for price in prices)
    return model_plan, (generated, sum(p.prompted for p in prices), sum(p.trained for p in prices)), samples, most


def _estimate_seconds(price: Price, profile: memory.ModelProfile, layers: int, speed: MachineSpeed) -> float:
    """Seconds of one worker that shares the machine with the others."""
    seconds = speed.forward_seconds(1024, profile.inner, layers) * price.prompted / 1024 if price.prompted else 0.0
    for draw in price.draws:
        if draw.completions:
            rows = max(
                1.0, min(draw.rows, draw.completions, profile.rows_per_batch(draw.prompt + draw.length)) * _FILLED
            )
            seconds += (
                draw.passes
                * draw.completions
                * draw.length
                / rows
                * speed.forward_seconds(rows, profile.matrices, layers)
            )
    trained = speed.forward_seconds(1024, profile.matrices, layers) * price.trained / 1024
    return seconds + _BACKWARD * trained


def count_model_parameters(name: str) -> int | None:
    """Number of weights of a model, from its files' headers alone; None for a hub id that would have to be fetched."""
    return size.count_parameters(name)
