"""`cot_decoding` (2402.10200): branch on the k most probable first tokens, keep the most confident path.

Paths are scored over their answer's tokens only (`elicit.search.cot` has the algorithm). Differs from the paper in two
points: the task's verifier reads the answer, and `aggregate` sums over canonical answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class CotDecoding(Method):
    """The base model, answering with the most confident of its greedy paths. Nothing is random."""

    k: int = 10
    """First tokens to branch on."""
    choose: Literal["max", "aggregate", "any"] = "max"
    """max: the path with the highest score. aggregate: the answer with the highest sum of scores over its paths. any: a
    path with an answer, at random: a control for the choice."""
    min_p: float = 0.0
    """First tokens with less than this fraction of the largest probability are not branched on; the paper's 0 takes all
    k. Paths of first tokens that practically never occur are noise."""

    #: Of the default; choosing at random has seeds.
    traits: ClassVar[Traits] = Traits(family="decoding")

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ElicitError(f"cot_decoding: k is {self.k}; expected at least 1 first token.")
        if not 0 <= self.min_p <= 1:
            raise ElicitError(f"cot_decoding: min_p is {self.min_p}; expected 0 to 1.")
        if self.choose == "any":
            self.change_traits(seeded=True)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        return CostEstimate(Generation(self.k, lengths.mixed_answer, 1, lengths.prompt, 256))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        from elicit import search
        from elicit.policy import Policy

        branching = search.CotDecodingSearch(self.k, self.choose, self.min_p)
        branching.check_first_tokens(base)
        return Policy(base, task_decoding(task), search=branching)
