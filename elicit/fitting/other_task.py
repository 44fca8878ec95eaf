"""Options that name another task, `{task: NAME, ...}`, bound to the same model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from elicit.tasks import Task
from elicit.tasks.from_dict import build_task


class TaskBinder(Protocol):
    """The part of a model's interface that binds tasks; `elicit.model.BaseModel` has it."""

    card: dict[str, Any]

    def bind(self, task: Task) -> Task: ...


def bind_described_task(base: TaskBinder, description: Mapping[str, Any], who: str) -> Task:
    """Build a task bound to a loaded model: in the model's prompt format, or in English through its chat template.

    Args:
        description: `{"task": NAME, **parameters}`, as in a spec.
        who: name of the place or the option, for messages.

    Raises:
        ElicitError: the task is missing or unknown, has invalid parameters, or needs a chat template that is missing.
    """
    return base.bind(build_task(description, base.card.get("dialect"), where=who))


def check_task_description(description: Mapping[str, Any], who: str) -> None:
    """Raise ElicitError for a description without a valid task. Needs no model; for `__post_init__` of configs."""
    build_task(description, where=who)
