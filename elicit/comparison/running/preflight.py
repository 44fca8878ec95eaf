"""Checks before the first cell, before anything is written; `--plan` makes the same ones.

1. This spec may amend the run directory, and the files of its tasks have not changed.
2. No arm asks for more tokens than any machine can generate (`token_costs.check_cost`).
3. Every pending cell's method is fitted on an outline of its model (`elicit.outline`): a model without weights, on
   which `fit` runs up to its first forward pass. So the method's own code checks its data, layers, SAEs, adapters and
   lengths. A search is fitted with each of its settings.
4. Every prompt can be tokenized and leaves room for its answer.

Where a model's files are not on this machine, 3 and 4 are left out, and the plan says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from elicit.comparison.cell_state import is_done, load_test_problems
from elicit.comparison.planning.token_costs import check_cost
from elicit.comparison.running.cell_policy import weights_sha256
from elicit.comparison.running.prepare_models import list_second_models
from elicit.comparison.spec import Spec, build_model_task, build_task
from elicit.comparison.spec.cells import Cell
from elicit.comparison.spec.shared_training import find_shared_arms
from elicit.context import check_prompt_fits
from elicit.errors import ElicitError, one_line
from elicit.method import Method
from elicit.methods.grid_search import GridSearch
from elicit.plugins import describe_failure, find_class_file
from elicit.tasks import AskedTask
from elicit.tasks.datasets.record_task import RecordTask

#: Generated problems whose prompts are checked for characters without a token.
_WRITTEN = 32
#: Exceptions that a mistake in a method's code raises, also on a model without weights.
_MISTAKES = (TypeError, NameError, AttributeError, IndexError, KeyError)

if TYPE_CHECKING:
    from elicit.outline import Outline
    from elicit.policy import Policy
    from elicit.tasks import Problem, Split, Task


def check_cells(
    spec: Spec, run: Path, todo: Sequence[Cell], *, limit: int | None, again: Collection[str] = ()
) -> tuple[str, ...]:
    """Refuse a run whose cells would fail, as far as that can be known without running a model.

    Args:
        again: names of cells that will be rerun even if they are finished.

    Returns:
        Models, second models included, that could not be checked because their config and tokenizer are not here.

    Raises:
        ElicitError: names the model and the arm, with the message of their own code.
    """
    pending = [cell for cell in todo if cell.name in again or not is_done(cell, spec, run, limit)]
    check_cost(spec, pending, spec.test if limit is None else limit)
    find_shared_arms(spec)  # refuses what cannot be shared
    if spec.engine != "transformers":
        spec.engine.vllm.check()
    unseen = []
    for label in dict.fromkeys(cell.model for cell in pending):
        _check_test_problems(spec.for_model(label), limit)
    for label in dict.fromkeys(cell.model for cell in pending):
        model_spec = spec.for_model(label)
        outline = _load_outline(model_spec.models[label], model_spec.dtype)
        if outline is None:
            unseen.append(model_spec.models[label])
            continue
        model_cells = [cell for cell in pending if cell.model == label]
        _check_model(outline, model_spec, run, model_cells, limit, again)
        arms = {cell.arm for cell in model_cells}
        unseen += [
            name
            for arm, name in list_second_models(model_spec)
            if arm in arms and _load_outline(name, model_spec.dtype) is None
        ]
    return tuple(unseen)


def _load_outline(name: str, dtype: str) -> Outline | None:
    from elicit.outline import find_outline

    return find_outline(name, dtype=dtype)


def check_this_device(spec: Spec) -> None:
    """Check that this machine has the device of a spec, and one for each process of a training.

    Raises:
        ElicitError: it does not.
    """
    shared = find_shared_arms(spec)
    if spec.device in ("auto", "cpu") and not shared:
        return
    from elicit.loading import devices

    if devices.choose_device(spec.device) != "cpu" and shared:
        from elicit.training.world import check_visible_gpus

        check_visible_gpus(spec.processes)


def _check_test_problems(spec: Spec, limit: int | None) -> None:
    """Check that every task has test problems."""
    for label, description in {spec.task_label: spec.task, **spec.off_target}.items():
        if not load_test_problems(build_task(description, where=f"task {label!r}"), spec, limit):
            raise ElicitError(f"task {label!r} does not have any test problems.")


def _check_model(
    outline: Outline, spec: Spec, run: Path, cells: Sequence[Cell], limit: int | None, again: Collection[str]
) -> None:
    from elicit.evaluation import retarget_policy

    tasks = _load_tasks_and_problems(outline, spec, limit)
    target = tasks[spec.task_label].task
    splits: tuple[Split, ...] = ("train", "select")
    for split in splits:  # each method checks for itself that there are enough
        _check_prompt_characters(
            outline, spec.task_label, split, [problem.prompt for problem in _available_problems(target, split)]
        )
    seen: set[tuple[object, ...]] = set()
    methods = spec.build_methods()
    for cell in cells:
        fitted = cell.name not in again and (cell.folder_in(run) / "policy").exists()
        policies = _outline_policies(cell, methods[cell.arm], spec, outline, target, fitted=fitted)
        for policy, (label, (task, problems)) in itertools.product(policies, tasks.items()):
            task_policy = policy if task is target else retarget_policy(policy, target, task)
            key = label, task_policy.prompting, task_policy.decoding.max_new_tokens
            if key not in seen:
                seen.add(key)
                _check_answer_room(outline, cell, task_policy, label, problems)


class _TaskProblems(NamedTuple):
    """A task bound to one model, and its test problems."""

    task: Task
    problems: list[Problem]


def _load_tasks_and_problems(outline: Outline, spec: Spec, limit: int | None) -> dict[str, _TaskProblems]:
    """Load every task and its test problems, by label, the target first."""
    tasks = {}
    for label, description in {spec.task_label: spec.task, **spec.off_target}.items():
        where = "task" if label == spec.task_label else f"off_target {label!r}"
        task = build_model_task(outline, description, where=where)
        tasks[label] = _TaskProblems(task, load_test_problems(task, spec, limit))
    return tasks


def _available_problems(task: Task, split: Split) -> list[Problem]:
    """Problems of a split: all of a file, or a sample of generated ones, which are all alike."""
    inner = task.inner if isinstance(task, AskedTask) else task
    try:
        return task.problems(split, None if isinstance(inner, RecordTask) else _WRITTEN)
    except ElicitError:  # none
        return []


def _outline_policies(
    cell: Cell, method: Method, spec: Spec, outline: Outline, task: Task, *, fitted: bool
) -> list[Policy]:
    """The cell's policy, or those of all settings that it tries, complete enough for their prompts and lengths."""
    from elicit.method import task_decoding
    from elicit.policy import Policy

    if fitted:
        return [Policy(outline, task_decoding(task))]
    methods = (*method.candidates, method) if isinstance(method, GridSearch) else (method,)
    policies = [_fit_on_outline(cell, setting, spec, outline, task) for setting in methods]
    return [Policy(outline, task_decoding(task)) if policy is None else policy for policy in policies]


def _fit_on_outline(cell: Cell, method: Method, spec: Spec, outline: Outline, task: Task) -> Policy | None:
    """Fit the cell's method on the outline; None if it needs weights.

    Raises:
        ElicitError: what `fit` refuses; a mistake in a method from outside, with its line.
    """
    from elicit.outline import HashNeeded, WeightsNeeded
    from elicit.policy import Policy

    where = f"arm {cell.arm!r} on {cell.model}"
    try:
        policy = method.fit(outline, task, seed=cell.seed, needs=_UnfittedArms(), scratch=None)
    except HashNeeded as needed:
        if needed.outline is not outline:
            return None
        outline.set_weights_hash(weights_sha256(spec.models[cell.model], spec))
        return _fit_on_outline(cell, method, spec, outline, task)
    except WeightsNeeded:
        return None
    except ElicitError as error:
        raise ElicitError(f"{where}: {error}") from error
    except Exception as error:
        path = find_class_file(type(method))
        # A fault of the lab's own code, or one that only a model without weights has: the cell shows whether it is one.
        if path is None or not isinstance(error, _MISTAKES) or "meta" in str(error):
            return None
        raise ElicitError(f"{where}: {path}, {describe_failure(error, path)}") from error
    if not isinstance(policy, Policy):
        raise ElicitError(f"{where}: {type(method).__name__}.fit returned {type(policy).__name__}; expected a Policy.")
    return policy


class _UnfittedArms(Mapping[str, "Policy"]):
    """Placeholder for the policies of other arms, which do not exist yet."""

    def __getitem__(self, arm: str) -> Policy:
        from elicit.outline import WeightsNeeded

        raise WeightsNeeded(arm)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _check_answer_room(outline: Outline, cell: Cell, policy: Policy, label: str, problems: Sequence[Problem]) -> None:
    """Raise ElicitError for test prompts that cannot be tokenized or leave no room for an answer."""
    who = f"arm {cell.arm!r} on {cell.model}, task {label!r}"
    try:
        prompts = ["".join(policy.prompting.render(problem)) for problem in problems]
    except ElicitError as error:
        raise ElicitError(f"{who}: {error}") from error
    _check_prompt_characters(outline, label, "test", prompts)
    longest = max((len(outline.encode(prompt)) for prompt in prompts), default=0)
    check_prompt_fits(longest, policy.decoding.max_new_tokens, outline.context_length, model=outline.name, who=who)


def _check_prompt_characters(outline: Outline, label: str, split: str, prompts: Sequence[str]) -> None:
    from elicit.loading.vocabulary import find_missing_characters

    strange = find_missing_characters(outline.tokenizer, prompts)
    first = next((i for i, characters in enumerate(strange) if characters), None)
    if first is None:
        return
    characters = "".join(dict.fromkeys("".join(strange)))
    characters_text, count = one_line(repr(characters), 80), sum(map(bool, strange))
    raise ElicitError(
        f"task {label!r}: {outline.name} lacks a token for {characters_text} in {count} of {len(prompts)} {split} "
        f"prompts, such as {one_line(repr(prompts[first]), 100)}. Name a task whose characters it knows, or another "
        "model."
    )
