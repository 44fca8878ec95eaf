"""Benchmarks: datasets whose place, splits, columns and reader are written down, each in a file of `tasks/benchmarks`.

task: {task: gsm8k, path: data/gsm8k, reading: strict}
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from elicit.tasks import benchmarks
from elicit.tasks.core import Split


class UsualRows(NamedTuple):
    """Number and length of a benchmark's rows, for plans where they are not on this machine."""

    rows: Mapping[str, int]
    """Split of the dataset -> rows."""
    example: Mapping[str, str]
    """A row: column -> text. Its answer is at the end."""
    characters: Mapping[str, int]
    """Column -> characters, as many as usual."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A dataset as a task. Its name is that of its file."""

    summary: str
    """A few words for listings."""
    path: str
    """Where its problems are if the user gives no path: a hub id, or a file or folder."""
    config: str | None = None
    """Config of the hub id."""
    splits: Mapping[Split, str]
    """Our splits from the dataset's, test among them. Problems of a source without it are divided by hash."""
    columns: tuple[Mapping[str, str], ...]
    """Our fields from the table's columns (see `column_mapping`); the first whose columns are there is taken. Those of
    the format come after them."""
    format: str
    """How answers are written and read; see `formats`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of that format which a user may set, with their defaults."""
    template: str = "{prompt}"
    """What the model is shown; `{prompt}` stands for the question."""
    max_new_tokens: int = 256
    """Longest completion, in tokens."""
    licence: str
    citation: str
    usual: UsualRows | None = None


def list_benchmarks() -> list[str]:
    """Names of the benchmarks, which are those of the files in `tasks/benchmarks`."""
    return sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of a name that `list_benchmarks` has."""
    benchmark: Benchmark = importlib.import_module(f"{benchmarks.__name__}.{name}").BENCHMARK
    return benchmark


def list_benchmark_options(name: str) -> dict[str, Any]:
    """Options of a benchmark with their defaults; see `dataset.load_dataset`."""
    benchmark = find_benchmark(name)
    return {
        "path": None,
        "columns": None,
        "splits": None,
        "split": None,
        "config": None,
        "revision": None,
        "download": False,
        "drop": ("duplicates",),
        **benchmark.options,
        "template": benchmark.template,
        "stop": None,
        "max_new_tokens": benchmark.max_new_tokens,
        "name": name,
    }


def list_format_options(task: str) -> dict[str, Any]:
    """The format of a benchmark and the defaults of its options; empty for any other task."""
    if task not in list_benchmarks():
        return {}
    benchmark = find_benchmark(task)
    return {"format": benchmark.format, **benchmark.options}
