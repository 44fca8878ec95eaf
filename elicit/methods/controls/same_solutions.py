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
from elicit.fitting.critique_data import CritiqueSelection, require_critique_record
from elicit.fitting.option_checks import check_checkpoints
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task
    from elicit.tasks.generated.critiques import CritiquedSolution


@dataclass(frozen=True)
class SameSolutions(Method):
    """Plain SFT on a critique arm's problems, token for token."""

    parent: str = "critique"
    """The critique arm this is the baseline of."""
    solutions: Literal["right", "candidates", "verified"] = "right"
    """What is shown as the solution."""
    checkpoints: tuple[int, ...] = ()
    """Steps after which to keep a copy of what is trained (the policy's `checkpoints`)."""

    traits: ClassVar[Traits] = Traits(
        seeded=True,
        trained=True,
        family="critique",
        fits_on=("critique",),
        is_control=True,
        baseline_conclusion="the solutions help, the critiques do not",
        label="SFT on the same problems' solutions for as many tokens",
        changes="critiques",
    )

    def __post_init__(self) -> None:
        check_checkpoints("same_solutions", self.checkpoints)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """As many completion tokens as the parent of 16 critiques and 10 epochs: what it was is not known here."""
        return CostEstimate(
            Generation(1, lengths.worked, 1, lengths.prompt),
            trained_tokens=160 * (lengths.prompt + lengths.worked),
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
        from elicit.training.supervised import SupervisedSchedule, example, train_on_examples

        record = require_critique_record("same_solutions", self.parent, needs[self.parent])
        pairs = [
            (row, self._choose_solution(task, row))
            for row in CritiqueSelection(**record["critique"]["shown"]).load_train_critiques(task)
        ]
        examples = [
            example(base, row.problem.prompt, text, who="same_solutions") for row, text in pairs if text is not None
        ]
        if not examples:
            raise ElicitError(
                f"same_solutions: none of the {len(pairs)} candidates that {self.parent!r} criticises is right. "
                "Give it more problems or candidates, or use solutions: right."
            )
        completion_tokens = record["train"]["completion_tokens"]
        schedule = dataclasses.replace(
            SupervisedSchedule(**record["critique"]["schedule"]), completion_tokens=completion_tokens
        )
        result = train_on_examples(
            base, examples, schedule, who="same_solutions", seed=seed, scratch=scratch, checkpoints=self.checkpoints
        )
        # Candidates are nobody's labour but the noise's; to know which are right takes the answer.
        labels = 0 if self.solutions == "candidates" else len({row.problem.id for row, _ in pairs})
        teacher_tokens = (
            sum(len(ids) for ids in {row.completion for row in examples}) if self.solutions == "right" else 0
        )
        training_record = result.to_record(base, labels=labels, teacher_tokens=teacher_tokens)
        training_record["matched"] = {
            "parent": self.parent,
            "completion_tokens": completion_tokens,
            "rows": len(examples),
        }
        return Policy(base, task_decoding(task), weights=result.weights, record=training_record, trail=result.trail)

    def _choose_solution(self, task: Task, row: CritiquedSolution) -> str | None:
        """None: not shown."""
        if self.solutions == "candidates":
            return row.candidate
        if self.solutions == "verified":
            right = row.correct if row.correct is not None else task.verify(row.problem, row.candidate).correct
            return row.candidate if right else None
        worked = task.worked(row.problem)
        if worked is None:
            raise ElicitError(
                f"same_solutions: problem {row.problem.id} of task {task.name!r} has no worked solution. "
                "Add `worked` to the task's file, or use solutions: candidates."
            )
        return worked
