"""`grpo_random_reward`: control of `grpo`, rewarded by a fair coin.

Random rewards gave Qwen2.5-Math-7B +21.4 of +29.1 points, and Llama and OLMo nothing (2506.10947). The pilot is that of
`grpo`, with its verifier: only the reward differs.
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
class GrpoRandomReward(RLConfig):
    """The control of `grpo` whose reward is a fair coin."""

    name: ClassVar[str] = "grpo_random_reward"
    traits: ClassVar[Traits] = Traits(seeded=True, trained=True, control_of="grpo")

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises TrainingFailed where training goes wrong (see `elicit.training.guards`)."""
        from elicit.training import rewards

        return train_weights_by_rl(
            self,
            lambda task, seed, pilot_result: rewards.make_random_reward(seed),
            base,
            task,
            seed=seed,
            scratch=scratch,
        )
