"""Two runs compared over the same problems: the figures of `elicit diff`. Imports no torch.

For each model, arm and task that both runs have, the accuracy of the second run minus that of the first, paired over
problems (`elicit.statistics.estimate_difference`: McNemar with Tango's interval for single cells, the two-level t
interval over seeds and problems otherwise). Pairs are answers (sample 0) of problems with the same id; seeds are those
that are done in both runs. Two runs of one seed share their random numbers, so that equal specs give equal rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from elicit import statistics
from elicit.comparison.run import Run
from elicit.comparison.run_cell import RunCell
from elicit.comparison.summary import score_tables
from elicit.errors import ElicitError
from elicit.method import Method
from elicit.schema import Row, finite_or_none
from elicit.statistics.scores import select_shared_problems


@dataclass(frozen=True)
class ArmDifference:
    """One model, arm and task of two runs."""

    model: str
    arm: str
    task: str
    seeds: tuple[int, ...]
    """Seeds that are done in both runs."""
    first: float
    """Accuracy in the first run, over the shared problems."""
    second: float
    difference: statistics.Difference
    """Second minus first."""
    identical_rows: int
    """Rows, samples included, that are the same in both runs in every field."""
    rows: tuple[int, int]
    """Rows of the shared seeds in either run."""

    def to_json(self) -> dict[str, Any]:
        """Plain data; NaN as null."""
        names = {"model": self.model, "arm": self.arm, "task": self.task, "shared_seeds": list(self.seeds)}
        accuracies = {"first": finite_or_none(self.first), "second": finite_or_none(self.second)}
        counts = {"identical_rows": self.identical_rows, "rows": list(self.rows)}
        return {**names, **accuracies, **self.difference.to_json(), "note": self.difference.note or None, **counts}


@dataclass(frozen=True)
class RunDifference:
    """All that two runs differ in."""

    spec: Mapping[str, tuple[Any, Any]]
    """Field of the spec, dotted -> (first's value, second's); None where a run does not have it."""
    only_first: tuple[str, ...]
    """MODEL/ARM of the arms that only the first run has, or has finished."""
    only_second: tuple[str, ...]
    arms: tuple[ArmDifference, ...]

    def to_json(self) -> dict[str, Any]:
        spec = {key: {"first": first, "second": second} for key, (first, second) in self.spec.items()}
        only = {"first": list(self.only_first), "second": list(self.only_second)}
        return {"spec": spec, "only_in": only, "arms": [arm.to_json() for arm in self.arms]}


def compare_runs(first: Run, second: Run) -> RunDifference:
    """The differences between two runs, second minus first.

    Raises:
        ElicitError: no model and arm that both have finished, another target task, or other test problems.
    """
    cells = [_group_finished_cells(run) for run in (first, second)]
    shared = [key for key in cells[0] if key in cells[1]]
    if not shared:
        raise ElicitError(
            f"{first.path} and {second.path} have no finished arm of one model in common, so nothing can be paired. "
            f"The first has {_list_arms(cells[0])}; the second has {_list_arms(cells[1])}."
        )
    arms = []
    for model, arm in shared:
        arms += list(_compare_arm(first, second, cells[0][model, arm], cells[1][model, arm]))
    only = [tuple(f"{model}/{arm}" for model, arm in cells[i] if (model, arm) not in cells[1 - i]) for i in range(2)]
    return RunDifference(_diff_specs(first, second), only[0], only[1], tuple(arms))


def _group_finished_cells(run: Run) -> dict[tuple[str, str], dict[int, RunCell]]:
    """(model, arm) -> seed -> cell."""
    groups: dict[tuple[str, str], dict[int, RunCell]] = {}
    for cell in run.cells(state="done"):
        groups.setdefault((cell.model, cell.arm), {})[cell.seed] = cell
    return groups


def _list_arms(groups: Mapping[tuple[str, str], Any]) -> str:
    names = [f"{model}/{arm}" for model, arm in groups]
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "none"


def _compare_arm(
    first: Run, second: Run, first_cells: Mapping[int, RunCell], second_cells: Mapping[int, RunCell]
) -> Iterator[ArmDifference]:
    """The target task, then the tasks off target that both have."""
    seeds = tuple(seed for seed in first_cells if seed in second_cells)
    if not seeds:
        return
    left_cell, right_cell = first_cells[seeds[0]], second_cells[seeds[0]]
    where = f"{left_cell.model}/{left_cell.arm}"
    if left_cell.target != right_cell.target:
        raise ElicitError(
            f"{where}: the target task of {first.path} is {left_cell.target!r}, that of {second.path} is "
            f"{right_cell.target!r}. Only runs of one task can be paired."
        )
    trained = [_is_trained(cell) for cell in (left_cell, right_cell)]
    for task in left_cell.tasks:
        if task not in right_cell.tasks:
            continue
        left = [first_cells[seed].rows(task) for seed in seeds]
        right = [second_cells[seed].rows(task) for seed in seeds]
        left_ids = set(score_tables.list_problem_ids(left))
        order = [problem for problem in score_tables.list_problem_ids(right) if problem in left_ids]
        if not order:
            raise ElicitError(
                f"{where}: {first.path} and {second.path} have no test problem of {task!r} in common: the task has "
                "other options, or its file has changed. Only answers to the same problems can be paired."
            )
        tables = [score_tables.tabulate_scores(rows, order) for rows in (left, right)]
        if tables[0] is None or tables[1] is None:
            continue
        difference = statistics.estimate_difference(
            tables[1], tables[0], arm_trained=trained[1], reference_trained=trained[0]
        )
        paired = select_shared_problems(first=tables[0], second=tables[1])
        yield ArmDifference(
            left_cell.model,
            left_cell.arm,
            task,
            seeds,
            float(paired[0].mean()),
            float(paired[1].mean()),
            difference,
            sum(map(_count_identical_rows, left, right)),
            (sum(map(len, left)), sum(map(len, right))),
        )


def _is_trained(cell: RunCell) -> bool:
    method: Method = cell.spec.build_methods()[cell.arm]
    return method.traits.trained


def _count_identical_rows(left: list[Row], right: list[Row]) -> int:
    by_key = {(row.problem, row.sample): row for row in left}
    return sum(by_key.get((row.problem, row.sample)) == row for row in right)


def _diff_specs(first: Run, second: Run) -> dict[str, tuple[Any, Any]]:
    plain = [dict(flatten_fields({**run.spec.to_dict(), "limit": run.limit})) for run in (first, second)]
    return {
        key: (plain[0].get(key), plain[1].get(key))
        for key in dict.fromkeys([*plain[0], *plain[1]])
        if plain[0].get(key) != plain[1].get(key)
    }


def flatten_fields(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything that is not a mapping."""
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from flatten_fields(part, f"{key}.{name}" if key else str(name))
    else:
        yield key, value
