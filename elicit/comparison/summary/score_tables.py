"""Rows -> arrays of (seeds, problems), and the plain estimates made of them. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from elicit import statistics
from elicit.comparison.reader import ArmData
from elicit.schema import Row

Seeds = Sequence[Sequence[Row]]


def problem_order(arms: Mapping[str, ArmData], label: str) -> list[str]:
    """Problem ids in order of first appearance, over all arms."""
    return ids(rows for data in arms.values() for rows in data.rows[label])


def ids(seeds: Iterable[Sequence[Row]]) -> list[str]:
    """Problem ids in order of first appearance."""
    return list(dict.fromkeys(row.problem for rows in seeds for row in rows))


def scores(seeds: Seeds, order: Sequence[str]) -> Float[np.ndarray, "seeds problems"] | None:
    """0/1 per seed and problem (sample 0), NaN where there is no row; None without rows."""
    return per_problem(seeds, order, lambda row: float(row.correct))


def per_problem(
    seeds: Seeds, order: Sequence[str], value: Callable[[Row], float]
) -> Float[np.ndarray, "seeds problems"] | None:
    """A quantity of each seed's own answers (sample 0)."""
    place = {problem: i for i, problem in enumerate(order)}
    table = np.full((len(seeds), len(order)), np.nan)
    for s, rows in enumerate(seeds):
        for row in rows:
            if row.sample == 0 and row.problem in place:
                table[s, place[row.problem]] = value(row)
    return table if table.size and not np.isnan(table).all() else None


def level(table: Float[np.ndarray, "seeds problems"] | None) -> dict[str, Any] | None:
    """A share with its interval, clustered by problem."""
    return None if table is None else statistics.level(table).to_json()


def mean(table: Float[np.ndarray, "seeds problems"] | None) -> dict[str, Any] | None:
    """A mean over problems of any quantity, seeds averaged first."""
    return None if table is None else statistics.mean(per_column(table)).to_json()


def per_column(table: Float[np.ndarray, "seeds problems"]) -> Float[np.ndarray, " problems"]:
    """Mean over seeds of every problem that has a row."""
    present = ~np.isnan(table).all(axis=0)
    return np.asarray(np.nanmean(table[:, present], axis=0))


def text_mean(seeds: Seeds, order: Sequence[str], measure: Callable[[str], float | None]) -> dict[str, Any] | None:
    """Mean over problems of a measure of completions, of those that are long enough for it."""

    def value(row: Row) -> float:
        found = measure(row.completion)
        return np.nan if found is None else found

    return mean(per_problem(seeds, order, value))
