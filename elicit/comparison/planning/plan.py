"""What a comparison will cost and what it can show, before anything is run. Loads no weights and touches no network.

1. Every unfinished cell's method says what it draws, reads and trains on (`elicit.method.demand`), in lengths
   that are estimated from the task (`lengths`).
2. Tokens become seconds by a short measurement of this machine at the model's shapes (`speed`).
3. Memory is that of a worker's largest cell: libraries, weights, cache, what passes hold, and what training adds.

Both are meant to be within a factor of two of what is then measured. What can be further off is how long a model
thinks; the plan states the length it took.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from elicit import statistics
from elicit.comparison.planning import memory
from elicit.comparison.planning.lengths import estimate_lengths, find_model_folder
from elicit.comparison.planning.memory import Basis
from elicit.comparison.planning.speed import MachineSpeed, measure_machine
from elicit.comparison.planning.token_costs import Price, price_cell
from elicit.comparison.running.cell_runner import count_test_problems, is_done
from elicit.comparison.spec import Spec
from elicit.comparison.spec import checkpoints as steps
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.loading import catalog, size
from elicit.method import TokenLengths

#: A worker's imports and loading: seconds, and seconds per GiB of weights (reading and hashing them).
_START, _LOAD = 6.0, 8.0
#: Writing, verifying and statistics of a cell; what a trainer takes to start, and once to be imported.
_CELL, _TRAINER, _TRL = 0.3, 0.7, 4.0
#: Backward passes cost twice a forward one.
_BACKWARD = 3.0
#: Rows leave a batch as they end, so that on average it is smaller than it began.
_FILLED = 0.6


class ModelPlan(NamedTuple):
    """What is known of one model."""

    label: str
    name: str
    parameters: int | None
    """None where nothing tells its size."""
    basis: Basis | None
    """What its size is known from."""
    lengths: TokenLengths
    seconds: float | None
    """Of its unfinished cells, one after the other; None where nothing tells its size."""
    gib: float | None
    """Memory of a worker with its largest cell."""


@dataclass(frozen=True)
class Plan:
    """The cost of a comparison, estimated."""

    cells: int
    finished: int
    """Cells that the run directory has already."""
    test_problems: int
    samples: int
    """Completions at temperature 1 that are drawn beside the answers."""
    generated_tokens: int
    """Expected, with votes, branches, rejected tokens, and what fitting draws."""
    limit_tokens: int
    """Of answers and samples, if every completion ran to its limit."""
    read_tokens: int
    """Of prompts."""
    trained_tokens: int
    models: tuple[ModelPlan, ...]
    workers: int
    seconds: float
    """Of the models that are here."""
    memory_gib: float
    """Of all workers together; the largest of them times their number."""
    minimum_detectable_effect: float | None
    """Smallest difference to SFT found with 80 % power at this n, if 30 % of problems change."""
    checkpoints: int = 0
    """How many are answered, over all cells; the last step, which the cell answers anyway, is not among them."""

    @property
    def unknown(self) -> list[str]:
        """Models of which nothing tells the size."""
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
    """Estimate a comparison.

    Args:
        workers: processes that share the machine.
        fresh: time the machine now, even if its speed is known from an earlier plan.
        again: cells that are made again although they are finished.

    Raises:
        ElicitError: a model that does not exist, or files that cannot be read.
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
    """(what is known, (generated, prompt, trained) tokens, samples, tokens at most) of one model's cells."""
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
    """Seconds of one worker, which shares the machine with the others."""
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
