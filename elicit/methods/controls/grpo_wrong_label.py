"""`grpo_wrong_label`: the control of `grpo` that is rewarded for a wrong answer.

The wrong answer of a problem is the one that the untrained model gave most often in the pilot (after 2506.10947).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.fitting.rlvr import Recipe, reinforce
from elicit.method import Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class GrpoWrongLabel(Recipe):
    """The control of `grpo` whose reward asks for a fixed wrong answer."""

    name: ClassVar[str] = "grpo_wrong_label"
    traits: ClassVar[Traits] = Traits(seeded=True, trained=True, control_of="grpo")

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises TrainingFailed where training goes wrong (see `elicit.training.guards`)."""
        from elicit.training import rewards

        return reinforce(
            self, lambda task, seed, found: rewards.label(task, found.wrong), base, task, seed=seed, scratch=scratch
        )
