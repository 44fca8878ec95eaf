"""JSONL parsing: the object on a line and its fields, checked one by one.

Nothing is repaired: an unusable line raises `BadLine` with the reason, and the caller lists the reasons by line number.
Numbers stay text, as they are written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elicit.errors import ElicitError, did_you_mean, one_line

#: Number of bad lines that an error message lists.
_SHOWN = 3


class BadLine(ValueError):
    """The reason why a line cannot be used."""


class Number(str):
    """A number as written in the file, distinct from text."""


#: (location for people, the row's cells or the reason why it has none)
Row = tuple[str, dict[str, Any] | BadLine]


def parse_fields(raw: bytes) -> dict[str, Any]:
    """Fields of the JSON object on a line. Raises BadLine."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8 (byte {error.start + 1})") from None
    try:
        value = json.loads(
            text,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_reject_constant,
            object_pairs_hook=check_no_repeats,
        )
    except BadLine:
        raise
    except json.JSONDecodeError as error:
        raise BadLine(f"not JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise BadLine("not JSON (nested too deeply)") from None
    if not isinstance(value, dict):
        raise BadLine(f"{_describe_type(value)}, not an object")
    return value


def _reject_constant(name: str) -> None:
    raise BadLine(f"{name} is not a number in JSON")


def check_no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Fields of an object as a dict. Raises BadLine if a name occurs twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise BadLine(f"field {quote_name(next(name for name in names if names.count(name) > 1))} is there twice")
    return fields


def check_known(fields: dict[str, Any], known: tuple[str, ...], kind: str) -> None:
    for name in fields:
        if name not in known:
            raise BadLine(f"unknown {kind} {quote_name(name)}.{did_you_mean(name, known)} Known: {', '.join(known)}")


def require_text(fields: dict[str, Any], name: str, prefix: str = "") -> str:
    if name not in fields:
        raise BadLine(f"'{prefix}{name}' is missing")
    return check_text(fields[name], prefix + name)


def optional_text(fields: dict[str, Any], name: str, expected: str = "text") -> str | None:
    """Text of a field, None if the field is missing."""
    value = fields.get(name)
    return None if value is None else check_text(value, name, expected)


def check_text(value: Any, name: str, expected: str = "text") -> str:
    if not isinstance(value, str) or isinstance(value, Number):
        raise BadLine(describe_wrong_type(name, value, expected))
    if not value.strip():
        raise BadLine(f"'{name}' is empty")
    return _check_encodable(value, name)


def parse_identifier(fields: dict[str, Any], name: str) -> str | None:
    """Id or group of a problem: text or a whole number."""
    value = fields.get(name)
    if isinstance(value, Number) and re.fullmatch(r"-?[0-9]{1,30}", value):
        return str(value)
    return None if value is None else check_text(value, name, "text or a whole number")


def _check_encodable(value: str, name: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadLine(f"'{name}' holds half a character (a lone surrogate)") from None
    return value


def describe_wrong_type(name: str, value: Any, expected: str) -> str:
    return f"'{name}' is {_describe_type(value)}; expected {expected}"


def _describe_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return f"the number {one_line(value, 30)}"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else "text"


def quote_name(name: str) -> str:
    return one_line(ascii(name), 40)


# --- files -------------------------------------------------------------------------------------------------------


def resolve_file(path: str | Path, kind: str, origin: str) -> Path:
    """Path of an existing file.

    Args:
        kind: what the file is ("task file").
        origin: the part of the spec that names the file ("task 'jsonl'").

    Raises:
        ElicitError: the path is not a file.
    """
    if not isinstance(path, str | Path) or not str(path) or "\0" in str(path):
        raise ElicitError(f"{origin}: path is {one_line(repr(path), 60)}; expected the name of a JSONL file.")
    file = Path(path)
    try:
        if file.is_dir():
            raise ElicitError(f"{kind} {str(file)!r} is a directory; give a JSONL file in it.")
        if file.is_file():
            return file
        near = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
    except OSError as error:
        raise _unreadable_file_error(file, kind, error) from None
    hint = did_you_mean(file.name, near)
    raise ElicitError(f"{kind} {one_line(repr(str(file)), 200)} does not exist.{hint}")


def absolute_path(path: str | Path) -> str:
    """Path for a run's spec: absolute if it exists, unchanged if not (a hub id)."""
    expanded = Path(path).expanduser()
    return str(expanded.resolve()) if expanded.exists() else str(path)


def read_file_bytes(file: Path, kind: str) -> bytes:
    """Contents of a file. Raises ElicitError if it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable_file_error(file, kind, error) from None


def number_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(line number, line) for every line that is not blank. Lines end in LF, in CR LF, or all of them in CR."""
    end = b"\n" if b"\n" in data else b"\r"
    for line, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(end), start=1):
        if raw.strip():
            yield line, raw


def bad_lines_error(file: Path, kind: str, bad: list[tuple[int, str]], example: str) -> ElicitError:
    """Error that lists the first few bad lines of a file."""
    listing = "; ".join(f"line {line}: {reason}" for line, reason in sorted(bad)[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    count = "1 bad line" if len(bad) == 1 else f"{len(bad)} bad lines"
    return ElicitError(f"{kind} {one_line(repr(str(file)), 200)}: {count}: {listing}{more}. A line is {example}")


def _unreadable_file_error(file: Path, kind: str, error: OSError) -> ElicitError:
    path_text = one_line(repr(str(file)), 200)
    return ElicitError(f"{kind} {path_text} cannot be read: {error.strerror or 'unknown reason'}.")
