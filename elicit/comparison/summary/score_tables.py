"""Rows as arrays of (seeds, problems), and simple estimates from them. Imports no torch."""

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
    return list_problem_ids(rows for data in arms.values() for rows in data.rows[label])


def list_problem_ids(seeds: Iterable[Sequence[Row]]) -> list[str]:
    """Problem ids in order of first appearance."""
    return list(dict.fromkeys(row.problem for rows in seeds for row in rows))


def tabulate_scores(seeds: Seeds, order: Sequence[str]) -> Float[np.ndarray, "seeds problems"] | None:
    """Tabulate 0/1 scores by seed and problem (sample 0), NaN where there is no row; None without rows."""
    return tabulate_per_problem(seeds, order, lambda row: float(row.correct))


def tabulate_per_problem(
    seeds: Seeds, order: Sequence[str], value: Callable[[Row], float]
) -> Float[np.ndarray, "seeds problems"] | None:
    """Tabulate a quantity of each seed's answers (sample 0)."""
    columns = {problem: i for i, problem in enumerate(order)}
    table = np.full((len(seeds), len(order)), np.nan)
    for s, rows in enumerate(seeds):
        for row in rows:
            if row.sample == 0 and row.problem in columns:
                table[s, columns[row.problem]] = value(row)
    return table if table.size and not np.isnan(table).all() else None


def estimate_share(table: Float[np.ndarray, "seeds problems"] | None) -> dict[str, Any] | None:
    """Estimate a share with its interval over problems and seeds."""
    return None if table is None else statistics.estimate_accuracy(table).to_json()


def estimate_problem_mean(table: Float[np.ndarray, "seeds problems"] | None) -> dict[str, Any] | None:
    """Estimate the mean of any quantity, with its interval over problems and seeds."""
    return None if table is None else statistics.estimate_table_mean(table).to_json()


def estimate_text_mean(
    seeds: Seeds, order: Sequence[str], measure: Callable[[str], float | None]
) -> dict[str, Any] | None:
    """Estimate the mean over problems of a measure of completions, skipping those too short for it."""

    def measure_row(row: Row) -> float:
        result = measure(row.completion)
        return np.nan if result is None else result

    return estimate_problem_mean(tabulate_per_problem(seeds, order, measure_row))
