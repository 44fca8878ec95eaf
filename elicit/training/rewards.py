"""Rewards: what a sampled completion is worth, 0 or 1. The controls of RLVR differ from it by one of these lines.

Random rewards after 2506.10947 (fair coin), format rewards after 2504.20571, wrong labels after 2506.10947 (the most
frequent wrong answer of the untrained model).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from elicit import seeds
from elicit.tasks import Problem, Task


class Rollout(NamedTuple):
    """One sampled completion of one problem, with the identity of its random numbers."""

    problem: Problem
    step: int
    """Training step it was sampled for, from 0."""
    sample: int
    """Its number within the problem's group."""
    text: str
    """Its text, cut before the stop string."""
    finished: bool


#: The worth of a rollout.
Reward = Callable[[Rollout], float]


def make_verifier_reward(task: Task) -> Reward:
    """1 if the task's own verifier calls the completion right."""
    return lambda rollout: float(task.verify(rollout.problem, rollout.text).correct)


def make_random_reward(seed: int) -> Reward:
    """A fair coin by identity (seed, step, problem, sample): says nothing about the completion."""

    def score_rollout(rollout: Rollout) -> float:
        random = seeds.make_generator("random reward", seed, rollout.step, rollout.problem.id, rollout.sample)
        return float(random.random() < 0.5)

    return score_rollout


def make_format_reward(task: Task) -> Reward:
    """1 for the form of a worked solution (any answer at all where the task has no worked solutions)."""

    def score_rollout(rollout: Rollout) -> float:
        verdict = task.verify(rollout.problem, rollout.text)
        has_traces = task.worked(rollout.problem) is not None
        return float(verdict.has_trace if has_traces else verdict.answer is not None)

    return score_rollout


def make_label_reward(task: Task, answers: Mapping[str, str]) -> Reward:
    """1 if the completion's answer is the given one of its problem (`answers`: problem id -> canonical answer), which
    need not exist for every problem."""

    def score_rollout(rollout: Rollout) -> float:
        answer = task.verify(rollout.problem, rollout.text).answer
        return float(answer is not None and answer == answers.get(rollout.problem.id))

    return score_rollout
