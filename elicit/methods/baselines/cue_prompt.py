"""`cue_prompt`: the base model under the condition known to elicit the ability. It is a ceiling, not a method.

Two conditions exist. A *cue* is another prompt for the same problem (a password token for an organism, "think step by
step" for a real model). A *forced opening* starts the answer with a worked solution's first characters, up to but not
including the first computed symbol; it serves models without a cue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, get_eliciting_condition, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class CuePrompt(Method):
    """The ceiling condition."""

    condition: Literal["auto", "cue", "forced"] = "auto"
    """auto: the cue, except for organisms whose card says they have none (`serial`), which get the forced opening."""

    traits: ClassVar[Traits] = Traits(ceiling="cue", family="frame")

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        return CostEstimate(Generation(1, lengths.thought, 1, lengths.thinking))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError when the task's problems have neither a cue prompt nor an opening."""
        from elicit.policy import Policy, Prompting

        condition = get_eliciting_condition(base) if self.condition == "auto" else self.condition
        prompting = Prompting(condition)
        prompting.render(task.problems("select", 1)[0])  # raises now if the task lacks this prompt
        # A model from outside was never taught a cue: its cue prompt is the request to think.
        kind = "think_prompt" if condition == "cue" and not base.card else condition
        return Policy(base, task_decoding(task), prompting, record={"ceiling": kind})
