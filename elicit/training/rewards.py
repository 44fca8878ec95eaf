"""Rewards of sampled completions, 0 or 1. RLVR and its controls differ only in the choice of one of these.

Random rewards after 2506.10947 (fair coin), format rewards after 2504.20571, wrong labels after 2506.10947 (the most
frequent wrong answer of the untrained model).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from elicit import seeds
from elicit.errors import one_line
from elicit.tasks import Problem, Task
from elicit.training.failures import TrainingFailed


class Rollout(NamedTuple):
    """A sampled completion of a problem, with the identity of its random numbers."""

    problem: Problem
    step: int
    """Training step for which it was sampled, from 0."""
    sample: int
    """Its index within the problem's group."""
    text: str
    """Its text up to the stop string."""
    finished: bool


#: Rollout -> reward.
Reward = Callable[[Rollout], float]


def make_verifier_reward(task: Task) -> Reward:
    """Reward 1 if the task's verifier accepts the completion."""
    return lambda rollout: float(task.verify(rollout.problem, rollout.text).correct)


def make_random_reward(seed: int) -> Reward:
    """Reward by a fair coin determined by (seed, step, problem, sample), independent of the completion."""

    def score_rollout(rollout: Rollout) -> float:
        random = seeds.make_generator("random reward", seed, rollout.step, rollout.problem.id, rollout.sample)
        return float(random.random() < 0.5)

    return score_rollout


def make_format_reward(task: Task) -> Reward:
    """Reward 1 for the form of a worked solution (for any answer at all if the task has no worked solutions)."""

    def score_rollout(rollout: Rollout) -> float:
        verdict = task.verify(rollout.problem, rollout.text)
        has_traces = task.worked(rollout.problem) is not None
        return float(verdict.has_trace if has_traces else verdict.answer is not None)

    return score_rollout


def make_label_reward(task: Task, answers: Mapping[str, str]) -> Reward:
    """Reward 1 if the completion's answer equals a given one.

    Args:
        answers: problem id -> canonical answer; problems may be missing.
    """

    def score_rollout(rollout: Rollout) -> float:
        answer = task.verify(rollout.problem, rollout.text).answer
        return float(answer is not None and answer == answers.get(rollout.problem.id))

    return score_rollout


@dataclass(frozen=True)
class BatchReward:
    """A function with the signature of TRL's reward functions, called for all rollouts of a step at once."""

    name: str
    function: Callable[..., Any]
    task: Task

    def score(self, rollouts: Sequence[Rollout]) -> list[float]:
        """One finite number per rollout.

        Raises:
            TrainingFailed: the function fails, or returns something else.
        """
        columns = {
            "prompts": [rollout.problem.prompt for rollout in rollouts],
            "completions": [rollout.text for rollout in rollouts],
            "problem": [rollout.problem for rollout in rollouts],
            "correct": [self.task.verify(rollout.problem, rollout.text).correct for rollout in rollouts],
            "finished": [rollout.finished for rollout in rollouts],
            "step": rollouts[0].step,
        }
        try:
            values = [float(value) for value in self.function(**columns)]
        except Exception as error:
            raise TrainingFailed(f"reward {self.name}: {type(error).__name__}: {one_line(error, 200)}") from error
        if len(values) != len(rollouts) or not all(map(math.isfinite, values)):
            raise TrainingFailed(
                f"reward {self.name}: expected {len(rollouts)} finite numbers, one per completion; it returned "
                f"{len(values)}: {one_line(values, 80)}"
            )
        return values
