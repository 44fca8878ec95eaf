"""Smaller designs: what fewer problems, samples or seeds would cost, and the smallest difference they would detect.

Two arms are compared on the same problems. They answer a share psi of them differently in one run each; a share rho of
that is the problem's own, the same in every run, and the rest is drawn anew in each (two levels: problems, and runs on
a problem). With R runs of one arm and S of the other a difference has the variance of one on

    n / (rho + (1 - rho) (1/R + 1/S) / 2)

problems with one run each. psi = 0.3 and rho = 0.5 are assumed. How far training seeds move a whole arm comes on top.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from elicit import statistics
from elicit.comparison.cell_state import count_test_problems
from elicit.comparison.planning.basis import ModelBasis
from elicit.comparison.planning.roofline import Interval
from elicit.comparison.planning.token_costs import CellPrice
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell, seeds_of
from elicit.schema import parent_of

#: Fractions of the test problems, and of the samples, that are tried.
_TEST, _SAMPLES = (0.5, 0.25), (0.5, 0.25, 0.125)
#: A difference that is larger by this share still counts as the same.
_SAME = 1.05
#: Share of the hours below which another design is worth a line.
_WORTH = 0.95

Clock = Callable[[ModelBasis, Cell, CellPrice], Interval]
"""Hours of a cell."""


class Comparison(NamedTuple):
    """Comparisons of one size."""

    problems: int
    runs: tuple[int, int]
    """Seeds of the arm, and of the one that it is compared with."""

    @property
    def detectable(self) -> float | None:
        """Smallest difference found with 80 % power; None if none would be."""
        return statistics.detectable_difference(self.problems, self.runs)


class Design(NamedTuple):
    """Numbers of test problems, samples and seeds, for every model."""

    test: float = 1.0
    """Share of the spec's."""
    samples: float = 1.0
    seeds: int | None = None
    """At most so many; None as the spec says."""

    def apply(self, spec: Spec) -> Spec:
        """A spec with these numbers, at least 1 each."""
        n = spec.samples.n
        samples = spec.samples.model_copy(update={"n": math.ceil(n * self.samples)})
        seeds = spec.seeds if self.seeds is None else min(self.seeds, spec.seeds)
        return spec.model_copy(update={"test": math.ceil(spec.test * self.test), "samples": samples, "seeds": seeds})


AS_IT_IS = Design()


class DesignCost(NamedTuple):
    """A design, its cost and what it detects."""

    design: Design
    cells: int
    hours: Interval
    answers: tuple[float, ...]
    """Smallest differences that comparisons of answers detect, in order; infinite where one detects none."""
    samples: float | None
    """The same of pass@1 over samples, of the least sensitive comparison; None without samples."""

    def detects_as_much(self, other: DesignCost) -> bool:
        """True if every difference is as large as in the other design, or up to 5 % larger."""
        mine, theirs = ([*cost.answers[:1], *cost.answers[-1:], cost.samples or 0.0] for cost in (self, other))
        return all(math.isfinite(b) and a <= _SAME * b for a, b in zip(mine, theirs, strict=True))


def count_comparisons(bases: Sequence[ModelBasis], limit: int | None, design: Design = AS_IT_IS) -> Counter[Comparison]:
    """Comparisons of a report, by size: every arm with the base and with the reference, controls with their parents."""
    counts: Counter[Comparison] = Counter()
    for basis in bases:
        spec, methods = design.apply(basis.spec), basis.methods
        runs = {arm: len(seeds_of(method, spec.seeds)) for arm, method in methods.items()}
        base = next((arm for arm, method in methods.items() if method.traits.untouched), None)
        pairs = set()
        for arm in methods:
            for other in (base, spec.reference_arm, parent_of(arm, methods)):
                if other in methods and other != arm:
                    pairs.add(frozenset((arm, other)))
        problems = count_test_problems(spec, limit)
        for pair in pairs:
            first, second = sorted((runs[arm] for arm in pair), reverse=True)
            counts[Comparison(problems, (first, second))] += 1
    return counts


def price_designs(
    bases: Sequence[ModelBasis], cells: Sequence[Cell], limit: int | None, clock: Clock
) -> list[DesignCost]:
    """The spec's own design first, then fewer problems, fewer samples, and one seed."""
    sampled, seeded = any(basis.spec.samples.n > 1 for basis in bases), any(basis.spec.seeds > 1 for basis in bases)
    designs = [AS_IT_IS, *(Design(test=part) for part in _TEST)]
    designs += [Design(samples=part) for part in _SAMPLES] if sampled else []
    designs += [Design(seeds=1)] if seeded else []
    numbers = {design: [_list_numbers(design.apply(basis.spec)) for basis in bases] for design in designs}
    distinct = [design for i, design in enumerate(designs) if numbers[design] not in map(numbers.get, designs[:i])]
    return [_price_design(design, bases, cells, limit, clock) for design in distinct]


def _list_numbers(spec: Spec) -> tuple[int, int, int]:
    return spec.test, spec.samples.n, spec.seeds


def find_same(costs: Sequence[DesignCost]) -> DesignCost | None:
    """The design with the fewest hours that detects what the first does, up to 5 % more; None if it is the first."""
    first = costs[0]
    same = [cost for cost in costs if cost.detects_as_much(first)]
    best = min(same, key=lambda cost: cost.hours.high, default=first)
    return best if best.hours.high < _WORTH * first.hours.high else None


def _price_design(
    design: Design, bases: Sequence[ModelBasis], cells: Sequence[Cell], limit: int | None, clock: Clock
) -> DesignCost:
    by_label = {basis.label: basis for basis in bases}
    total, count = Interval(), 0
    for cell in cells:
        basis = by_label[cell.model]
        spec = design.apply(basis.spec)
        if cell.seed >= spec.seeds:
            continue
        count += 1
        total = total.plus(clock(basis, cell, basis.price(cell, count_test_problems(spec, limit), spec)))
    answers = [_or_infinite(size.detectable) for size in count_comparisons(bases, limit, design)]
    samples = [_or_infinite(_detect_by_samples(basis, design, limit)) for basis in bases if basis.spec.samples.n > 1]
    return DesignCost(design, count, total, tuple(sorted(set(answers))), max(samples, default=None))


def _detect_by_samples(basis: ModelBasis, design: Design, limit: int | None) -> float | None:
    """Smallest difference of pass@1 of two arms that are sampled with one seed each."""
    spec = design.apply(basis.spec)
    problems = spec.samples.limit_problems(count_test_problems(spec, limit))
    return statistics.detectable_difference(problems, (spec.samples.n, spec.samples.n))


def _or_infinite(difference: float | None) -> float:
    return math.inf if difference is None else difference
