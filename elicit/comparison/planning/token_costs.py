"""What the cells of a comparison take in tokens, expected, and where that is more than anybody can mean. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from elicit.comparison.planning.lengths import files, lengths
from elicit.comparison.spec import Spec, checkpoints
from elicit.comparison.spec.cells import Cell
from elicit.errors import ElicitError
from elicit.loading import catalog
from elicit.method import Demand, Draws, Lengths, Method, demand

#: Tokens of an arm that are taken for a slip of the keyboard: at a million a second they take twelve days.
MOST = 10**12


class Price(NamedTuple):
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

    @property
    def tokens(self) -> float:
        return self.generated + self.prompted + self.trained


class CellPrice(NamedTuple):
    """Everything one cell does."""

    work: tuple[Price, ...]
    samples: int
    """Completions at temperature 1 beside the answers."""
    most: float
    """Tokens of answers and samples, if every completion ran to its limit."""


def priced(
    method: Method, cell: Cell, spec: Spec, problems: int, expected: Lengths, others: Sequence[Lengths]
) -> CellPrice:
    """The price of one cell.

    Args:
        problems: test problems of every task.
        expected, others: lengths on the target task and on the off-target ones.
    """
    wanted = demand(method, expected)
    drawn = spec.samples.of(cell.arm) * spec.samples.among(problems)
    work = list(_work(wanted, cell, spec, problems, drawn, expected, [demand(method, one) for one in others]))
    kept, along = len(checkpoints.asked(spec.arms[cell.arm])), spec.along.among(problems)
    answers = (problems + kept * along) * wanted.answer.completions
    most = answers * (expected.limit + sum(one.limit for one in others)) + drawn * expected.limit
    if kept:
        work += _along(kept, spec, problems, [(demand(method, one), one) for one in (expected, *others)])
    return CellPrice(tuple(work), drawn, most)


def check_cost(spec: Spec, cells: Sequence[Cell], problems: int) -> None:
    """Refuse a comparison that no machine will finish: a count with a few digits too many.

    Raises:
        ElicitError: naming the arm that asks for the most.
    """
    taken: dict[tuple[str, str], float] = {}
    for label in dict.fromkeys(cell.model for cell in cells):
        mine = spec.of(label)
        source = catalog.resolve(mine.models[label])
        folder, methods = files(source), mine.methods()
        expected, *others = (lengths(mine, one, source, folder) for one in (mine.task, *mine.off_target.values()))
        n = min(mine.test, problems)
        for cell in (cell for cell in cells if cell.model == label):
            price = priced(methods[cell.arm], cell, mine, n, expected, others)
            arm = (label, cell.arm)
            taken[arm] = taken.get(arm, 0.0) + sum(one.tokens for one in price.work)
    total = sum(taken.values())
    if total > MOST:
        most = max(taken, key=lambda key: taken[key])
        raise ElicitError(
            f"this comparison asks for about {total:.1g} tokens, arm {most[1]!r} on {most[0]} alone for "
            f"{taken[most]:.1g}: more than {MOST:.0e} are taken for a mistake. Lower its counts (problems, "
            "samples, steps, generations, epochs), or test, samples and seeds of the spec."
        )


def _work(
    wanted: Demand, cell: Cell, spec: Spec, n: int, samples: int, expected: Lengths, others: Sequence[Demand]
) -> Iterator[Price]:
    """Fitting, answers on every task, samples, and KL."""
    yield Price(wanted.fitting, wanted.read, wanted.trained)
    for one in (wanted.answer, *(other.answer for other in others)):
        yield Price((_times(one, n),), 0.0, 0.0)
    if samples:
        length = wanted.answer.length
        yield Price((Draws(samples, length, samples / spec.samples.of(cell.arm), expected.prompt, 256),), 0.0, 0.0)
    kl = min(spec.kl_problems, n)
    if kl and wanted.answer.completions == 1 and wanted.answer.prompt == expected.prompt:
        yield _kl(kl, expected, wanted.answer.length)


def _along(kept: int, spec: Spec, n: int, tasks: Sequence[tuple[Demand, Lengths]]) -> Iterator[Price]:
    """What checkpoints take, taken to answer as the finished policy does; the target task first.

    Each answers every task; each, step 0 and the last step are probed: their own answers and worked solutions read. KL
    is measured at all of them but the last.
    """
    probe, looks = spec.along.probe, kept + 2
    for wanted, long in tasks:
        for problems, times in ((spec.along.among(n), kept), (probe, looks)):
            one = _times(wanted.answer, problems)
            yield Price((one._replace(completions=one.completions * times, prompts=one.prompts * times),), 0.0, 0.0)
        yield Price((), probe * looks * (wanted.answer.length + long.worked + 2 * long.prompt), 0.0)
    wanted, long = tasks[0]
    yield from [_kl(min(spec.kl_problems, n), long, wanted.answer.length)] * (kept + 1)


def _kl(problems: int, expected: Lengths, length: float) -> Price:
    """Answers of the base and of the arm, both read under both."""
    both = (expected.plain, length)
    draws = tuple(Draws(problems, one, problems, expected.prompt, problems) for one in both)
    return Price(draws, problems * (2 * sum(both) + 4 * expected.prompt + 60), 0.0)


def _times(one: Draws, problems: int) -> Draws:
    """One problem's draws for many."""
    rows = min(128, problems) * (one.completions if one.prompts == 1 else 1)
    return one._replace(completions=one.completions * problems, prompts=one.prompts * problems, rows=min(rows, 256))
