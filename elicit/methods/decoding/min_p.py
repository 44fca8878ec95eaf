"""`min_p`: one sample per problem, from tokens with at least a fraction of the largest probability (2407.01082).

    keep x if p(x) >= min_p * max_x' p(x')

p is the distribution at the given temperature, as in transformers.
Neither option is tuned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.errors import ElicitError
from elicit.method import Method, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class MinP(Method):
    """Sampling with min-p."""

    min_p: float = 0.1
    """Smallest probability to keep, as a fraction of the largest; 0 keeps all."""
    temperature: float = 1.0

    traits: ClassVar[Traits] = Traits(seeded=True, family="decoding")

    def __post_init__(self) -> None:
        if not 0 <= self.min_p <= 1:
            raise ElicitError(f"min_p: min_p is {self.min_p}; expected 0 to 1.")
        if not self.temperature > 0:
            raise ElicitError("min_p: temperature must be above 0: greedy decoding has nothing to filter.")

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        from elicit.policy import Policy

        return Policy(base, task_decoding(task, temperature=self.temperature, min_p=self.min_p))
