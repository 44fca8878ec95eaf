"""The work of a cell along its training: its policy's checkpoints, answered and probed. Killed anywhere, it resumes.

For every checkpoint: rows of the first test problems of every task (only those that are missing), then `metrics.json`,
whole. For step 0 and the last step `metrics.json` alone: their rows are the base arm's and the cell's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit import runs
from elicit.comparison.spec import Spec, checkpoints, task_for
from elicit.comparison.spec.cells import Cell
from elicit.comparison.storage import typed_files
from elicit.comparison.storage.file_types import StepMetrics
from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Scored
    from elicit.tasks import Problem, Task


def follow(
    policy: Policy, tasks: Mapping[str, Task], spec: Spec, cell: Cell, folder: Path, tested: int, at_end: dict[str, Any]
) -> None:
    """Evaluate what is missing of every checkpoint.

    Args:
        tasks: label -> task as the model is asked it; the target task first.
        tested: test problems of every task.
        at_end: the finished policy's KL and perplexity, which are measured already.
    """
    if not checkpoints.asked(spec.arms[cell.arm]):
        return  # a control may be made from a policy with checkpoints: they are not its own
    end = int((policy.record.get("train") or {}).get("steps") or 0)
    if not end:
        return  # nothing was trained, so there is nothing on the way
    from elicit.evaluation import probe
    from elicit.evaluation.probe import forced_on

    beside = min(spec.kl_problems, tested)
    goal = {"probe": spec.along.probe, "kl_problems": beside, "tasks": list(tasks)}
    probed = {label: _probed(policy.model, task, spec.along.probe) for label, task in tasks.items()}
    taught = _taught(policy.model, tasks[spec.task_label], spec, cell)
    for step in (0, *sorted(step for step in policy.checkpoints if 0 < step < end), end):
        place = checkpoints.folder_of(folder, step)
        runs.sweep(place)
        then = policy if step == end else policy.at(step)
        if 0 < step < end:
            _rows(then, tasks, spec, cell, place, spec.along.among(tested))
        path = place / checkpoints.METRICS
        if path.exists() and typed_files.read_file(path, StepMetrics).get("goal") == goal:
            continue
        aside = at_end if step == end else _aside(then, tasks, beside)
        found = {label: probe(then, *probed[label]) for label in tasks}
        own = {"taught": forced_on(then, taught) if taught else None, "tasks": found}
        runs.write_json(path, {"step": step, "last": step == end, "goal": goal, **aside, **own})


def _rows(policy: Policy, tasks: Mapping[str, Task], spec: Spec, cell: Cell, place: Path, among: int) -> None:
    from elicit.evaluation import asked, evaluate

    for label, task in tasks.items():
        path = place / "rows" / f"{label}.jsonl"
        runs.mend(path)
        done = frozenset((row.problem, row.sample) for row in runs.read_rows(path))

        def sink(rows: list[Any], path: Path = path) -> None:
            runs.append_lines(path, [row.to_json() for row in rows])

        kind: Any = "answer" if label == spec.task_label else "off_target"
        problems = task.problems("test", among)
        then = asked(policy, tasks[spec.task_label], task)
        evaluate(then, task, problems, label=label, seed=cell.seed, sink=sink, done=done, kind=kind)


def _aside(policy: Policy, tasks: Mapping[str, Task], count: int) -> dict[str, Any]:
    from elicit.evaluation import side_effects

    target = next(iter(tasks.values()))
    return side_effects(policy, target.problems("test", count) if count else [])


def _probed(model: BaseModel, task: Task, count: int) -> tuple[list[Problem], list[Scored] | None]:
    """The first select problems, as many as there are up to `count`, and their worked solutions in tokens.

    Where any problem has a solution that the model can read, those that have none are left out.
    """
    problems = _selected(task, count)
    tokens = [_tokens(model, problem.prompt, task.worked(problem)) for problem in problems]
    found = [(problem, one) for problem, one in zip(problems, tokens, strict=True) if one is not None]
    return ([problem for problem, _ in found], [one for _, one in found]) if found else (problems, None)


def _taught(model: BaseModel, task: Task, spec: Spec, cell: Cell) -> list[Scored]:
    """Held-out solutions such as the arm is trained on, where these are not the target task's worked ones.

    In domain, for such an arm, is what it is taught: another task's solutions, bare answers, corrupted traces.
    """
    from elicit.fitting.demonstrations import solved
    from elicit.methods.finetuning.sft import SFT

    method = spec.methods()[cell.arm]
    if not isinstance(method, SFT) or (method.source is None and method.supervision == "worked"):
        return []
    source = task if method.source is None else task_for(model, method.source, where=f"arm {cell.arm!r}: source")
    options: Any = {"pick": 0, "seed": cell.seed, "who": cell.arm}
    try:
        pairs = solved(source, method.supervision, "select", spec.along.probe, **options)
    except ElicitError:  # fewer than that, or none: the target task's loss is there
        return []
    tokens = [_tokens(model, problem.prompt, text) for problem, text in pairs]
    return [one for one in tokens if one is not None]


def _tokens(model: BaseModel, prompt: str, text: str | None) -> Scored | None:
    """A solution as it is trained on; None where there is none, or none that the model can read."""
    if text is None:
        return None
    pair = model.encode_pair(prompt, text)
    ids = pair._replace(completion=(*pair.completion, *_end(model, prompt)))
    unknown = model.tokenizer.unk_token_id
    return None if unknown is not None and unknown in (*ids.prompt, *ids.completion) else ids


def _selected(task: Task, count: int) -> list[Problem]:
    for n in (count, None):
        try:
            return task.problems("select", n)[:count] if count else []
        except ElicitError:  # fewer than that
            continue
    return []


def _end(model: BaseModel, prompt: str) -> tuple[int, ...]:
    """What ends an answer, as it is trained on; nothing for a model that names no end."""
    from elicit.training.ends import end_of

    try:
        return (end_of(model, prompt, who="trajectory"),)
    except ElicitError:
        return ()
