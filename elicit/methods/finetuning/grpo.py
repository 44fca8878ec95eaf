"""`grpo`: reinforcement learning on the task's own verifier (RLVR), with TRL's `GRPOTrainer`.

    A_i = r_i - mean(r) over the answers to one problem        r_i = 1 for a right answer, else 0

`fitting.rlvr` has the steps and `training.run` the loss. Controls: the same with `reward: random`, `format_only` or
`wrong_label` (`fitting.reward_choice`). The pilot is `grpo`'s own, verifier and all: only the reward differs. A coin
rewarded Qwen2.5-Math-7B with +21.4 of +29.1 points and Llama and OLMo with nothing (2506.10947).

Deviations from common recipes: rollouts come from the lab's sampler (random numbers by identity), the order of problems
is drawn per step, and training stops after ten steps in which every rollout is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.fitting.reward_choice import describe_reward
from elicit.fitting.rlvr import RLConfig, train_weights_by_rl
from elicit.method import Method, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class GRPO(RLConfig, Method):
    """Reinforcement learning on a reward: right answers, unless `reward` says otherwise."""

    traits: ClassVar[Traits] = Traits(seeded=True, trained=True, family="rl")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.change_traits(**describe_reward(self.name, self.reward))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises TrainingFailed where training goes wrong (see `elicit.training.guards`)."""
        return train_weights_by_rl(self, base, task, seed=seed, scratch=scratch)
