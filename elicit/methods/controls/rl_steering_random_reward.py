"""`rl_steering_random_reward`: control of `rl_steering`, rewarded by a fair coin.

With the same options, start, pilot, problems and random numbers are the parent's: only the reward differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.fitting.vector_training import VectorTrainingConfig, train_vectors_by_rl
from elicit.method import Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class RlSteeringRandomReward(VectorTrainingConfig):
    """Steering vectors trained on the reward of a fair coin."""

    name: ClassVar[str] = "rl_steering_random_reward"
    traits: ClassVar[Traits] = Traits(seeded=True, trained=True, control_of="rl_steering")

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises TrainingFailed where training goes wrong (see `elicit.training.guards`)."""
        from elicit.training import rewards

        return train_vectors_by_rl(
            self,
            lambda task, seed, pilot_result: rewards.make_random_reward(seed),
            base,
            task,
            seed=seed,
            scratch=scratch,
        )
