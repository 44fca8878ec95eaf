"""A run directory as the page needs it: its summary as written, its cells, and the problems rebuilt from the spec."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from elicit.comparison.reader import ArmData
from elicit.comparison.run import Run, open_run
from elicit.comparison.running.steering_preview import VIEW_FILE
from elicit.comparison.spec import Spec
from elicit.comparison.storage.file_types import PanelView
from elicit.comparison.storage.typed_files import read_file
from elicit.errors import ElicitError
from elicit.schema import Row
from elicit.tasks import Problem


class LoadedRun(NamedTuple):
    """Everything the report shows."""

    name: str
    folder: str
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


def load_report_run(run: Path) -> LoadedRun:
    """Read a run directory.

    Raises:
        ElicitError: no run directory, or no summary in it.
    """
    source = open_run(run)
    spec = source.spec
    views = {cell.name: cell.folder / VIEW_FILE for cell in source.cells()}
    arms = {model: source.arms(model) for model in spec.models}
    return LoadedRun(
        name=_choose_run_name(run, source.manifest),
        folder=str(run),
        spec=spec,
        spec_text=(run / "spec.yaml").read_text(encoding="utf-8"),
        limit=source.limit,
        summary=source.current_summary,
        manifest=source.manifest,
        arms=arms,
        problems={model: _read_shown_problems(source, model, arms[model]) for model in spec.models},
        views={name: read_file(path, PanelView) for name, path in views.items() if path.exists()},
    )


def _choose_run_name(run: Path, manifest: Mapping[str, Any]) -> str:
    """The folder's name; for an archive, which is unpacked to a temporary one, the name its run had."""
    command = manifest.get("command")
    output_folder = (
        command[command.index("--out") + 1 :][:1] if isinstance(command, list) and "--out" in command else []
    )
    unpacked = run.resolve().parent == Path(tempfile.gettempdir()).resolve()
    return Path(str(output_folder[0])).name if unpacked and output_folder else run.resolve().name


def _read_shown_problems(source: Run, model: str, arms: Mapping[str, ArmData]) -> dict[str, Problem] | str:
    """Problems with the prompts that the arms were really given: a chat's markup is not in the spec."""
    model_spec = source.spec.for_model(model)
    try:
        problems = dict(source.problems(model))
    except ElicitError as error:
        return str(error)
    prompt_by_hash = {
        key: prompt + opening
        for cell in source.cells(models=[model])
        for key, (prompt, opening) in cell.prompts.items()
    }
    base_arms = [arm for arm, method in model_spec.build_methods().items() if method.traits.untouched]
    for arm in sorted(arms, key=lambda arm: arm not in base_arms):
        for key, row in get_first_seed_answers(arms[arm], model_spec.task_label).items():
            if key in problems and row.prompt_hash in prompt_by_hash:
                problems[key] = _attach_prompt(
                    problems[key], arm, prompt_by_hash[row.prompt_hash], is_base=arm in base_arms
                )
    return problems


def _attach_prompt(problem: Problem, arm: str, text: str, *, is_base: bool) -> Problem:
    if is_base:
        return dataclasses.replace(problem, prompt=text, other_prompts=())
    return dataclasses.replace(problem, other_prompts=(*problem.other_prompts, (arm, text)))


def get_first_seed_answers(data: ArmData, label: str) -> dict[str, Row]:
    """The arm's own answers (sample 0) of its first finished seed, by problem, in the run's order."""
    seed_rows = data.rows.get(label) or []
    return {row.problem: row for row in seed_rows[0] if row.sample == 0} if seed_rows else {}
