"""Cells of the tables, and the summary that they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elicit.comparison.archive import SUMMARY, read_compressed_json


def read(folder: Path) -> dict[str, Any]:
    """The summary of a committed result."""
    return read_compressed_json(folder / SUMMARY)


def percent(estimate: dict[str, Any] | None) -> str:
    """`82 % [78, 86]`, or a dash for what is not known."""
    if estimate is None or estimate.get("value") is None:
        return "–"
    low, high = (round(100 * bound) for bound in estimate["ci"])
    return f"{round(100 * estimate['value'])} % [{low}, {high}]"


def accuracy_of(figures: dict[str, Any]) -> dict[str, Any]:
    return {"value": figures["accuracy"], "ci": figures["ci"]}


def interval(value: float | None, ci: list[float] | None, scale: float, form: str) -> str:
    """`0.99 [0.97, 1.00]`, or a dash for what is not known."""
    if value is None or ci is None:
        return "–"
    return f"{scale * value:{form}} [{scale * ci[0]:{form}}, {scale * ci[1]:{form}}]"
