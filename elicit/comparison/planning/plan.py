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
from elicit.comparison.planning.lengths import files, lengths
from elicit.comparison.planning.memory import Basis
from elicit.comparison.planning.speed import Machine, machine
from elicit.comparison.planning.token_costs import Price, priced
from elicit.comparison.running.cell_runner import is_done, tested
from elicit.comparison.spec import Spec
from elicit.comparison.spec import checkpoints as steps
from elicit.comparison.spec.cells import Cell, cells
from elicit.loading import catalog, size
from elicit.method import Lengths, demand

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
    lengths: Lengths
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


def plan(
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
    todo = cells(spec, arms)
    finished = {cell.name for cell in todo if run is not None and is_done(cell, spec, run, limit)} - set(again)
    pending = [cell for cell in todo if cell.name not in finished]
    hands = max(1, min(workers, len(pending)))
    models, totals, samples, most = [], [0.0, 0.0, 0.0], 0, 0.0
    for label in dict.fromkeys(cell.model for cell in pending):
        mine = [cell for cell in pending if cell.model == label]
        found, price, drawn, bound = _model(label, mine, spec.of(label), limit, hands, fresh)
        models.append(found)
        samples += drawn
        most += bound
        totals = [a + b for a, b in zip(totals, price, strict=True)]
    known = [model for model in models if model.seconds is not None]
    start = _START if pending else 0.0
    effect = statistics.minimum_detectable_effect(tested(spec, limit), 0.5, discordance=0.3)
    return Plan(
        len(todo),
        len(finished),
        tested(spec, limit),
        samples,
        round(totals[0]),
        round(most),
        round(totals[1]),
        round(totals[2]),
        tuple(models),
        hands,
        start + sum(model.seconds or 0.0 for model in known) / hands,
        hands * max((model.gib or 0.0 for model in known), default=0.0),
        effect,
        sum(len(steps.asked(spec.arms[cell.arm])) for cell in pending),
    )


def _model(
    label: str, mine: Sequence[Cell], spec: Spec, limit: int | None, hands: int, fresh: bool
) -> tuple[ModelPlan, tuple[float, float, float], int, float]:
    """(what is known, (generated, prompt, trained) tokens, samples, tokens at most) of one model's cells."""
    source = catalog.resolve(spec.models[label])
    folder = files(source)
    expected = lengths(spec, spec.task, source, folder)
    others = [lengths(spec, description, source, folder) for description in spec.off_target.values()]
    methods, n = spec.methods(), tested(spec, limit)
    prices: list[Price] = []
    samples, most, gib, seconds = 0, 0.0, 0.0, 0.0
    known = memory.known(source, spec)
    if known is not None:
        expected = expected._replace(layers=known.layers)
    threads = 1 if known is None else max(1, known.threads // hands)
    for cell in mine:
        wanted = demand(methods[cell.arm], expected)
        price = priced(methods[cell.arm], cell, spec, n, expected, others)
        prices += price.work
        samples += price.samples
        most += price.most
        if known is not None:
            timed = machine(known.width, known.values, known.dtype, known.device, threads, fresh=fresh)
            seconds += _CELL + (_TRAINER if wanted.trained else 0.0)
            seconds += sum(_seconds(one, known, expected.layers, timed) for one in price.work)
            gib = max(gib, memory.gib(known, wanted, expected, n))
    if known is not None:
        seconds += _LOAD * known.weights / 2**30 * hands
        seconds += _TRL * hands if any(price.trained for price in prices) else 0.0
    values, basis = (None, None) if known is None else (known.values, known.basis)
    found = ModelPlan(label, source.name, values, basis, expected, None if known is None else seconds, gib or None)
    generated = sum(price.generated for price in prices)
    return found, (generated, sum(p.prompted for p in prices), sum(p.trained for p in prices)), samples, most


def _seconds(price: Price, known: memory.Known, layers: int, timed: Machine) -> float:
    """Seconds of one worker, which shares the machine with the others."""
    seconds = timed.forward(1024, known.inner, layers) * price.prompted / 1024 if price.prompted else 0.0
    for one in price.draws:
        if one.completions:
            rows = max(1.0, min(one.rows, one.completions, known.rows(one.prompt + one.length)) * _FILLED)
            seconds += one.passes * one.completions * one.length / rows * timed.forward(rows, known.matrices, layers)
    trained = timed.forward(1024, known.matrices, layers) * price.trained / 1024
    return seconds + _BACKWARD * trained


def parameters(name: str) -> int | None:
    """Number of weights of a model, from its files' headers alone; None for a hub id that would have to be fetched."""
    return size.parameters(name)
