"""Guards that end a training early: with an error if it went wrong, normally if nothing is left to learn.

Everything is read from the trainer's log and the weights, never from counters of the guard, so that a resumed training
ends at the same step as an uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from transformers import TrainerCallback

from elicit.training.failures import TrainingFailed
from elicit.training.sharding import compute_joint_norm

#: Consecutive steps without a learning signal after which a training ends.
PATIENCE = 10
#: Share of truncated completions that counts as "all".
_ALL = 0.99
#: Default limit on the norm of trained values, as a multiple of their initial norm.
_GROWTH = 10.0


class GuardCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Guard of one training."""

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        *,
        best: float,
        norm_limit: float | None = None,
        patience: int = PATIENCE,
    ) -> None:
        """
        Args:
            parameters: the trained parameters.
            best: the maximal reward: a policy whose every rollout earns it has nothing left to learn.
            norm_limit: largest L2 norm of all trained values together. None: 10 times their initial norm.
        """
        self._trained = [p for p in parameters if p.requires_grad]
        self._best = best
        self._patience = patience
        self._tells_norm = norm_limit is not None
        self.norm_limit = norm_limit if norm_limit is not None else _GROWTH * max(self.compute_norm(), 1e-3)
        self.stopped: str | None = None

    def compute_norm(self) -> float:
        """L2 norm of all trained values."""
        return compute_joint_norm(p.detach() for p in self._trained)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Check the gradient before it reaches the weights."""
        size = compute_joint_norm(p.grad for p in self._trained if p.grad is not None)
        if not math.isfinite(size):
            raise TrainingFailed(
                f"step {state.global_step + 1}: the gradient of the loss is {size}. {_suggest_lower_rate(args)}"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        norm = self.compute_norm()
        if not math.isfinite(norm):
            raise TrainingFailed(
                f"step {state.global_step}: the trained values are not finite numbers. {_suggest_lower_rate(args)}"
            )
        if norm > self.norm_limit:
            raise TrainingFailed(
                f"step {state.global_step}: training diverged: the trained values have norm {norm:.3g}, the limit is "
                f"{self.norm_limit:.3g}. {_suggest_lower_rate(args)}"
            )

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        history = [entry for entry in state.log_history if "loss" in entry]
        if not history:
            return
        if self._tells_norm:
            history[-1]["norm"] = self.compute_norm()  # into the trainer's own log, which checkpoints keep
        if not math.isfinite(history[-1]["loss"]):
            raise TrainingFailed(
                f"step {state.global_step}: the loss is {history[-1]['loss']}. {_suggest_lower_rate(args)}"
            )
        recent = history[-self._patience :]
        if len(recent) < self._patience:
            return
        if _all_at_least(recent, "frac_reward_zero_std", 1.0) and _all_at_least(recent, "reward", self._best):
            self.stopped = f"every rollout of {self._patience} steps earned the full reward"
            control.should_training_stop = True
            # A resumed training must start before this decision, and make it again.
            control.should_save = False
        elif _all_at_least(recent, "clipped", _ALL):
            raise TrainingFailed(
                f"step {state.global_step}: in {self._patience} steps every completion was cut at its limit of "
                f"{args.max_completion_length} tokens. Raise max_completion_length, or give the task a stop string."
            )
        elif _all_at_least(recent, "frac_reward_zero_std", 1.0):
            raise TrainingFailed(
                f"step {state.global_step}: in {self._patience} steps all samples of each problem earned the same "
                f"reward (mean {recent[-1]['reward']:.3g}), so there is nothing to learn from. Use more generations, "
                "easier problems or a lower learning_rate."
            )


def _all_at_least(entries: list[dict[str, Any]], name: str, least: float) -> bool:
    return all(entry[name] >= least for entry in entries)


def _suggest_lower_rate(args: Any) -> str:
    return f"Lower learning_rate (it is {args.learning_rate:g})."
