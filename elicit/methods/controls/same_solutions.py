"""`same_solutions`: the fair baselines of a critique arm: SFT on what the critic saw or knew, for as many tokens.

    right        the question, completed by the right worked solution: same teacher, direct solutions
    candidates   the question, completed by the very candidates that were criticised, wrong ones too
    verified     the same, but only the candidates that are right

One row per critique of the parent, with its learning rate, batch size and parameters. The number of steps is such that
as many completion tokens are trained on as in the parent's training, as near as whole batches come to it. After the
baselines of 2501.17703 (SFT on noisy, verified and teacher-written responses), which matches examples and not tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.critique_data import Shown, parents
from elicit.fitting.option_checks import check_checkpoints
from elicit.method import Demand, Draws, Lengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task
    from elicit.tasks.generated.critiques import Criticised


@dataclass(frozen=True)
class SameSolutions:
    """Plain SFT on a critique arm's problems, token for token."""

    parent: str = "critique"
    """The critique arm this is the baseline of."""
    solutions: Literal["right", "candidates", "verified"] = "right"
    """What is shown as the solution."""
    checkpoints: tuple[int, ...] = ()
    """Steps after which to keep a copy of what is trained (the policy's `checkpoints`)."""

    traits: ClassVar[Traits] = Traits(seeded=True, trained=True, fits_on=("critique",))

    def __post_init__(self) -> None:
        check_checkpoints("same_solutions", self.checkpoints)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def demand(self, lengths: Lengths) -> Demand:
        """As many completion tokens as the parent of 16 critiques and 10 epochs: what it was is not known here."""
        return Demand(
            Draws(1, lengths.worked, 1, lengths.prompt),
            trained=160 * (lengths.prompt + lengths.worked),
            training="full",
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if the parent is no critique arm, or there are no such solutions.

        Raises:
            TrainingFailed: a loss that is no number.
        """
        from elicit.policy import Policy
        from elicit.training.supervised import Schedule, example, train

        record = parents("same_solutions", self.parent, needs[self.parent])
        pairs = [(one, self._solution(task, one)) for one in Shown(**record["critique"]["shown"]).rows(task)]
        examples = [
            example(base, one.problem.prompt, text, who="same_solutions") for one, text in pairs if text is not None
        ]
        if not examples:
            raise ElicitError(
                f"same_solutions: none of the {len(pairs)} candidates that {self.parent!r} criticises is right. "
                "Give it more problems or candidates, or use solutions: right."
            )
        wanted = record["train"]["completion_tokens"]
        schedule = dataclasses.replace(Schedule(**record["critique"]["schedule"]), completion_tokens=wanted)
        trained = train(
            base, examples, schedule, who="same_solutions", seed=seed, scratch=scratch, checkpoints=self.checkpoints
        )
        # Candidates are nobody's labour but the noise's; to know which are right takes the answer.
        labels = 0 if self.solutions == "candidates" else len({one.problem.id for one, _ in pairs})
        taught = sum(len(ids) for ids in {one.completion for one in examples}) if self.solutions == "right" else 0
        made = trained.record(base, labels=labels, teacher_tokens=taught)
        made["matched"] = {"parent": self.parent, "completion_tokens": wanted, "rows": len(examples)}
        return Policy(base, task_decoding(task), weights=trained.weights, record=made, trail=trained.trail)

    def _solution(self, task: Task, one: Criticised) -> str | None:
        """None: not shown."""
        if self.solutions == "candidates":
            return one.candidate
        if self.solutions == "verified":
            right = one.correct if one.correct is not None else task.verify(one.problem, one.candidate).correct
            return one.candidate if right else None
        worked = task.worked(one.problem)
        if worked is None:
            raise ElicitError(
                f"same_solutions: problem {one.problem.id} of task {task.name!r} has no worked solution. "
                "Add `worked` to the task's file, or use solutions: candidates."
            )
        return worked
