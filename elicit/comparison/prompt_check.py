"""Whether a run's prompts are those that its spec, its policies and its day give: part of `elicit verify`.

1. Every finished cell was told the day that the manifest says.
2. Where the policies are here (in a run directory, not in an archive), and for a task in English the model's folder,
   every answer's prompt is rendered again and compared by its hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from elicit import documents, runs
from elicit.comparison.planning.lengths import files
from elicit.comparison.problems import run_task
from elicit.comparison.reader import dialect_of
from elicit.comparison.running.cell_runner import problems_of, state_of
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell, cells
from elicit.comparison.storage.manifest import date_of
from elicit.comparison.storage.prompts import hash_of
from elicit.errors import ElicitError
from elicit.loading import catalog
from elicit.loading.templates import ChatTemplate, read_template
from elicit.prompting import Prompting
from elicit.tasks import Problem
from elicit.tasks.prompts import AskedTask


def differing_prompts(spec: Spec, run: Path, limit: int | None) -> list[str]:
    """One line for each cell that was told another day, and for each cell and task with other prompts."""
    day = date_of(run).isoformat()
    problems: dict[str, dict[str, list[Problem]]] = {}
    said = []
    for cell in cells(spec):
        status = state_of(cell, run)
        if status["state"] != "done":
            continue
        told = (status.get("model") or {}).get("date")
        if told is not None and told != day:
            said.append(f"{cell.folder(run)}: its prompts were told the day {told}, the run's is {day}")
        if (cell.folder(run) / "policy" / "policy.json").exists():
            if cell.model not in problems:
                problems[cell.model] = _problems(spec, run, cell.model, limit)
            said += _of_cell(cell, run, problems[cell.model])
    return said


def _problems(spec: Spec, run: Path, model: str, limit: int | None) -> dict[str, list[Problem]]:
    """Task label -> problems as the model is asked them; a task that cannot be rendered here is left out."""
    mine, dialect = spec.of(model), dialect_of(spec, run, model)
    asked = {}
    for label in (mine.task_label, *mine.off_target):
        task = run_task(spec, run, model, label, dialect, where=label)
        if isinstance(task, AskedTask):
            try:
                template = _template(spec, run, model)
            except ElicitError:  # the model is not on this machine
                continue
            if template is not None and task.asking.chat is not False:
                template = template.with_values(task.asking.chat_template_kwargs)
            task = task.bind(template, model)
        asked[label] = problems_of(task, mine, limit)
    return asked


def _template(spec: Spec, run: Path, model: str) -> ChatTemplate | None:
    """The model's chat template. Raises ElicitError where the model is not on this machine."""
    source = catalog.resolve(spec.models[model])
    folder = files(source)
    if folder is None:
        raise ElicitError(f"{source.name} is not on this machine.")
    return read_template(folder, source.name, date_of(run))


def _of_cell(cell: Cell, run: Path, problems: Mapping[str, list[Problem]]) -> Iterator[str]:
    folder = cell.folder(run)
    document = folder / "policy" / "policy.json"
    prompting = documents.as_record(
        documents.known_field(documents.read_object(document), "prompting", document), Prompting, document
    )
    for label, asked in problems.items():
        path = folder / "rows" / f"{label}.jsonl"
        wanted = {problem.id: _hash(prompting, problem) for problem in asked}
        other = [row for row in runs.read_rows(path) if wanted.get(row.problem, row.prompt_hash) != row.prompt_hash]
        if other:
            yield (
                f"{path}: {len(other)} rows answer other prompts than the task, the policy and the day "
                f"{date_of(run)} give, first problem {other[0].problem}"
            )


def _hash(prompting: Prompting, problem: Problem) -> str:
    """The prompt's hash; empty where it cannot be made (examples for prompts of another day)."""
    try:
        return hash_of("".join(prompting.render(problem)))
    except ElicitError:
        return ""
