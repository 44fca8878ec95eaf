"""Catalog of tasks whose problems come from elsewhere: files, datasets, benchmarks, reasoning-gym."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from elicit.errors import ElicitError, unknown_name_error
from elicit.tasks.core import Task

#: name -> (module, function, description, what to type for the required parameter)
SOURCES: dict[str, tuple[str, str, str, str | None]] = {
    "jsonl": (
        "elicit.tasks.datasets.jsonl",
        "load_jsonl",
        "your own problems, one JSON object a line",
        "the file of problems, such as path=problems.jsonl",
    ),
    "dataset": (
        "elicit.tasks.datasets.dataset",
        "load_dataset",
        "a table of problems: csv, json, parquet, arrow, a folder of `datasets`, or a hub id",
        "a file, a folder or a hub id (org/name)",
    ),
    "gsm8k": ("elicit.tasks.datasets.dataset", "load_gsm8k", "GSM8K, or problems in its format (#### 72)", None),
    "math": ("elicit.tasks.datasets.dataset", "load_math", "MATH, or problems in its format (\\boxed{...})", None),
}
#: `reasoning_gym:NAME`
GYM = "reasoning_gym"


def list_sources() -> list[str]:
    return [*SOURCES, f"{GYM}:NAME"]


def is_source(name: str) -> bool:
    return name in SOURCES or name.partition(":")[0] == GYM


def load_source(name: str, parameters: Mapping[str, Any]) -> Task:
    """Task with this name.

    Raises:
        ElicitError: an unknown parameter or generator, a missing path, or any error of the loader itself.
    """
    if name not in SOURCES:
        from elicit.tasks.gym.task import load_gym

        return load_gym(name.partition(":")[2], **parameters)
    module, function, _, required = SOURCES[name]
    load = getattr(importlib.import_module(module), function)
    known = list(inspect.signature(load).parameters)
    for parameter in parameters:
        if parameter not in known:
            raise unknown_name_error(f"parameter of task {name!r}", parameter, known)
    if required is not None and "path" not in parameters:
        raise ElicitError(f"task {name!r}: path is missing; give {required}.")
    task: Task = load(**parameters)
    return task


def describe_sources() -> dict[str, tuple[str, list[str]]]:
    """Name -> (description, parameters with their defaults), for listings."""
    descriptions = {}
    for name, (module, function, what, _) in SOURCES.items():
        load = getattr(importlib.import_module(module), function)
        parameters = inspect.signature(load).parameters.values()
        parameter_texts = [
            parameter.name
            if parameter.default is inspect.Parameter.empty
            else f"{parameter.name}={parameter.default!r}"
            for parameter in parameters
        ]
        descriptions[name] = (what, parameter_texts)
    what = "a generator of reasoning-gym, such as reasoning_gym:chain_sum (extra: tasks)"
    descriptions[f"{GYM}:NAME"] = (
        what,
        ["answers='any'", "max_new_tokens=512", "the generator's own, such as max_digits=2"],
    )
    return descriptions
