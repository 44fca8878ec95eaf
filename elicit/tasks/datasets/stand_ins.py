"""Invented rows in a benchmark's form, of the usual number and length, for plans where the benchmark is not here.

They are written as files and named by `path`, so that everything else about the task is what it will be.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elicit.errors import ElicitError
from elicit.tasks.datasets.benchmark import Benchmark, find_benchmark, list_benchmarks
from elicit.tasks.datasets.folders import load_tables

#: Options that say where rows come from.
_PLACE = ("path", "config", "revision", "download")


def describe_stand_in(description: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """The description of a benchmark's task with invented rows, which are written into `folder`.

    None for other tasks, for a benchmark whose rows are here, and for one whose usual rows are not known. Never uses
    the network.
    """
    name = description.get("task")
    if name not in list_benchmarks():
        return None
    benchmark = find_benchmark(name)
    path = description.get("path") or benchmark.path
    if benchmark.usual is None or path != benchmark.path or _is_here(benchmark, description):
        return None
    place = folder / name
    if not place.exists():
        import datasets

        datasets.disable_progress_bars()
        splits = {
            split: datasets.Dataset.from_list([_invent_row(benchmark, f"{split} {number}") for number in range(rows)])
            for split, rows in benchmark.usual.rows.items()
        }
        datasets.DatasetDict(splits).save_to_disk(place)  # read back as it is: nothing is left in a cache
    return {**{option: value for option, value in description.items() if option not in _PLACE}, "path": str(place)}


def _is_here(benchmark: Benchmark, description: Mapping[str, Any]) -> bool:
    try:
        load_tables(
            benchmark.path,
            config=description.get("config") or benchmark.config,
            revision=description.get("revision"),
        )
    except ElicitError:
        return False
    return True


def _invent_row(benchmark: Benchmark, number: str) -> dict[str, str]:
    """The example with text before it: a number, since equal questions are left out, and so much that it is as long as
    usual."""
    assert benchmark.usual is not None
    row = {}
    for column, text in benchmark.usual.example.items():
        missing = max(0, benchmark.usual.characters[column] - len(text))
        front = f"Problem {number}. {text} ".replace("####", "")
        row[column] = (front * (1 + missing // len(front)))[:missing] + text
    return row
