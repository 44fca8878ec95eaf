"""`few_shot`: solved problems of the train split before the question (2005.14165; worked ones: 2201.11903).

Each demonstration is a problem's own prompt and its solution, in the task's own form (for a model with a chat template
an earlier turn of the chat); the test problem's prompt comes last. The seed determines the problems shown and their
order.

The built-in organisms were trained on one problem per document, so such prompts are longer than any they have seen: the
arm then measures that shift as much as the demonstrations.
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
class FewShot(Method):
    """Demonstrations in the prompt."""

    demonstrations: int = 4
    """Number of solved problems in the prompt."""
    supervision: Literal["worked", "direct"] = "worked"
    """Show worked solutions or bare answers."""
    separator: str | None = None
    """Text between demonstrations; None: the task's own. A chat has turns instead."""

    traits: ClassVar[Traits] = Traits(seeded=True, family="decoding")

    def __post_init__(self) -> None:
        check_positive("few_shot", demonstrations=self.demonstrations)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Estimate the cost: demonstrations are the same for all problems and run once per batch."""
        length = lengths.worked if self.supervision == "worked" else lengths.plain
        demonstration_tokens = self.demonstrations * (lengths.prompt + length) / 64
        return CostEstimate(Generation(1, length, 1, lengths.prompt + demonstration_tokens))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if solutions or problems are missing, or the prompt is too long or not encodable."""
        from elicit.fitting.prompt_checks import check_prompts
        from elicit.policy import Policy, Prompting

        demonstrations = task.problems("train", self.demonstrations, seed=seed + 1)
        write = task.worked if self.supervision == "worked" else task.direct
        pairs = []
        for problem in demonstrations:
            solution = write(problem)
            if solution is None:
                raise ElicitError(
                    f"few_shot: problem {problem.id} of task {task.name!r} lacks a worked solution. Use supervision: "
                    "direct, or add `worked` to the task's file."
                )
            pairs.append((problem, solution))
        before, replaces = task.examples(pairs, self.separator)
        prompting = Prompting(before=before, replaces=replaces)
        longest = check_prompts("few_shot", base, task, prompting, task.problems("select", 64))
        record = {
            "shown": [problem.id for problem in demonstrations],
            "longest_prompt": longest,
            "train": {"flops": 0, "tokens": 0, "labels": len(demonstrations), "teacher_tokens": 0},
        }
        return Policy(base, task_decoding(task), prompting, record=record)
