"""`reference_model`: another model's answers to the same prompts. It is a ceiling, not a method.

A model post-trained from the base (its instruct or reasoning version), or a larger one of the same family: it shows
openly what the base may have latently. It reads the base's prompts as tokens, so it needs the same tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.errors import ElicitError
from elicit.method import CostEstimate, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class ReferenceModel(Method):
    """Another model, answering in place of the base."""

    model: str
    """Name or path, as for `elicit.load`."""
    condition: str = "plain"
    """plain, cue, or another condition of the task."""

    traits: ClassVar[Traits] = Traits(ceiling="reference model", models=("model",), family="frame")

    def __post_init__(self) -> None:
        if not self.model:
            raise ElicitError("reference_model: model is empty; name an organism, a folder, a GGUF file or a hub id.")

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Estimate the cost as if the other model were as large as the base."""
        cost = super().estimate_cost(lengths)
        return cost._replace(answer=cost.answer._replace(obstacle="another model answers"))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for a model that cannot be loaded or has another tokenizer, or an unknown condition."""
        from elicit.policy import Policy, Prompting
        from elicit.readouts.instead import ReplacementModel
        from elicit.readouts.second import SecondModel

        prompting = Prompting(self.condition)
        prompting.render(task.problems("select", 1)[0])
        readout = ReplacementModel(SecondModel.from_name(base, self.model))
        record = {"ceiling": "reference model", "reference": readout.to_json()["second"]}
        return Policy(base, task_decoding(task), prompting, readout=readout, record=record)
