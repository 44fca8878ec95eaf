"""`named_prompt`: the base under one of the task's prompts, by name. A control that changes only the wording.

An intervention that changes the form of answers (longer, restated, shown as an equation) may owe its gain to the form.
A prompt that asks for that form is the control: `others: {restate: "{question} Repeat the sum, then its result."}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class NamedPrompt(Method):
    """One condition of the task."""

    condition: str
    """plain, cue, forced, or one of the `others` of the task's `prompts`."""

    traits: ClassVar[Traits] = Traits(family="decoding")

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        return CostEstimate(Generation(1, lengths.thought, 1, lengths.prompt))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for a condition that the task does not have."""
        from elicit.policy import Policy, Prompting

        prompting = Prompting(self.condition)
        prompting.render(task.problems("select", 1)[0])  # raises now if the task lacks this prompt
        return Policy(base, task_decoding(task), prompting, record={"condition": self.condition})
