"""Parameter checks that the families share: values as they come from YAML, and numbers as models write them."""

from __future__ import annotations

import re

from elicit.errors import ElicitError, one_line

_WHOLE = re.compile(r"-?[0-9]{1,30}")


def whole_parameter(task: str, name: str, value: object, low: int, high: int) -> int:
    """The value. Raises ElicitError unless it is a whole number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        value_text = one_line(repr(value), 60)
        raise ElicitError(f"task {task!r}: {name} is {value_text}; expected a whole number from {low} to {high}.")
    return value


def length_range(task: str, name: str, value: object, low: int, high: int) -> tuple[int, int]:
    """(fewest, most) pair; a single number stands for both. Raises ElicitError for anything else."""
    pair = (value, value) if isinstance(value, int) else value
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        value_text = one_line(repr(value), 60)
        raise ElicitError(f"task {task!r}: {name} is {value_text}; expected a number or a pair such as [3, 6].")
    fewest, most = (whole_parameter(task, name, item, low, high) for item in pair)
    if fewest > most:
        raise ElicitError(f"task {task!r}: {name} is [{fewest}, {most}]; the first must not exceed the second.")
    return fewest, most


def whole_number(text: str) -> str | None:
    """Canonical form of a whole number as written (`007` -> `7`), None if the text is not one."""
    return str(int(text)) if _WHOLE.fullmatch(text) else None
