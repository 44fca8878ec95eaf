"""A run directory as the page needs it: its summary as written, its cells, and the problems rebuilt from the spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from elicit import runs, statistics
from elicit.comparison.cells import cells
from elicit.comparison.spec import Spec, build_task
from elicit.comparison.summarise import ArmData, read_arms, read_spec_of
from elicit.comparison.views import FILE
from elicit.comparison.work import problems_of
from elicit.errors import ElicitError
from elicit.loading import catalog
from elicit.report.figures import Figure
from elicit.schema import Row
from elicit.tasks import Problem


class Run(NamedTuple):
    """Everything the report shows."""

    name: str
    spec: Spec
    spec_text: str
    limit: int | None
    summary: Mapping[str, Any]
    manifest: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, ArmData]]
    """Model -> arm -> what is on disk."""
    problems: Mapping[str, Mapping[str, Problem] | str]
    """Model -> problems of the target task by id, or why they cannot be shown."""
    views: Mapping[str, Mapping[str, Any]]
    """Cell -> what its edit does to a few answers, for the cells that kept it."""


def read_run(run: Path) -> Run:
    """Read a run directory.

    Raises:
        ElicitError: no run directory, or no summary in it.
    """
    spec, limit = read_spec_of(run)
    manifest = run / "manifest.json"
    views = {cell.name: cell.folder(run) / FILE for cell in cells(spec)}
    return Run(
        name=run.resolve().name,
        spec=spec,
        spec_text=(run / "spec.yaml").read_text(encoding="utf-8"),
        limit=limit,
        summary=runs.read_json(run / "summary.json"),
        manifest=runs.read_json(manifest) if manifest.exists() else {},
        arms={model: read_arms(spec, run, model) for model in spec.models},
        problems={model: _problems(spec, limit, name) for model, name in spec.models.items()},
        views={name: runs.read_json(path) for name, path in views.items() if path.exists()},
    )


def _problems(spec: Spec, limit: int | None, name: str) -> dict[str, Problem] | str:
    """The test problems a model was given, as its dialect writes them; a reason where the model or its file is gone."""
    try:
        source = catalog.resolve(name)
        card = catalog.read_card(source.path) if source.kind == "organism" and source.path else None
        task = build_task(spec.task, card["dialect"] if card else None, where="task")
        return {problem.id: problem for problem in problems_of(task, spec, limit)}
    except (ElicitError, OSError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


def answers(data: ArmData, label: str) -> dict[str, Row]:
    """The arm's own answers (sample 0) of its first finished seed, by problem, in the run's order."""
    seeds = data.rows.get(label) or []
    return {row.problem: row for row in seeds[0] if row.sample == 0} if seeds else {}


class Majority(NamedTuple):
    k: int
    figure: Figure


def majority(seeds: Sequence[Sequence[Row]]) -> Majority | None:
    """Accuracy of the majority vote over all samples of a seed, averaged over seeds, clustered by problem.

    Computed here from the rows at temperature 1; None without samples.
    """
    scores: list[dict[str, float]] = []
    k = 0
    for rows in seeds:
        drawn: dict[str, list[Row]] = {}
        for row in rows:
            if row.sample > 0:
                drawn.setdefault(row.problem, []).append(row)
        if drawn:
            k = max(k, max(map(len, drawn.values())))
            scores.append({problem: _vote(samples) for problem, samples in drawn.items()})
    if not scores:
        return None
    order = list(dict.fromkeys(problem for seed in scores for problem in seed))
    table = np.array([[seed.get(problem, np.nan) for problem in order] for seed in scores])
    found = statistics.level(table)
    low, high = found.ci or (None, None)
    return Majority(k, Figure(found.value, low, high, found.n, found.ci is not None))


def _vote(samples: Sequence[Row]) -> float:
    winner = statistics.majority([row.answer for row in samples])
    return float(winner is not None and next(row.correct for row in samples if row.answer == winner))
