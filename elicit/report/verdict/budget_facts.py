"""Facts about what an arm spent, beside fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from elicit.report.data.summary_view import OptionalEstimate
from elicit.report.verdict.kinds import BudgetAxis, Comparison


@dataclass(frozen=True)
class SpendingRatios:
    """What an arm spent over what the arm that it is compared with spent; None where one of them is not known."""

    labels: float | None
    tokens: float | None


NO_RATIOS = SpendingRatios(None, None)


@dataclass(frozen=True)
class BudgetComparison:
    """The paired difference of an arm to the fine-tuned arm whose spending is nearest to its own."""

    axis: BudgetAxis
    kind: Comparison
    point: str
    """The fine-tuned arm."""
    ratio: float
    """What the arm spent over what that one spent."""
    difference: OptionalEstimate
    p: float | None
    is_corrected: bool
    """p is after Holm's correction."""

    @property
    def is_equal(self) -> bool:
        """The budgets are within a factor of two."""
        return 0.5 <= self.ratio <= 2
