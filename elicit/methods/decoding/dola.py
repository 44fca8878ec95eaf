"""`dola`: the last layer contrasted with the most different earlier layer (2309.03883), greedy.

See `readouts.dola` for the formula and where it deviates. Search: the bucket of candidate layers (lower or upper half)
on the select split, by accuracy, as the paper chooses it on a validation set; alpha is not tuned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class Dola(Method):
    """Decoding by contrasting layers."""

    exits: Literal["choose", "low", "high"] | tuple[int, ...] = "choose"
    """Candidate early exits: a half of the model's depth, or numbers of decoder blocks (0: the embeddings). choose:
    low or high, on the select split."""
    alpha: float = 0.1
    """Plausible tokens have at least this fraction of the largest probability."""
    norm: bool = True
    """Apply the final norm to early residuals before the head; the authors' code has False."""
    select_problems: int = 64

    traits: ClassVar[Traits] = Traits(family="decoding")

    def __post_init__(self) -> None:
        check_positive("dola", select_problems=self.select_problems)
        if not 0 <= self.alpha <= 1:
            raise ElicitError(f"dola: alpha is {self.alpha}; expected 0 to 1.")
        if not self.exits:
            raise ElicitError("dola: exits need at least one number of blocks.")

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        trials = 2 * self.select_problems if self.exits == "choose" else 0
        return CostEstimate(
            Generation(1, lengths.plain, 1, lengths.prompt),
            (Generation(trials, lengths.plain, trials, lengths.prompt, self.select_problems),),
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for exits that the model does not have."""
        from elicit.fitting.selection import Candidate, choose_readout
        from elicit.policy import Policy
        from elicit.readouts.dola import DolaReadout, check_exits

        candidates = []
        for exits in self._list_exit_candidates(base):
            check_exits(exits, base.n_layers)
            policy = Policy(base, task_decoding(task), readout=DolaReadout(exits, self.alpha, self.norm))
            candidates.append(Candidate(policy, {"exits": list(exits)}))
        return choose_readout(candidates, task, self.select_problems)

    def _list_exit_candidates(self, base: BaseModel) -> list[tuple[int, ...]]:
        from elicit.readouts.dola import list_bucket_exits

        if isinstance(self.exits, tuple):
            return [self.exits]
        if self.exits == "choose":
            return [exits for exits in (list_bucket_exits(base, "low"), list_bucket_exits(base, "high")) if exits]
        bucket_exits = list_bucket_exits(base, self.exits)
        if not bucket_exits:
            raise ElicitError(
                f"dola: the {self.exits} bucket of {base.name} ({base.n_layers} layers, tied embeddings) is empty. "
                f"Type exits: [1] or other numbers below {base.n_layers}."
            )
        return [bucket_exits]
