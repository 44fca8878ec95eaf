"""Whether the right answers of a multiple-choice table are counted from 0 or from 1.

`answer: 3` is the fourth option where counting begins at 0 and the third where it begins at 1. A table that has a 0
tells; of one that has none it is not guessed, since every answer of a wrong guess would be off by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from elicit.errors import ElicitError
from elicit.tasks.answers import choice_options
from elicit.tasks.datasets.column_mapping import mapped
from elicit.tasks.datasets.tables import Row
from elicit.tasks.jsonl_fields import BadLine


def check_count_from(task: str, given: object) -> None:
    """Raises ElicitError unless `given` is 0, 1 or None."""
    if given is not None and (isinstance(given, bool) or given not in (0, 1)):
        raise ElicitError(
            f"task {task!r}: count_from is {given!r}; expected 0 or 1: the number of the first option where "
            "answers are places."
        )


def first_place(where: str, tables: Iterable[tuple[Iterable[Row], Mapping[str, str] | None]]) -> int:
    """The number that the first option has where answers are places: 0, unless no answer is 0.

    Args:
        tables: the rows of every part, each with its mapping (None: the cells are the fields).

    Raises:
        ElicitError: there are places, and none of them is 0.
    """
    counted: list[int] = []
    sizes: list[int] = []
    for rows, columns in tables:
        for _, cells in rows:
            fields = _fields(cells, columns)
            try:
                options = choice_options.options(fields.get("choices"))
            except BadLine:
                continue
            place = choice_options.place_of(fields.get("answer"), options)
            counted += [] if place is None else [place]
            sizes.append(len(options.texts))
    if not counted or min(counted) == 0:
        return 0
    raise ElicitError(
        f"{where}: the right answers are places from {min(counted)} to {max(counted)} among {max(sizes)} options, "
        "never 0, so they may be counted from 1. Type: count_from: 1 if option 1 is the first, or count_from: 0 if it "
        "is the second."
    )


def _fields(cells: dict[str, Any] | BadLine, columns: Mapping[str, str] | None) -> dict[str, Any]:
    if isinstance(cells, BadLine):
        return {}
    try:
        return dict(cells) if columns is None else mapped(cells, columns)
    except BadLine:
        return {}
