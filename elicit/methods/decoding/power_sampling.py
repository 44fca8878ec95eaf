"""`power_sampling` (2510.14901): a sample of p^alpha over whole completions, by block-wise Metropolis-Hastings.

`elicit.search.power` has the algorithm and its deviations from the reference implementation. The cell's metrics
(`search`) have the shares of moves that were accepted and that changed the completion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.fitting.option_checks import check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class PowerSampling(Method):
    """Sampling from the base model's distribution raised to a power."""

    alpha: float = 4.0
    """The power; 1 is ordinary sampling."""
    block: int | None = None
    """Tokens by which the completion grows at a time; null: a sixteenth of the task's longest completion."""
    steps: int = 10
    """Metropolis-Hastings moves per block."""
    temperature: float | None = None
    """Temperature of the proposals; null: 1/alpha, as in the paper."""
    until_ended: bool = False
    """Stop changing a completion once it has ended, as the reference does: cheaper, but no longer p^alpha."""

    traits: ClassVar[Traits] = Traits(seeded=True, family="decoding")

    def __post_init__(self) -> None:
        check_positive(
            "power_sampling", alpha=self.alpha, block=self.block, steps=self.steps, temperature=self.temperature
        )

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Estimate the cost: a move resamples on average the later half of a completion and reads the first half."""
        block = self.block or -(-lengths.limit // 16)
        blocks = -(-lengths.limit // block)
        if self.until_ended:
            blocks = min(blocks, -(-int(lengths.plain) // block))
        moves = blocks * self.steps
        return CostEstimate(Generation(moves, lengths.plain / 2, moves, lengths.prompt + lengths.plain / 2))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        from elicit import search
        from elicit.policy import Policy

        chain = search.PowerSamplingSearch(self.alpha, self.block, self.steps, self.temperature, self.until_ended)
        return Policy(base, task_decoding(task, temperature=self.temperature or 1 / self.alpha), search=chain)
