"""Check a run's prompts against its spec, policies and date: part of `elicit verify`.

1. Every finished cell's prompts were given the date in the manifest.
2. Where the policies are available (in a run directory, not in an archive), and for a task in English the model's
   folder too, every answer's prompt is rendered again and compared by its hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from elicit import documents, runs
from elicit.comparison.cell_state import load_test_problems, read_cell_status
from elicit.comparison.planning.lengths import find_model_folder
from elicit.comparison.problems import Unjudged, load_judging_task
from elicit.comparison.reader import dialect_of
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.comparison.storage.manifest import read_run_date
from elicit.comparison.storage.prompts import hash_prompt
from elicit.errors import ElicitError
from elicit.loading import catalog
from elicit.loading.templates import ChatTemplate, read_chat_template
from elicit.prompting import Prompting
from elicit.tasks import Problem
from elicit.tasks.prompts import AskedTask


def find_prompt_differences(spec: Spec, run: Path, limit: int | None) -> list[str]:
    """List one line for each cell given another date, and for each cell and task with other prompts."""
    day = read_run_date(run).isoformat()
    problems: dict[str, dict[str, list[Problem]]] = {}
    messages = []
    for cell in list_cells(spec):
        status = read_cell_status(cell, run)
        if status["state"] != "done":
            continue
        recorded_day = (status.get("model") or {}).get("date")
        if recorded_day is not None and recorded_day != day:
            messages.append(f"{cell.folder_in(run)}: its prompts give the date {recorded_day}, the run's is {day}")
        if (cell.folder_in(run) / "policy" / "policy.json").exists():
            if cell.model not in problems:
                problems[cell.model] = _load_asked_problems(spec, run, cell.model, limit)
            messages += _compare_cell_prompts(cell, run, problems[cell.model])
    return messages


def _load_asked_problems(spec: Spec, run: Path, model: str, limit: int | None) -> dict[str, list[Problem]]:
    """Task label -> problems as this model is prompted with them; tasks that cannot be rendered here are left out."""
    model_spec, dialect = spec.for_model(model), dialect_of(spec, run, model)
    problems_by_label = {}
    for label in (model_spec.task_label, *model_spec.off_target):
        task = load_judging_task(spec, run, model, label, dialect, where=label)
        if isinstance(task, Unjudged):  # its prompts come from code that is not here
            continue
        if isinstance(task, AskedTask):
            try:
                template = _read_model_template(spec, run, model)
            except ElicitError:  # the model is not on this machine
                continue
            if template is not None and task.asking.chat is not False:
                template = template.with_values(task.asking.chat_template_kwargs)
            task = task.bind(template, model)
        problems_by_label[label] = load_test_problems(task, model_spec, limit)
    return problems_by_label


def _read_model_template(spec: Spec, run: Path, model: str) -> ChatTemplate | None:
    """The model's chat template. Raises ElicitError where the model is not on this machine."""
    source = catalog.resolve_model(spec.models[model])
    folder = find_model_folder(source)
    if folder is None:
        raise ElicitError(f"{source.name} is not on this machine.")
    return read_chat_template(folder, source.name, read_run_date(run))


def _compare_cell_prompts(cell: Cell, run: Path, problems: Mapping[str, list[Problem]]) -> Iterator[str]:
    folder = cell.folder_in(run)
    document = folder / "policy" / "policy.json"
    prompting = documents.as_record(
        documents.require_field(documents.read_object(document), "prompting", document), Prompting, document
    )
    for label, task_problems in problems.items():
        path = folder / "rows" / f"{label}.jsonl"
        expected_hashes = {problem.id: _hash_rendered_prompt(prompting, problem) for problem in task_problems}
        other = [
            row for row in runs.read_rows(path) if expected_hashes.get(row.problem, row.prompt_hash) != row.prompt_hash
        ]
        if other:
            yield (
                f"{path}: {len(other)} rows answer other prompts than the task, the policy and the date "
                f"{read_run_date(run)} give, first problem {other[0].problem}"
            )


def _hash_rendered_prompt(prompting: Prompting, problem: Problem) -> str:
    """The prompt's hash; empty where it cannot be rendered (examples for prompts of another date)."""
    try:
        return hash_prompt("".join(prompting.render(problem)))
    except ElicitError:
        return ""
