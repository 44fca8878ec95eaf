"""A run directory as the page needs it: its summary as written, its cells, and the problems rebuilt from the spec."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from elicit.comparison.problems import run_task
from elicit.comparison.reader import ArmData, dialect_of, read_arms, read_spec_of
from elicit.comparison.running.cell_runner import problems_of
from elicit.comparison.running.steering_preview import FILE
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import cells
from elicit.comparison.storage import prompts
from elicit.comparison.storage.file_types import PanelView
from elicit.comparison.storage.typed_files import read_file, read_manifest, read_summary
from elicit.errors import ElicitError
from elicit.schema import Row
from elicit.tasks import Problem


class Run(NamedTuple):
    """Everything the report shows."""

    name: str
    place: str
    """The folder, as it was named."""
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
    manifest = read_manifest(run)
    views = {cell.name: cell.folder(run) / FILE for cell in cells(spec)}
    arms = {model: read_arms(spec, run, model) for model in spec.models}
    return Run(
        name=_name(run, manifest),
        place=str(run),
        spec=spec,
        spec_text=(run / "spec.yaml").read_text(encoding="utf-8"),
        limit=limit,
        summary=read_summary(run),
        manifest=manifest,
        arms=arms,
        problems={model: _problems(spec, limit, run, model, arms[model]) for model in spec.models},
        views={name: read_file(path, PanelView) for name, path in views.items() if path.exists()},
    )


def _name(run: Path, manifest: Mapping[str, Any]) -> str:
    """The folder's name; for an archive, which is unpacked to a temporary one, the name its run had."""
    words = manifest.get("command")
    out = words[words.index("--out") + 1 :][:1] if isinstance(words, list) and "--out" in words else []
    unpacked = run.resolve().parent == Path(tempfile.gettempdir()).resolve()
    return Path(str(out[0])).name if unpacked and out else run.resolve().name


def _problems(
    spec: Spec, limit: int | None, run: Path, model: str, arms: Mapping[str, ArmData]
) -> dict[str, Problem] | str:
    """Problems with the prompts that the arms were really given: a chat's markup is not in the spec."""
    mine = spec.of(model)
    found = rebuilt(spec, limit, run, model)
    if isinstance(found, str):
        return found
    texts: dict[str, str] = {}
    for cell in cells(spec):
        if cell.model == model:
            texts |= {key: prompt + opening for key, (prompt, opening) in prompts.read(cell.folder(run)).items()}
    plain = [arm for arm in arms if mine.arms.get(arm, {}).get("method") == "base"]
    for arm in sorted(arms, key=lambda arm: arm not in plain):
        for key, row in answers(arms[arm], mine.task_label).items():
            if key in found and row.prompt_hash in texts:
                found[key] = _asked(found[key], arm, texts[row.prompt_hash], plain=arm in plain)
    return found


def _asked(problem: Problem, arm: str, text: str, *, plain: bool) -> Problem:
    if plain:
        return dataclasses.replace(problem, prompt=text, other_prompts=())
    return dataclasses.replace(problem, other_prompts=(*problem.other_prompts, (arm, text)))


def rebuilt(spec: Spec, limit: int | None, run: Path, model: str, label: str | None = None) -> dict[str, Problem] | str:
    """The test problems a model was given, as its dialect writes them; a reason where the model or its file is gone.

    Args:
        label: the task; None for the target task.
    """
    mine = spec.of(model)
    try:
        task = run_task(spec, run, model, label or mine.task_label, dialect_of(spec, run, model))
        return {problem.id: problem for problem in problems_of(task, mine, limit)}
    except ElicitError as error:
        return str(error)


def answers(data: ArmData, label: str) -> dict[str, Row]:
    """The arm's own answers (sample 0) of its first finished seed, by problem, in the run's order."""
    seeds = data.rows.get(label) or []
    return {row.problem: row for row in seeds[0] if row.sample == 0} if seeds else {}
