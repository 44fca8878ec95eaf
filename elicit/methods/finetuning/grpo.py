"""`grpo`: reinforcement learning on the task's own verifier (RLVR), with TRL's `GRPOTrainer`.

Reward 1 for a right answer, else 0; see `rlvr` for the steps. Controls: `grpo_random_reward`, `grpo_format_only`,
`grpo_wrong_label`.

Deviations from common recipes: rollouts come from the lab's sampler (random numbers by identity), the order of problems
is drawn per step, and training stops after ten steps in which every rollout is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.fitting.rlvr import RLConfig, train_weights_by_rl

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class GRPO(RLConfig):
    """Reinforcement learning on right answers."""

    name: ClassVar[str] = "grpo"

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises TrainingFailed where training goes wrong (see `elicit.training.guards`)."""
        from elicit.training import rewards

        return train_weights_by_rl(
            self,
            lambda task, seed, pilot_result: rewards.make_verifier_reward(task),
            base,
            task,
            seed=seed,
            scratch=scratch,
        )
