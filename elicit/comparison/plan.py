"""What a comparison will cost and what it can show, before anything is run. Loads no weights and touches no network.

1. Every unfinished cell's method says what it draws, reads and trains on (`elicit.methods.core.demand`), in lengths
   that are estimated from the task (`lengths`).
2. Tokens become seconds by a short measurement of this machine at the model's shapes (`speed`).
3. Memory is that of a worker's largest cell: libraries, weights, cache, what passes hold, and what training adds.

Both are meant to be within a factor of two of what is then measured. What can be further off is how long a model
thinks; the plan states the length it took.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from elicit import statistics
from elicit.comparison import memory, steps
from elicit.comparison.cells import Cell, cells
from elicit.comparison.lengths import files, lengths
from elicit.comparison.spec import Spec
from elicit.comparison.speed import Machine, machine
from elicit.comparison.work import is_done, tested
from elicit.loading import catalog, size
from elicit.methods.core import Demand, Draws, Lengths, demand

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
    """None for a hub id whose files are not here."""
    lengths: Lengths
    seconds: float | None
    """Of its unfinished cells, one after the other; None where the model is not here."""
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
        """Models whose files are not here."""
        return [model.name for model in self.models if model.parameters is None]


class _Price(NamedTuple):
    """Work of one kind, with what it takes."""

    draws: tuple[Draws, ...]
    read: float
    trained: float

    @property
    def generated(self) -> float:
        return sum(one.completions * one.length for one in self.draws)

    @property
    def prompted(self) -> float:
        return self.read + sum(one.prompts * one.prompt for one in self.draws)


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
    prices, samples, most, gib, seconds = [], 0, 0.0, 0.0, 0.0
    values, known = size.parameters(source), memory.known(source, spec)
    threads = 1 if known is None else max(1, known.threads // hands)
    for cell in mine:
        wanted = demand(methods[cell.arm], expected)
        drawn = spec.samples.of(cell.arm) * spec.samples.among(n)
        work = list(_work(wanted, cell, spec, n, drawn, expected, [demand(methods[cell.arm], o) for o in others]))
        kept, along = len(steps.asked(spec.arms[cell.arm])), spec.along.among(n)
        answers = (n + kept * along) * wanted.answer.completions
        most += answers * (expected.limit + sum(o.limit for o in others)) + drawn * expected.limit
        if kept:
            work += _along(kept, spec, n, [(demand(methods[cell.arm], one), one) for one in (expected, *others)])
        prices += work
        samples += drawn
        if known is not None:
            timed = machine(known.width, known.values, known.dtype, known.device, threads, fresh=fresh)
            seconds += _CELL + (_TRAINER if wanted.trained else 0.0)
            seconds += sum(_seconds(price, known, expected.layers, timed) for price in work)
            gib = max(gib, memory.gib(known, wanted, expected, n))
    if known is not None:
        seconds += _LOAD * known.weights / 2**30 * hands
        seconds += _TRL * hands if any(price.trained for price in prices) else 0.0
    found = ModelPlan(label, source.name, values, expected, None if known is None else seconds, gib or None)
    generated = sum(price.generated for price in prices)
    return found, (generated, sum(p.prompted for p in prices), sum(p.trained for p in prices)), samples, most


def _work(
    wanted: Demand, cell: Cell, spec: Spec, n: int, samples: int, expected: Lengths, others: Sequence[Demand]
) -> Iterator[_Price]:
    """Fitting, answers on every task, samples, and KL."""
    yield _Price(wanted.fitting, wanted.read, wanted.trained)
    for one in (wanted.answer, *(other.answer for other in others)):
        yield _Price((_times(one, n),), 0.0, 0.0)
    if samples:
        length = wanted.answer.length
        yield _Price((Draws(samples, length, samples / spec.samples.of(cell.arm), expected.prompt, 256),), 0.0, 0.0)
    kl = min(spec.kl_problems, n)
    if kl and wanted.answer.completions == 1 and wanted.answer.prompt == expected.prompt:
        yield _kl(kl, expected, wanted.answer.length)


def _along(kept: int, spec: Spec, n: int, tasks: Sequence[tuple[Demand, Lengths]]) -> Iterator[_Price]:
    """What checkpoints take, taken to answer as the finished policy does; the target task first.

    Each answers every task; each, step 0 and the last step are probed: their own answers and worked solutions read. KL
    is measured at all of them but the last.
    """
    probe, looks = spec.along.probe, kept + 2
    for wanted, long in tasks:
        for problems, times in ((spec.along.among(n), kept), (probe, looks)):
            one = _times(wanted.answer, problems)
            yield _Price((one._replace(completions=one.completions * times, prompts=one.prompts * times),), 0.0, 0.0)
        yield _Price((), probe * looks * (wanted.answer.length + long.worked + 2 * long.prompt), 0.0)
    wanted, long = tasks[0]
    yield from [_kl(min(spec.kl_problems, n), long, wanted.answer.length)] * (kept + 1)


def _kl(problems: int, expected: Lengths, length: float) -> _Price:
    """Answers of the base and of the arm, both read under both."""
    both = (expected.plain, length)
    draws = tuple(Draws(problems, one, problems, expected.prompt, problems) for one in both)
    return _Price(draws, problems * (2 * sum(both) + 4 * expected.prompt + 60), 0.0)


def _times(one: Draws, problems: int) -> Draws:
    """One problem's draws for many."""
    rows = min(128, problems) * (one.completions if one.prompts == 1 else 1)
    return one._replace(completions=one.completions * problems, prompts=one.prompts * problems, rows=min(rows, 256))


def _seconds(price: _Price, known: memory.Known, layers: int, timed: Machine) -> float:
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
