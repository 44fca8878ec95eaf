"""`grpo_wrong_label`: control of `grpo`, rewarded for a wrong answer.

The wrong answer of a problem is the one that the untrained model gave most often in the pilot (after 2506.10947).
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
class GrpoWrongLabel(RLConfig):
    """The control of `grpo` that is rewarded for a fixed wrong answer."""

    name: ClassVar[str] = "grpo_wrong_label"
    traits: ClassVar[Traits] = Traits(seeded=True, trained=True, control_of="grpo")

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises TrainingFailed where training goes wrong (see `elicit.training.guards`)."""
        from elicit.training import rewards

        return train_weights_by_rl(
            self,
            lambda task, seed, pilot_result: rewards.make_label_reward(task, pilot_result.wrong),
            base,
            task,
            seed=seed,
            scratch=scratch,
        )
