"""The code from outside that a spec names, `my_file.py:MyTask`: its place on this machine. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from elicit.methods.catalog import is_built_in
from elicit.methods.outside import find_method_reference
from elicit.plugins import MissingCodeError, absolute_reference, find_source, parse_reference
from elicit.tasks.catalog import find_outside_reference
from elicit.tasks.datasets.formats import find_reader_reference

#: Options of a task that may name code.
TaskField = Literal["task", "read"]
#: Options of an arm that may name code.
ArmField = Literal["method", "reward", "trainer_class"]


def resolve_references(description: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A task's description or an arm's options with the paths of their code in full; relative ones start at `base`."""
    fields = (*get_args(TaskField), *get_args(ArmField))
    return {
        name: absolute_reference(value, base=base) if name in fields and isinstance(value, str) else value
        for name, value in description.items()
    }


def list_task_code(description: Mapping[str, Any]) -> Iterator[tuple[TaskField, str]]:
    """(field, reference) of the code that a task is made of, here or not."""
    name, reader = description.get("task"), description.get("read")
    if isinstance(name, str) and (reference := find_outside_reference(name)) is not None:
        yield "task", reference
    elif isinstance(reader, str) and (reference := find_reader_reference(reader)) is not None:
        yield "read", reference


def list_arm_code(options: Mapping[str, Any]) -> Iterator[tuple[ArmField, str]]:
    """(field, reference) of the code of an arm's method, reward and trainer, here or not."""
    method = str(options.get("method"))
    if not is_built_in(method) and (reference := find_method_reference(method)) is not None:
        yield "method", reference
    fields: tuple[ArmField, ...] = ("reward", "trainer_class")
    for field in fields:
        if parse_reference(text := str(options.get(field))) is not None:
            yield field, text


def find_code_file(reference: str) -> Path | None:
    """The file of a reference; None if it is not here."""
    try:
        return find_source(reference)
    except MissingCodeError:
        return None
