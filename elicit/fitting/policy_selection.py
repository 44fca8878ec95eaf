"""Selection among whole policies on the select split, by accuracy; the first among equals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from elicit.policy import Policy
    from elicit.tasks import Problem, Task

#: Bounds of the options that weigh second models; a value at its bound is not an edge of the grid.
_BOUNDS = {"alpha": (0.0, 1.0), "beta": (0.0, None), "temperature": (0.0, None)}


class PolicyCandidate(NamedTuple):
    """A policy, with notes for the record."""

    policy: Policy
    notes: Mapping[str, Any]


class CandidateResult(NamedTuple):
    """Results of a candidate on the select split."""

    entry: dict[str, Any]
    """Plain data, with intervals."""
    correct: tuple[bool, ...]
    """Correctness per problem."""
    firings: tuple[int, ...]
    """Steered positions per problem."""
    tokens: tuple[int, ...]
    """Generated tokens per problem."""


def evaluate_candidate(candidate: PolicyCandidate, task: Task, problems: Sequence[Problem]) -> CandidateResult:
    """Answer `problems` with a candidate and judge the answers."""
    from elicit.statistics import wilson_interval

    answers = candidate.policy.answer(problems, task, label=task.name, seed=0)
    verdicts = [task.verify(problem, answer.text) for problem, answer in zip(problems, answers, strict=True)]
    accuracy = wilson_interval(sum(verdict.correct for verdict in verdicts), len(verdicts))
    traces = wilson_interval(sum(verdict.has_trace for verdict in verdicts), len(verdicts))
    assert accuracy.ci is not None
    assert traces.ci is not None
    firings, tokens = tuple(answer.firings for answer in answers), tuple(answer.tokens for answer in answers)
    entry = {
        **candidate.notes,
        "accuracy": accuracy.value,
        "ci": list(accuracy.ci),
        "n": accuracy.n,
        "trace_rate": traces.value,
        "trace_ci": list(traces.ci),
        "generated_tokens": sum(tokens),
    }
    return CandidateResult(entry, tuple(verdict.correct for verdict in verdicts), firings, tokens)


def choose_candidate(candidates: Sequence[PolicyCandidate], task: Task, n: int) -> tuple[Policy, dict[str, Any]]:
    """Choose the candidate with the highest accuracy on `n` select problems; returns it and its record.

    A single candidate is returned without evaluation.
    """
    from elicit.fitting.edit_selection import compute_tuning_cost, find_grid_edges

    if len(candidates) == 1:
        return candidates[0].policy, {"chosen": dict(candidates[0].notes)}
    problems = task.problems("select", n)
    trials = [evaluate_candidate(candidate, task, problems).entry for candidate in candidates]
    best = max(range(len(trials)), key=lambda i: trials[i]["accuracy"])
    record = {
        "chosen": trials[best],
        "chosen_on": {"split": "select", "n": n, "by": "accuracy"},
        "trials": trials,
        "tuning": compute_tuning_cost(trials),
        "edges": find_grid_edges(trials, best, _BOUNDS),
    }
    return candidates[best].policy, record
