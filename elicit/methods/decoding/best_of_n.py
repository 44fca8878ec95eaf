"""`best_of_n`: draw n samples and answer with one of them.

With the task's `verifier` its accuracy is pass@n; such an arm is excluded from comparisons and flagged in the report.
`likelihood` takes the sample with the highest mean log-probability per token. `majority` is `self_consistency` under
another name: the same samples and the same vote.
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
class BestOfN(Method):
    """One of the base model's samples, chosen by a verifier, by likelihood or by vote."""

    n: int = 16
    """Samples per problem."""
    by: Literal["verifier", "likelihood", "majority"] = "verifier"
    """verifier: the first sample it accepts. likelihood: the most probable per token. majority: the most common answer.
    """
    temperature: float = 1.0
    top_p: float | None = None

    #: Of the default; a config that chooses without the verifier is not marked.
    traits: ClassVar[Traits] = Traits(seeded=True, verifier=True, family="decoding")

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ElicitError(f"best_of_n: n is {self.n}; a choice needs at least 2 samples.")
        if self.temperature <= 0:
            raise ElicitError("best_of_n: temperature must be above 0, or all samples are the same.")
        if self.by != "verifier":
            self.change_traits(verifier=False)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        return CostEstimate(Generation(self.n, lengths.plain, 1, lengths.prompt, 256))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        from elicit import search
        from elicit.policy import Policy

        decoding = task_decoding(task, temperature=self.temperature, top_p=self.top_p)
        searches: dict[str, search.Search] = {
            "verifier": search.VerifiedBestOfN(self.n),
            "likelihood": search.LikeliestBestOfN(self.n),
            "majority": search.MajorityVote(self.n),
        }
        return Policy(base, decoding, search=searches[self.by])
