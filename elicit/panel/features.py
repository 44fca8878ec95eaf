"""A table of features as the panel's search shows it: words to look for, scores to sort by."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError

if TYPE_CHECKING:
    import pandas as pd

#: Rows that travel to the page. Any feature can be typed by its number, in the table or not.
LARGEST = 2000
#: Of a cell of words, this many characters.
_WIDTH = 160


def feature_table_to_json(table: pd.DataFrame, d_sae: int, *, sort: str | None = None) -> dict[str, Any]:
    """`{"scores", "sort", "total", "rows": [[feature, words, score, ...], ...]}`, largest score first.

    Args:
        table: one row per feature, indexed by its number. Columns of numbers are scores (of a table of `saes.discover`,
            which has many, those of its scorers and the density); columns of text, or of lists of text (labels, top
            tokens), are the words that are searched.
        sort: the column to begin with; by default the first of scores.

    Raises:
        ElicitError: an index that does not name features, or a column that is not there.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    numbers = [_parse_feature_index(index, d_sae) for index in table.index]
    numeric = [name for name in table.columns if is_numeric_dtype(table[name]) and not is_bool_dtype(table[name])]
    score_names = [*table.attrs["scores"], "density"] if "scores" in table.attrs else numeric
    scores = [str(name) for name in score_names if name in numeric]
    chosen = sort if sort is not None else (scores[0] if scores else None)
    if chosen is not None and chosen not in scores:
        raise ElicitError(f"panel: the table has no column of numbers {chosen!r}. Its scores: {', '.join(scores)}.")
    order = range(len(numbers))
    if chosen is not None:
        values = [float(value) for value in table[chosen]]
        order = sorted(order, key=lambda i: (math.isnan(values[i]), -values[i]))  # type: ignore[assignment]
    words = [name for name in table.columns if name not in numeric]
    rows = []
    for i in list(order)[:LARGEST]:
        cells = [_round_or_none(table[name].iloc[i]) for name in scores]
        rows.append([numbers[i], _join_words(table[name].iloc[i] for name in words), *cells])
    return {"scores": scores, "sort": chosen, "total": len(numbers), "rows": rows}


def _parse_feature_index(index: Any, d_sae: int) -> int:
    try:
        number = int(index)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < d_sae:
        raise ElicitError(
            f"panel: the table's index holds {index!r}; expected feature numbers from 0 to {d_sae - 1} "
            "(set_index('feature'))."
        )
    return number


def _join_words(cells: Iterable[object]) -> str:
    parts = []
    for cell in cells:
        if isinstance(cell, list | tuple):
            parts.append(" ".join(str(word) for word in cell))
        elif isinstance(cell, str):
            parts.append(cell)
    return " · ".join(part[:_WIDTH] for part in parts if part)


def _round_or_none(value: object) -> float | None:
    number = float(value)  # type: ignore[arg-type]
    return float(f"{number:.4g}") if math.isfinite(number) else None
