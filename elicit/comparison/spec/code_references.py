"""The code from outside that tasks of a spec name, `my_file.py:MyTask`: its place on this machine. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from elicit.plugins import MissingCodeError, absolute_reference, find_source
from elicit.tasks.catalog import find_outside_reference
from elicit.tasks.datasets.formats import find_reader_reference

#: Options of a task that may name code.
CodeField = Literal["task", "read"]


def resolve_references(description: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A task's description with the paths of its code in full; relative ones start at `base`."""
    return {
        name: absolute_reference(value, base=base) if name in get_args(CodeField) and isinstance(value, str) else value
        for name, value in description.items()
    }


def list_code(description: Mapping[str, Any]) -> Iterator[tuple[CodeField, str]]:
    """(field, reference) of the code that a task is made of, here or not."""
    name, reader = description.get("task"), description.get("read")
    if isinstance(name, str) and (reference := find_outside_reference(name)) is not None:
        yield "task", reference
    elif isinstance(reader, str) and (reference := find_reader_reference(reader)) is not None:
        yield "read", reference


def find_code_files(description: Mapping[str, Any]) -> Iterator[Path]:
    """The files of that code which are here."""
    for _, reference in list_code(description):
        try:
            yield find_source(reference)
        except MissingCodeError:
            continue
