"""The one place where a method chooses among candidates: whole policies on the select split, by one rate.

1. Every candidate answers the same problems of the select split.
2. The highest rate wins; ties go to the smaller strength (or the larger: `TIES`), the earlier layer, the earlier
   candidate.
3. The record keeps every candidate's figures, the cost of the choice, the number of candidates that tie, and chosen
   values at an edge of their grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from elicit.method import task_decoding

if TYPE_CHECKING:
    from elicit.answer import Answer
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.steering import FunctionEdit, Steering
    from elicit.tasks import Problem, Task

#: Field of an entry -> (lowest, highest possible value), None for no bound. A value at its bound is not an edge.
Bounds = Mapping[str, tuple[float | None, float | None]]

#: What decides between candidates of equal rate: the smallest entry of each field in turn, after a minus the largest.
TIES: Mapping[str, tuple[str, ...]] = {"smallest": ("strength", "layer"), "largest": ("-strength", "layer")}

_READOUT_BOUNDS: Bounds = {"alpha": (0.0, 1.0), "beta": (0.0, None), "temperature": (0.0, None)}


class Candidate(NamedTuple):
    """A policy, with notes for the record."""

    policy: Policy
    notes: Mapping[str, Any]


class CandidateResult(NamedTuple):
    """Results of a candidate on the select split."""

    entry: dict[str, Any]
    """Its notes and figures as plain data, with intervals."""
    correct: tuple[bool, ...]
    """Correctness per problem."""
    firings: tuple[int, ...]
    """Steered positions per problem."""
    tokens: tuple[int, ...]
    """Generated tokens per problem."""
    finished: tuple[bool, ...]
    """Answers that ended by themselves, per problem."""


class Selection(NamedTuple):
    """A choice among candidates."""

    results: list[CandidateResult]
    """Of every candidate, in order."""
    best: int
    """Index of the chosen one."""
    record: dict[str, Any]
    """For a policy's record: `chosen`, `chosen_on`, `tuning` and `edges`."""

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The candidates' figures, in order."""
        return [result.entry for result in self.results]


def make_steering_candidate(
    base: BaseModel, task: Task, edits: tuple[Steering | FunctionEdit, ...], notes: Mapping[str, Any]
) -> Candidate:
    """The base under edits that are applied together.

    Its `strength` and `absolute` are sums over the edits; `layer` is that of the first.
    """
    dose = {
        "layer": edits[0].layer,
        "strength": sum(edit.strength for edit in edits),
        "absolute": sum(edit.absolute for edit in edits),
    }
    from elicit.policy import Policy

    return Candidate(Policy(base, task_decoding(task), steering=edits), {**dose, **notes})


def evaluate_candidates(
    candidates: Sequence[Candidate], task: Task, problems: Sequence[Problem]
) -> list[CandidateResult]:
    """Answer `problems` with every candidate and judge the answers."""
    from elicit.answering import answer_together

    answers = answer_together([candidate.policy for candidate in candidates], problems, task, label=task.name, seed=0)
    return [
        _judge_answers(candidate, task, problems, given) for candidate, given in zip(candidates, answers, strict=True)
    ]


def evaluate_candidate(candidate: Candidate, task: Task, problems: Sequence[Problem]) -> CandidateResult:
    """Answer `problems` with one candidate and judge the answers."""
    return evaluate_candidates([candidate], task, problems)[0]


def _judge_answers(
    candidate: Candidate, task: Task, problems: Sequence[Problem], answers: Sequence[Answer]
) -> CandidateResult:
    from elicit.statistics import wilson_interval

    verdicts = [task.verify(problem, answer.text) for problem, answer in zip(problems, answers, strict=True)]
    accuracy = wilson_interval(sum(verdict.correct for verdict in verdicts), len(verdicts))
    traces = wilson_interval(sum(verdict.has_trace for verdict in verdicts), len(verdicts))
    assert accuracy.ci is not None
    assert traces.ci is not None
    tokens = tuple(answer.tokens for answer in answers)
    entry = {
        **candidate.notes,
        "accuracy": accuracy.value,
        "ci": list(accuracy.ci),
        "n": accuracy.n,
        "trace_rate": traces.value,
        "trace_ci": list(traces.ci),
        "generated_tokens": sum(tokens),
    }
    return CandidateResult(
        entry,
        tuple(verdict.correct for verdict in verdicts),
        tuple(answer.firings for answer in answers),
        tokens,
        tuple(answer.finished for answer in answers),
    )


def select_candidate(
    candidates: Sequence[Candidate],
    task: Task,
    n: int,
    *,
    by: Literal["accuracy", "trace_rate"] = "accuracy",
    ties: Sequence[str] = TIES["smallest"],
    bounds: Bounds | None = None,
) -> Selection:
    """Choose the candidate with the highest rate on `n` problems of the select split.

    Args:
        by: the rate. A choice by trace rate uses no labels.
        ties: entries of which the smallest wins among equals, after a minus the largest, before the earlier candidate.
        bounds: the tuned entries, whose values at an edge of the grid are recorded.
    """
    problems = task.problems("select", n)
    results = evaluate_candidates(candidates, task, problems)
    entries = [result.entry for result in results]
    best = find_best(entries, by, ties)
    record = {
        "chosen": entries[best],
        "chosen_on": {"split": "select", "n": n, "by": by, "of": len(entries)},
        "tuning": {
            "generated_tokens": sum(sum(result.tokens) for result in results),
            "labels": n if by == "accuracy" else None,
            "n": n,
            "trials": len(entries),
            "split": "select",
        },
        "tied": _describe_ties(entries, best, by),
        "edges": find_grid_edges(entries, best, bounds or {}),
    }
    return Selection(results, best, record)


def choose_readout(candidates: Sequence[Candidate], task: Task, n: int) -> Policy:
    """The policy of the candidate whose readout is best on `n` select problems; a single one is not evaluated."""
    from elicit.policy import Policy

    record: dict[str, Any]
    if len(candidates) == 1:
        policy, record = candidates[0].policy, {"chosen": dict(candidates[0].notes)}
    else:
        selection = select_candidate(candidates, task, n, bounds=_READOUT_BOUNDS)
        policy, record = candidates[selection.best].policy, {**selection.record, "trials": selection.entries}
    record["readout"] = str(policy.readout)
    return Policy(policy.model, policy.decoding, readout=policy.readout, record=record)


def find_best(
    entries: Sequence[Mapping[str, Any]], by: str = "accuracy", ties: Sequence[str] = TIES["smallest"]
) -> int:
    """Index of the highest `by`; among equals the smallest of each of `ties` (0 if missing), then the first.

    Args:
        ties: fields of the entries; of one after a minus, the largest.
    """

    def rank(i: int) -> tuple[float, ...]:
        values = (entries[i].get(field.removeprefix("-"), 0) * (-1 if field.startswith("-") else 1) for field in ties)
        return (-entries[i][by], *values, i)

    return min(range(len(entries)), key=rank)


def _describe_ties(entries: Sequence[Mapping[str, Any]], chosen: int, by: str) -> dict[str, Any] | None:
    """The candidates that are as good as the chosen one, which says nothing of their strengths; None if it is alone."""
    tied = [entry for entry in entries if entry[by] == entries[chosen][by]]
    if len(tied) < 2:
        return None
    strengths = [entry["strength"] for entry in tied if "strength" in entry]
    best = {"value": entries[chosen][by], "n": entries[chosen]["n"]}
    best["ci"] = entries[chosen]["ci" if by == "accuracy" else "trace_ci"]
    return {
        "candidates": len(tied),
        "of": len(entries),
        "strength": entries[chosen].get("strength"),
        "strengths": [min(strengths), max(strengths)] if strengths else None,
        "by": by,
        "rate": best,
    }


def find_grid_edges(entries: Sequence[Mapping[str, Any]], chosen: int, bounds: Bounds) -> list[str]:
    """Describe chosen values at the edge of the grid, where a wider grid might have done better.

    Considers entries with the mode and number of features of the chosen one: other strengths have other units.
    """

    def entry_kind(entry: Mapping[str, Any]) -> tuple[Any, int]:
        return entry.get("mode"), len(entry.get("features") or ())

    comparable = [entry for entry in entries if entry_kind(entry) == entry_kind(entries[chosen])]
    messages = []
    for field, (lowest, highest) in bounds.items():
        values = sorted({float(entry[field]) for entry in comparable if entry.get(field) is not None})
        if len(values) < 2:
            continue
        value, spread = float(entries[chosen][field]), f"{values[0]:g} to {values[-1]:g}"
        if value == values[-1] and value != highest:
            messages.append(f"{field} {value:g} is the largest of those tried ({spread})")
        elif value == values[0] and value != lowest:
            messages.append(f"{field} {value:g} is the smallest of those tried ({spread})")
    return messages


class Dose(NamedTuple):
    """A dose to try: a strength, in units of the layer or feature, or a raw coefficient of the vector itself."""

    value: float
    is_coefficient: bool

    def to_strength(self, length: float, unit: float) -> float:
        """The strength in units of `unit`, for a vector of that length."""
        return self.value * length / unit if self.is_coefficient else self.value

    @property
    def notes(self) -> dict[str, float]:
        """What an entry of the record says of a raw coefficient; its strength is there too."""
        return {"coefficient": self.value} if self.is_coefficient else {}


def list_doses(strengths: Sequence[float], coefficients: Sequence[float] | None) -> list[Dose]:
    """The doses of a config: its coefficients, where it gives some, else its strengths."""
    return [Dose(value, coefficients is not None) for value in (strengths if coefficients is None else coefficients)]


def get_steering_bounds(base: BaseModel, coefficients: Sequence[float] | None = None) -> Bounds:
    """Bounds of the tuned options. The last block is excluded: no block reads an edit after it."""
    dose = "strength" if coefficients is None else "coefficient"
    return {dose: (0.0, None), "layer": (0.0, float(max(0, base.n_layers - 2)))}
