"""`grpo_format_only`: control of `grpo`, rewarded for the form of a worked solution, right or wrong.

Its gain is due to format (2504.20571). Where a task has no worked solutions, any answer at all is rewarded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.fitting.rlvr import RLConfig, train_weights_by_rl
from elicit.method import Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class GrpoFormatOnly(RLConfig):
    """The control of `grpo` that is rewarded for form alone."""

    name: ClassVar[str] = "grpo_format_only"
    traits: ClassVar[Traits] = Traits(seeded=True, trained=True, control_of="grpo")

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises TrainingFailed where training goes wrong (see `elicit.training.guards`)."""
        from elicit.training import rewards

        return train_weights_by_rl(
            self,
            lambda task, seed, pilot_result: rewards.make_format_reward(task),
            base,
            task,
            seed=seed,
            scratch=scratch,
        )
