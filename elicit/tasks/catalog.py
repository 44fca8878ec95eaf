"""The table of task families. A new family is one new file and one line here."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

from elicit.errors import ElicitError, unknown
from elicit.tasks.core import Task
from elicit.tasks.generated import Dialect, GeneratedTask

#: name -> (module, class, tokens a worked solution may take)
FAMILIES: dict[str, tuple[str, str, int]] = {
    "addition": ("elicit.tasks.addition", "Addition", 48),
    "mod_chain": ("elicit.tasks.mod_chain", "ModChain", 64),
    "permutation": ("elicit.tasks.permutation", "Permutation", 72),
    "assign": ("elicit.tasks.assign", "Assign", 64),
    "countdown": ("elicit.tasks.countdown", "Countdown", 96),
    "general_points": ("elicit.tasks.general_points", "GeneralPoints", 72),
}


def names() -> list[str]:
    return [*FAMILIES, "jsonl"]


def get(name: str, *, dialect: Dialect | None = None, **parameters: Any) -> Task:
    """A task by name, with its family's parameters.

    Args:
        name: one of `names()`.
        dialect: the marks around questions, traces and answers (default: those of the built-in organisms).
        **parameters: fields of the family, such as `steps=(3, 6)`; for `jsonl`, those of `load_jsonl`.

    Raises:
        ElicitError: unknown name or parameter, or a value out of range.
    """
    if name == "jsonl":
        return _from_file(dialect, parameters)
    if name not in FAMILIES:
        raise unknown("task", name, names(), hint="See: elicit ls tasks")
    module, class_name, tokens = FAMILIES[name]
    family_class = getattr(importlib.import_module(module), class_name)
    fields = {field.name for field in dataclasses.fields(family_class)} | {"max_new_tokens"}
    for parameter in parameters:
        if parameter not in fields:
            raise unknown(f"parameter of task {name!r}", parameter, fields)
    limit = parameters.pop("max_new_tokens", tokens)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ElicitError(f"task {name!r}: max_new_tokens is {limit!r}; expected a whole number of at least 1.")
    return GeneratedTask(family_class(**parameters), dialect or Dialect(), max_new_tokens=limit)


def _from_file(dialect: Dialect | None, parameters: dict[str, Any]) -> Task:
    from elicit.tasks.jsonl import load_jsonl

    known = list(inspect.signature(load_jsonl).parameters)
    for parameter in parameters:
        if parameter not in known:
            raise unknown("parameter of task 'jsonl'", parameter, known)
    if "path" not in parameters:
        raise ElicitError("task 'jsonl': path is missing; give the file of problems, such as path=problems.jsonl.")
    if dialect is not None:
        raise ElicitError("task 'jsonl' has no dialect; use template and answer_pattern.")
    return load_jsonl(**parameters)
