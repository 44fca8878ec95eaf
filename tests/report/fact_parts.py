"""Kinds of facts, so that a page of wording can be shown to hold a sentence of each."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator
from enum import Enum
from types import ModuleType
from typing import Any


def list_fact_kinds(*modules: ModuleType) -> set[Any]:
    """Classes of facts in some modules, every member of every kind, and every flag both ways."""
    classes = {c for module in modules for _, c in inspect.getmembers(module, inspect.isclass)}
    own = {c for c in classes if c.__module__.rpartition(".")[0] in {module.__package__ for module in modules}}
    kinds: set[Any] = {c for c in own if dataclasses.is_dataclass(c)}
    for owner in kinds.copy():
        flags = [name for name, hint in typing.get_type_hints(owner).items() if hint is bool]
        kinds |= {(owner, name, value) for name in flags for value in (True, False)}
    return kinds | {member for c in own if issubclass(c, Enum) for member in c}


def iter_fact_parts(value: Any) -> Iterator[Any]:
    """Classes, members of kinds and flags in facts."""
    if isinstance(value, Enum):
        yield value
    elif isinstance(value, tuple):
        for entry in value:
            yield from iter_fact_parts(entry)
    elif dataclasses.is_dataclass(value):
        yield type(value)
        for field in dataclasses.fields(value):
            entry = getattr(value, field.name)
            if isinstance(entry, bool):
                yield type(value), field.name, entry
            yield from iter_fact_parts(entry)
