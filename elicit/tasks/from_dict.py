"""Tasks from plain data such as `{task: addition, digits: 2}`, as specs and method options write them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from elicit.errors import ElicitError
from elicit.tasks import catalog
from elicit.tasks.core import Task
from elicit.tasks.generated.dialect import Dialect
from elicit.tasks.generated.english import English
from elicit.tasks.generated.refusal import RefusalTask
from elicit.tasks.generated.task import GeneratedTask


def build_task(description: Mapping[str, Any], dialect: Mapping[str, Any] | None = None, *, where: str) -> Task:
    """Task described by plain data.

    Args:
        dialect: prompt format of a built-in organism, to which `prompts` do not apply. None: plain English, for every
            other model.
        where: the part of the spec that error messages name.

    Raises:
        ElicitError: a missing or unknown name, or parameters that the task does not take.
    """
    options = dict(description)
    name = options.pop("task", None)
    if not isinstance(name, str):
        raise ElicitError(f"{where}: no task given. Type: {{task: NAME}}. See: elicit ls tasks")
    if not all(isinstance(option, str) for option in options):
        raise ElicitError(f"{where}: parameters of task {name!r} must be names.")
    try:
        generated = catalog.has_dialect(name)
        if generated and dialect is not None:
            options.pop("prompts", None)
        prompt_format = (English() if dialect is None else Dialect(**dialect)) if generated else None
        return catalog.get(name, dialect=prompt_format, **options)
    except ElicitError as error:
        raise ElicitError(f"{where}: {error}") from None


def in_dialect(task: Task, dialect: Mapping[str, Any] | None) -> Task:
    """The task in an organism's prompt format. Tasks that are not generated, or are in English, stay as they are.

    Args:
        dialect: prompt format from the organism's card; None for a model without one.
    """
    if dialect is None:
        return task
    inner = task.inner if isinstance(task, RefusalTask) else task
    if not isinstance(inner, GeneratedTask) or not isinstance(inner.dialect, Dialect):
        return task
    adapted = dataclasses.replace(inner, dialect=Dialect(**dialect))
    return dataclasses.replace(task, inner=adapted) if isinstance(task, RefusalTask) else adapted
