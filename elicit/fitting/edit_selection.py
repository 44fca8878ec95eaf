"""Selection among steering edits on the select split, shared by steering methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from elicit.method import task_decoding

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.steering import Steering
    from elicit.tasks import Problem, Task


class SteeringTrial(NamedTuple):
    """Edits applied together, with notes for the record."""

    edits: tuple[Steering, ...]
    notes: Mapping[str, Any]


def measure_dose_response(
    base: BaseModel, task: Task, grid: Sequence[SteeringTrial], problems: Sequence[Problem]
) -> list[dict[str, Any]]:
    """Measure accuracy, trace rate and tokens of every trial on `problems`, as plain data with intervals.

    `strength` and `absolute` are sums over the edits of a trial; `layer` is that of the first.
    """
    from elicit.policy import Policy
    from elicit.statistics import wilson_interval

    curve = []
    for edits, notes in grid:
        policy = Policy(base, task_decoding(task), steering=edits)
        answers = policy.answer(problems, task, label=task.name, seed=0)
        verdicts = [task.verify(problem, answer.text) for problem, answer in zip(problems, answers, strict=True)]
        accuracy = wilson_interval(sum(verdict.correct for verdict in verdicts), len(verdicts))
        traces = wilson_interval(sum(verdict.has_trace for verdict in verdicts), len(verdicts))
        assert accuracy.ci is not None
        assert traces.ci is not None
        curve.append(
            {
                "layer": edits[0].layer,
                "strength": sum(edit.strength for edit in edits),
                "absolute": sum(edit.absolute for edit in edits),
                **notes,
                "accuracy": accuracy.value,
                "ci": list(accuracy.ci),
                "n": accuracy.n,
                "trace_rate": traces.value,
                "trace_ci": list(traces.ci),
                "generated_tokens": sum(answer.tokens for answer in answers),
            }
        )
    return curve


def choose_best_trial(curve: Sequence[Mapping[str, Any]], by: str = "accuracy") -> int:
    """Index of the highest accuracy (or trace rate); ties go to smaller strength, earlier layer, earlier trial."""
    return min(range(len(curve)), key=lambda i: (-curve[i][by], curve[i]["strength"], curve[i]["layer"], i))


def find_grid_edges(
    trials: Sequence[Mapping[str, Any]], chosen: int, bounds: Mapping[str, tuple[float | None, float | None]]
) -> list[str]:
    """Describe chosen values at the edge of the grid, where a wider grid might have done better.

    Considers trials with the mode and number of features of the chosen one: other strengths have other units.

    Args:
        bounds: field -> (lowest, highest possible value), None for no bound. A value at its bound is not an edge.
    """

    def trial_kind(trial: Mapping[str, Any]) -> tuple[Any, int]:
        return trial.get("mode"), len(trial.get("features") or ())

    comparable = [trial for trial in trials if trial_kind(trial) == trial_kind(trials[chosen])]
    messages = []
    for field, (lowest, highest) in bounds.items():
        values = sorted({float(trial[field]) for trial in comparable if trial.get(field) is not None})
        if len(values) < 2:
            continue
        value, spread = float(trials[chosen][field]), f"{values[0]:g} to {values[-1]:g}"
        if value == values[-1] and value != highest:
            messages.append(f"{field} {value:g} is the largest of those tried ({spread})")
        elif value == values[0] and value != lowest:
            messages.append(f"{field} {value:g} is the smallest of those tried ({spread})")
    return messages


def get_steering_bounds(base: BaseModel) -> dict[str, tuple[float | None, float | None]]:
    """Bounds of the tuned options. The last block is excluded: no block reads an edit after it."""
    return {"strength": (0.0, None), "layer": (0.0, float(max(0, base.n_layers - 2)))}


def compute_tuning_cost(curve: Sequence[Mapping[str, Any]], *, by: str = "accuracy") -> dict[str, Any]:
    """Cost of the choice, for `record["tuning"]`: every trial answers the same problems of the select split.

    A choice by trace rate uses no labels. `trials` is the number of settings compared.
    """
    n = int(curve[0]["n"])
    return {
        "generated_tokens": sum(int(entry["generated_tokens"]) for entry in curve),
        "labels": n if by == "accuracy" else None,
        "n": n,
        "trials": len(curve),
        "split": "select",
    }
