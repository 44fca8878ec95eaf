"""Option numbering in multiple-choice tables: do right answers count from 0 or from 1?

`answer: 3` is the fourth option if counting begins at 0 and the third if it begins at 1. A table with a 0 settles it.
Without a 0 the numbering is not guessed, since a wrong guess would put every answer off by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from elicit.errors import ElicitError
from elicit.tasks.answers import choice_options
from elicit.tasks.datasets.column_mapping import map_row
from elicit.tasks.jsonl_fields import BadLine, Row


def check_count_from(task: str, count_from: object) -> None:
    """Raise ElicitError unless `count_from` is 0, 1 or None."""
    if count_from is not None and (isinstance(count_from, bool) or count_from not in (0, 1)):
        raise ElicitError(
            f"task {task!r}: count_from is {count_from!r}; expected 0 or 1: the number of the first option where "
            "answers are places."
        )


def find_first_option_position(where: str, tables: Iterable[tuple[Iterable[Row], Mapping[str, str] | None]]) -> int:
    """Number of the first option where answers are positions: 0, unless no answer is 0.

    Args:
        tables: the rows of every part, each with its mapping (None: the cells are the fields).

    Raises:
        ElicitError: answers are positions, and none of them is 0.
    """
    counted: list[int] = []
    sizes: list[int] = []
    for rows, columns in tables:
        for _, cells in rows:
            fields = _read_row_fields(cells, columns)
            try:
                options = choice_options.parse_options(fields.get("choices"))
            except BadLine:
                continue
            position = choice_options.parse_option_position(fields.get("answer"), options)
            counted += [] if position is None else [position]
            sizes.append(len(options.texts))
    if not counted or min(counted) == 0:
        return 0
    raise ElicitError(
        f"{where}: the right answers are places from {min(counted)} to {max(counted)} among {max(sizes)} options, "
        "never 0, so they may be counted from 1. Type: count_from: 1 if option 1 is the first, or count_from: 0 if it "
        "is the second."
    )


def _read_row_fields(cells: dict[str, Any] | BadLine, columns: Mapping[str, str] | None) -> dict[str, Any]:
    if isinstance(cells, BadLine):
        return {}
    try:
        return dict(cells) if columns is None else map_row(cells, columns)
    except BadLine:
        return {}
