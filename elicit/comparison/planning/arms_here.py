"""The arms of a plan on this machine: work, hours and memory of each."""

from __future__ import annotations

from typing import NamedTuple

from elicit.comparison.cell_state import count_test_problems
from elicit.comparison.planning.machine import estimate_cell_seconds
from elicit.comparison.planning.memory import estimate_memory_gib
from elicit.comparison.planning.plan import Plan
from elicit.comparison.planning.roofline import count_flops


class ArmHere(NamedTuple):
    """One arm over its models and seeds."""

    arm: str
    cells: int
    generated: float
    """Tokens."""
    prompted: float
    trained: float
    flops: float
    hours: float
    """Of all workers together, corrected by finished cells."""
    gib: float
    """Of one worker."""

    def plus(self, other: ArmHere) -> ArmHere:
        """Both together."""
        return ArmHere(
            self.arm,
            self.cells + other.cells,
            self.generated + other.generated,
            self.prompted + other.prompted,
            self.trained + other.trained,
            self.flops + other.flops,
            self.hours + other.hours,
            max(self.gib, other.gib),
        )


def plan_here(plan: Plan, limit: int | None) -> list[ArmHere]:
    """Estimate the pending cells of models of known size, by arm."""
    bases = {basis.label: basis for basis in plan.bases if basis.profile is not None}
    arms: dict[str, ArmHere] = {}
    for cell in plan.pending:
        if cell.model not in bases:
            continue
        basis = bases[cell.model]
        profile, cost = basis.profile, basis.estimate_cost(cell.arm)
        assert profile is not None
        problems = count_test_problems(basis.spec, limit)
        price = basis.price(cell, problems)
        seconds = plan.correction.factor * estimate_cell_seconds(basis, price, cost, plan.workers, fresh=False)
        found = ArmHere(
            cell.arm,
            1,
            sum(work.generated for work in price.work),
            sum(work.prompted for work in price.work),
            sum(work.trained for work in price.work),
            sum(count_flops(work, profile, cost.training) for work in price.work),
            seconds / plan.workers / 3600,
            estimate_memory_gib(profile, cost, basis.lengths, problems),
        )
        arms[cell.arm] = arms[cell.arm].plus(found) if cell.arm in arms else found
    return list(arms.values())
