"""`dola`: the last layer contrasted with the earlier layer that differs from it most (2309.03883), greedy.

See `readouts.dola` for the formula and where it deviates. Search: the bucket of candidate layers (lower or upper half)
on the select split, by accuracy, as the paper chooses it on a validation set; alpha is as given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positive
from elicit.method import Demand, Draws, Lengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class Dola:
    """Decoding by contrasting layers."""

    exits: Literal["choose", "low", "high"] | tuple[int, ...] = "choose"
    """Candidate early exits: a half of the model's depth, or numbers of decoder blocks (0: the embeddings). choose:
    low or high, on the select split."""
    alpha: float = 0.1
    """Plausible tokens have at least this fraction of the largest probability."""
    norm: bool = True
    """Whether early residuals pass the final norm before the head; the authors' code has False."""
    select_problems: int = 64

    traits: ClassVar[Traits] = Traits()

    def __post_init__(self) -> None:
        check_positive("dola", select_problems=self.select_problems)
        if not 0 <= self.alpha <= 1:
            raise ElicitError(f"dola: alpha is {self.alpha}; expected 0 to 1.")
        if not self.exits:
            raise ElicitError("dola: exits need at least one number of blocks.")

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    def demand(self, lengths: Lengths) -> Demand:
        trials = 2 * self.select_problems if self.exits == "choose" else 0
        return Demand(
            Draws(1, lengths.plain, 1, lengths.prompt),
            (Draws(trials, lengths.plain, trials, lengths.prompt, self.select_problems),),
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for exits that the model does not have."""
        from elicit.fitting.policy_selection import Candidate, chosen
        from elicit.policy import Policy
        from elicit.readouts import DoLa
        from elicit.readouts.dola import check_exits

        candidates = []
        for exits in self._exits(base):
            check_exits(exits, base.n_layers)
            policy = Policy(base, task_decoding(task), readout=DoLa(exits, self.alpha, self.norm))
            candidates.append(Candidate(policy, {"exits": list(exits)}))
        policy, record = chosen(candidates, task, self.select_problems)
        return Policy(base, policy.decoding, readout=policy.readout, record={**record, "readout": str(policy.readout)})

    def _exits(self, base: BaseModel) -> list[tuple[int, ...]]:
        from elicit.readouts.dola import bucket

        if isinstance(self.exits, tuple):
            return [self.exits]
        if self.exits == "choose":
            return [exits for exits in (bucket(base, "low"), bucket(base, "high")) if exits]
        found = bucket(base, self.exits)
        if not found:
            raise ElicitError(
                f"dola: the {self.exits} bucket of {base.name} ({base.n_layers} layers, tied embeddings) is empty. "
                f"Type exits: [1] or other numbers below {base.n_layers}."
            )
        return [found]
