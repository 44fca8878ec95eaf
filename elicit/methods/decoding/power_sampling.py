"""`power_sampling` (2510.14901): a sample of p^alpha over whole completions, by block-wise Metropolis-Hastings.

`elicit.search.power` has the algorithm and where it departs from the reference implementation. How many moves were
accepted, and how many changed the completion, is among the cell's metrics (`search`).
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
    """The base model, sampled from its own distribution raised to a power."""

    alpha: float = 4.0
    """The power; 1 is plain sampling."""
    block: int | None = None
    """Tokens by which the completion's limit grows; null is a sixteenth of the task's longest completion."""
    steps: int = 10
    """Moves per block."""
    temperature: float | None = None
    """Of the proposals; null is 1/alpha, as in the paper."""
    until_ended: bool = False
    """Leave a completion alone once it has ended, as the reference does: cheaper, and no longer p^alpha."""

    traits: ClassVar[Traits] = Traits(seeded=True, family="decoding")

    def __post_init__(self) -> None:
        check_positive(
            "power_sampling", alpha=self.alpha, block=self.block, steps=self.steps, temperature=self.temperature
        )

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Moves of every block propose, on average, the later half of a completion anew, and run what precedes it."""
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
