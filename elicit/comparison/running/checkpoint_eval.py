"""Evaluate a cell's training checkpoints. Resumable after a kill at any moment.

For every checkpoint: rows of the first test problems of every task (only the missing ones), then `metrics.json`, whole.
For step 0 and the last step only `metrics.json`: their rows are the base arm's and the cell's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit import runs
from elicit.comparison.spec import Spec, build_model_task, checkpoints
from elicit.comparison.spec.cells import Cell
from elicit.comparison.storage import typed_files
from elicit.comparison.storage.file_types import StepMetrics
from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Scored
    from elicit.tasks import Problem, Task


def evaluate_checkpoints(
    policy: Policy, tasks: Mapping[str, Task], spec: Spec, cell: Cell, folder: Path, tested: int, at_end: dict[str, Any]
) -> None:
    """Evaluate the missing parts of every checkpoint.

    Args:
        tasks: label -> task bound to this model; the target task first.
        tested: number of test problems per task.
        at_end: the finished policy's KL and perplexity, which are measured already.
    """
    if not checkpoints.checkpoint_steps(spec.arms[cell.arm]):
        return  # a control may be derived from a policy with checkpoints: they are not its own
    end = int((policy.record.get("train") or {}).get("steps") or 0)
    if not end:
        return  # nothing was trained
    from elicit.evaluation import probe_policy
    from elicit.evaluation.probe import measure_solutions

    kl_problems = min(spec.kl_problems, tested)
    goal = {"probe": spec.trajectory_or_default.probe, "kl_problems": kl_problems, "tasks": list(tasks)}
    probe_inputs = {
        label: _encode_probe(policy.model, task, spec.trajectory_or_default.probe) for label, task in tasks.items()
    }
    taught_solutions = _encode_taught_solutions(policy.model, tasks[spec.task_label], spec, cell)
    for step in (0, *sorted(step for step in policy.checkpoints if 0 < step < end), end):
        step_folder = checkpoints.checkpoint_folder(folder, step)
        runs.remove_scratch(step_folder)
        step_policy = policy if step == end else policy.at(step)
        if 0 < step < end:
            _answer_at_checkpoint(
                step_policy, tasks, spec, cell, step_folder, spec.trajectory_or_default.limit_problems(tested)
            )
        path = step_folder / checkpoints.METRICS_FILE
        if path.exists() and typed_files.read_file(path, StepMetrics).get("goal") == goal:
            continue
        side_metrics = at_end if step == end else _measure_step_effects(step_policy, tasks, kl_problems)
        task_probes = {label: probe_policy(step_policy, *probe_inputs[label]) for label in tasks}
        probe_results = {
            "taught": measure_solutions(step_policy, taught_solutions) if taught_solutions else None,
            "tasks": task_probes,
        }
        runs.write_json(path, {"step": step, "last": step == end, "goal": goal, **side_metrics, **probe_results})


def _answer_at_checkpoint(
    policy: Policy, tasks: Mapping[str, Task], spec: Spec, cell: Cell, step_folder: Path, problem_count: int
) -> None:
    from elicit.evaluation import evaluate_policy, retarget_policy

    for label, task in tasks.items():
        path = step_folder / "rows" / f"{label}.jsonl"
        runs.trim_torn_line(path)
        done = frozenset((row.problem, row.sample) for row in runs.read_rows(path))

        def append_rows(rows: list[Any], path: Path = path) -> None:
            runs.append_lines(path, [row.to_json() for row in rows])

        kind: Any = "answer" if label == spec.task_label else "off_target"
        problems = task.problems("test", problem_count)
        task_policy = retarget_policy(policy, tasks[spec.task_label], task)
        evaluate_policy(
            task_policy, task, problems, label=label, seed=cell.seed, sink=append_rows, done=done, kind=kind
        )


def _measure_step_effects(policy: Policy, tasks: Mapping[str, Task], count: int) -> dict[str, Any]:
    from elicit.evaluation import measure_side_effects

    target = next(iter(tasks.values()))
    return measure_side_effects(policy, target.problems("test", count) if count else [])


def _encode_probe(model: BaseModel, task: Task, count: int) -> tuple[list[Problem], list[Scored] | None]:
    """Up to `count` select problems and their worked solutions in tokens.

    If any problem has a solution that the tokenizer can encode, problems without one are left out.
    """
    problems = _select_probe_problems(task, count)
    tokens = [_encode_solution(model, problem.prompt, task.worked(problem)) for problem in problems]
    pairs = [(problem, solution) for problem, solution in zip(problems, tokens, strict=True) if solution is not None]
    return ([problem for problem, _ in pairs], [solution for _, solution in pairs]) if pairs else (problems, None)


def _encode_taught_solutions(model: BaseModel, task: Task, spec: Spec, cell: Cell) -> list[Scored]:
    """Held-out solutions of the kind the arm is trained on, where these differ from the target task's worked ones.

    In-domain data of such an arm are its own training data: another task's solutions, bare answers, corrupted traces.
    """
    pairs = spec.build_methods()[cell.arm].sample_held_out_solutions(
        task,
        spec.trajectory_or_default.probe,
        seed=cell.seed,
        build_task=lambda source: build_model_task(model, source, where=f"arm {cell.arm!r}: source"),
    )
    tokens = [_encode_solution(model, problem.prompt, text) for problem, text in pairs]
    return [solution for solution in tokens if solution is not None]


def _encode_solution(model: BaseModel, prompt: str, text: str | None) -> Scored | None:
    """A solution as training data; None where there is none or the tokenizer cannot encode it."""
    if text is None:
        return None
    pair = model.encode_pair(prompt, text)
    ids = pair._replace(completion=(*pair.completion, *_end_token_ids(model, prompt)))
    unknown = model.tokenizer.unk_token_id
    return None if unknown is not None and unknown in (*ids.prompt, *ids.completion) else ids


def _select_probe_problems(task: Task, count: int) -> list[Problem]:
    for n in (count, None):
        try:
            return task.problems("select", n)[:count] if count else []
        except ElicitError:  # too few
            continue
    return []


def _end_token_ids(model: BaseModel, prompt: str) -> tuple[int, ...]:
    """Token ids that end an answer in training data; empty for a model without an end token."""
    from elicit.training.ends import end_of

    try:
        return (end_of(model, prompt, who="trajectory"),)
    except ElicitError:
        return ()
