"""The code from outside that a spec names, `my_file.py:MyTask`: its place on this machine. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from elicit.comparison.spec.option_values import list_option_values, map_texts
from elicit.methods.catalog import is_built_in
from elicit.methods.outside import find_method_reference
from elicit.plugins import MissingCodeError, absolute_reference, find_source, parse_reference
from elicit.tasks.catalog import find_outside_reference
from elicit.tasks.datasets.formats import find_reader_reference

#: Options of a task that may name code.
TaskField = Literal["task", "read"]
#: Options of an arm that may name code.
ArmField = Literal["method", "reward", "trainer_class", "function", "scorer"]


def resolve_references(description: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A task's description or an arm's options with the paths of their code in full; relative ones start at `base`."""
    return map_texts(description, lambda name, text: resolve_reference(name, text, base))


def resolve_reference(name: str, text: str, base: Path) -> str:
    """The text of an option, with the path in full where the option may name code."""
    return absolute_reference(text, base=base) if name in (*get_args(TaskField), *get_args(ArmField)) else text


def list_task_code(description: Mapping[str, Any]) -> Iterator[tuple[TaskField, str]]:
    """(field, reference) of the code that a task is made of, here or not."""
    name, reader = description.get("task"), description.get("read")
    if isinstance(name, str) and (reference := find_outside_reference(name)) is not None:
        yield "task", reference
    elif isinstance(reader, str) and (reference := find_reader_reference(reader)) is not None:
        yield "read", reference


def list_arm_code(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(place, reference) of the code of an arm's method, rewards, trainers and edits, here or not."""
    method = str(options.get("method"))
    if not is_built_in(method) and (reference := find_method_reference(method)) is not None:
        yield "method", reference
    for place, option, value in list_option_values(options):
        if (
            option in ("reward", "trainer_class", "function", "scorer")
            and parse_reference(text := str(value)) is not None
        ):
            yield place, text


def find_code_file(reference: str) -> Path | None:
    """The file of a reference; None if it is not here."""
    try:
        return find_source(reference)
    except MissingCodeError:
        return None
