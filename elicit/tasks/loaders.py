"""Tasks whose problems come from elsewhere: files, datasets, benchmarks, reasoning-gym."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from elicit.errors import ElicitError, unknown_name_error
from elicit.tasks.core import Task
from elicit.tasks.datasets.benchmark import find_benchmark, list_benchmark_options, list_benchmarks

#: name -> (module, function, description, what to type for the required path)
SOURCES: dict[str, tuple[str, str, str, str]] = {
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
}
#: `reasoning_gym:NAME`
GYM = "reasoning_gym"


def list_sources() -> list[str]:
    return [*SOURCES, *list_benchmarks(), f"{GYM}:NAME"]


def is_source(name: str) -> bool:
    return name in SOURCES or name in list_benchmarks() or name.partition(":")[0] == GYM


def load_source(name: str, parameters: Mapping[str, Any]) -> Task:
    """Task with this name.

    Raises:
        ElicitError: an unknown parameter or generator, a missing path, or any error of the loader itself.
    """
    if name in SOURCES:
        _check_parameters(name, parameters, inspect.signature(_find_loader(name)).parameters)
        if "path" not in parameters:
            raise ElicitError(f"task {name!r}: path is missing; give {SOURCES[name][3]}.")
        return _find_loader(name)(**parameters)
    if name in list_benchmarks():
        from elicit.tasks.datasets.dataset import load_benchmark

        _check_parameters(name, parameters, list_benchmark_options(name))
        return load_benchmark(name, **parameters)
    from elicit.tasks.gym.task import load_gym

    return load_gym(name.partition(":")[2], **parameters)


def _find_loader(name: str) -> Callable[..., Task]:
    module, function, *_ = SOURCES[name]
    loader: Callable[..., Task] = getattr(importlib.import_module(module), function)
    return loader


def _check_parameters(name: str, parameters: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for parameter in parameters:
        if parameter not in known:
            raise unknown_name_error(f"parameter of task {name!r}", parameter, known)


def describe_sources() -> dict[str, tuple[str, list[str]]]:
    """Name -> (description, parameters with their defaults), for listings."""
    descriptions = {}
    for name, (_, _, what, _) in SOURCES.items():
        parameters = inspect.signature(_find_loader(name)).parameters.values()
        descriptions[name] = (what, [_describe_parameter(item.name, item.default) for item in parameters])
    for name in list_benchmarks():
        benchmark = find_benchmark(name)
        what = f"{benchmark.summary}; {benchmark.path}, {benchmark.licence}. {benchmark.citation}"
        options = list_benchmark_options(name)
        descriptions[name] = (what, [_describe_parameter(option, default) for option, default in options.items()])
    what = "a generator of reasoning-gym, such as reasoning_gym:chain_sum (extra: tasks)"
    descriptions[f"{GYM}:NAME"] = (
        what,
        ["answers='any'", "max_new_tokens=512", "the generator's own, such as max_digits=2"],
    )
    return descriptions


def _describe_parameter(name: str, default: Any) -> str:
    return name if default is inspect.Parameter.empty else f"{name}={default!r}"
