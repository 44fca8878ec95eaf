"""`rl_steering`: steering vectors trained by reinforcement on the task's own verifier (2505.18706, 2509.06608).

    h <- h + v_l        A_i = r_i - mean(r) over the answers to one problem

v_l, one per layer, is all that the reward trains; `training.run` has the loss.

1. Vectors start from noise, from a difference of means or from an SAE feature (`start`), one per layer, in residual
   norms of their layer.
2. Pilot under the starting vectors: keep train problems that are solved sometimes but not always.
3. The weights stay frozen. The vectors, added to their layers' outputs at `positions`, are trained by the trainer of
   `grpo`: Dr. GRPO, reward 1 for a right answer, else 0.
4. The result is ordinary steering: it is saved, loaded, hashed and controlled like any other. If the pilot keeps no
   problem, the result is the start, and the record says so.

Deviations: the papers add a vector after every layer and at every position. Here the last layer is left out, because no
block reads a vector added after it, and `positions` is `first`. The defaults come from a search on 100 select problems
of `cued` (addition, one seed, 30 steps from noise, greedy): positions first, first:4 and decay:8 reach 100 %, generated
and all 2 %. A pace (largest change of a vector per step, in residual norms) of 0.1, 0.3 and 1 reaches 100 %, 0.03 and
0.01 reach 0 %: vectors do not reach the necessary length of one residual norm. Layer 1, layer 2 or several layers reach
100 %, layer 0 alone 8 %; 8 to 64 answers per problem and starting lengths of 0.0001 to 0.5 residual norms reach 100 %.

Controls: `untrained_vector` (its own start at the trained lengths), the same with `reward: random`, `random_vector`
(matched lengths), `same_vector` (other positions, wrong sign). There is no choice on select that a control could
repeat: the training does the searching, so the control with the same search is the same training on a random reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.fitting.reward_choice import describe_reward
from elicit.fitting.vector_config import VectorTrainingConfig
from elicit.fitting.vector_training import train_vectors_by_rl
from elicit.method import Method, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class RlSteering(VectorTrainingConfig, Method):
    """Steering vectors trained on a reward: right answers, unless `reward` says otherwise."""

    traits: ClassVar[Traits] = Traits(
        seeded=True, trained=True, family="rl_steering", provides=("direction", "trained direction")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.change_traits(**describe_reward(self.name, self.reward))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises TrainingFailed where training goes wrong (see `elicit.training.guards`)."""
        return train_vectors_by_rl(self, base, task, seed=seed, scratch=scratch)
