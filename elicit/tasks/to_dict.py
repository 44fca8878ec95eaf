"""A task as plain data, as a spec says it: the other way round than `from_dict`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from elicit.errors import ElicitError, one_line
from elicit.tasks import from_dict
from elicit.tasks.base import describe_object
from elicit.tasks.catalog import is_generated
from elicit.tasks.core import Task
from elicit.tasks.datasets.record_task import RecordTask
from elicit.tasks.generated.refusal import RefusalTask
from elicit.tasks.generated.task import GeneratedTask
from elicit.tasks.gym.task import GymTask
from elicit.tasks.prompts import AskedTask


def task_to_dict(task: Task | str | Mapping[str, Any]) -> dict[str, Any]:
    """The description that makes a task again; a name or a description as it is.

    Raises:
        ElicitError: a task of a file without its path, or one from outside that does not say how to make it again.
    """
    if isinstance(task, str):
        return {"task": task}
    if isinstance(task, type):
        raise ElicitError(f"compare: the task is the class {task.__name__}. Make an object of it: {task.__name__}()")
    if isinstance(task, Mapping):
        return dict(task)
    if isinstance(task, AskedTask):
        return {**task_to_dict(task.inner), "prompts": dataclasses.asdict(task.asking)}
    if isinstance(task, RefusalTask):
        inner = task_to_dict(task.inner)
        return {**inner, "task": task.name, "of": inner["task"], "marked": task.marked}
    if isinstance(task, GeneratedTask):
        family: Any = task.family
        own = {"task": task.name, **dataclasses.asdict(family)} if is_generated(task.name) else describe_object(family)
        return {**own, "max_new_tokens": task.max_new_tokens}
    if isinstance(task, RecordTask | GymTask):
        if not task.description:
            raise ElicitError(
                "compare: give a task of a file as {'task': 'jsonl', 'path': ...}, so that a run can be resumed."
            )
        return dict(task.description)
    return _describe_outside_task(task)


def _describe_outside_task(task: Any) -> dict[str, Any]:
    """The mapping of its `spec()`, once that has been seen to make the same task."""
    name = type(task).__qualname__
    if "spec" not in dir(task):
        raise ElicitError(
            f"compare: {name} does not say how to make it again, so no run of it could be resumed. Add to the class: "
            f"def spec(self): return {{'task': 'my_file.py:{name}'}} with its options"
        )
    description = dict(task.spec())
    again = from_dict.build_task(description, where=f"{name}.spec()")
    if again.name != task.name or again.problems("test", 1) != task.problems("test", 1):
        raise ElicitError(f"compare: {name}.spec() makes another task than this one: {one_line(description, 200)}")
    return description
