"""Another task than the one a method is fitted on: the option `{task: NAME, ...}`, put to the same model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from elicit.tasks import Task
from elicit.tasks.from_dict import build_task


class TaskBinder(Protocol):
    """What is needed of a model to put a task to it; `elicit.model.BaseModel` has it."""

    card: dict[str, Any]

    def bind(self, task: Task) -> Task: ...


def bind_described_task(base: TaskBinder, description: Mapping[str, Any], who: str) -> Task:
    """A task as a loaded model is asked it: in its dialect, or in English and through its chat template.

    Args:
        description: `{"task": NAME, **parameters}`, as in a spec.
        who: the place or the option, for messages.

    Raises:
        ElicitError: no task, an unknown one, parameters it does not take, or a chat template that is not there.
    """
    return base.bind(build_task(description, base.card.get("dialect"), where=who))


def check_task_description(description: Mapping[str, Any], who: str) -> None:
    """Raises ElicitError for a description that names no task, without a model. For `__post_init__` of configs."""
    build_task(description, where=who)
