"""Read JSON documents, our own and foreign ones, within limits, and check them against a type before use.

A document may come from a stranger, a half-copied folder or a text editor. So its size, depth, keys, numbers and
characters are checked while it is read, and every fault is a one-line error that names the file and, if any, the field.
"""

from __future__ import annotations

import functools
import json
import math
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from elicit.errors import ElicitError, did_you_mean, one_line

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

#: Most bytes of a document. Our longest ones, panels and archives, have a few million.
MAX_BYTES = 256 << 20
#: Most nested lists and objects. Ours reach ten; Python's own parser fails near a thousand.
MAX_DEPTH = 100
_NOT_THERE = object()
#: Half of a UTF-16 pair as an escape: such text cannot be written to a file.
_SURROGATE = re.compile(r"\\u[dD][89abAB-F][0-9a-fA-F]{2}")


def read_bytes(path: Path, *, limit: int = MAX_BYTES) -> bytes:
    """Read the bytes of a regular file.

    Raises:
        ElicitError: the file is missing, larger than `limit` bytes, or not a regular file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ElicitError(f"{path} is not a file.")
        if status.st_size > limit:
            raise ElicitError(f"{path} has {status.st_size:,} bytes; expected a document of at most {limit:,}.")
        return path.read_bytes()
    except FileNotFoundError:
        raise ElicitError(f"{path} is missing.") from None
    except OSError as error:
        raise ElicitError(f"{path} cannot be read: {error.strerror}.") from None


def parse_json(text: bytes | str, where: object) -> Any:
    """Parse a JSON text.

    Args:
        where: its file (and line), for messages.

    Raises:
        ElicitError: the text is not UTF-8 or not JSON, is nested too deep, or has a duplicate key, a number that is not
            finite, or a lone surrogate.
    """
    try:
        string = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(
            string, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_float=_finite_float
        )
    except UnicodeDecodeError as error:
        raise ElicitError(f"{where} is not UTF-8 text: byte {error.start:,} cannot be read.") from None
    except RecursionError:
        raise ElicitError(f"{where} is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise ElicitError(f"{where} is not JSON: {one_line(error, 160)}.") from None
    if string.count("[") + string.count("{") > MAX_DEPTH and _depth_exceeds(value, MAX_DEPTH):
        raise ElicitError(f"{where} is nested deeper than {MAX_DEPTH} levels.")
    if _SURROGATE.search(string):
        _check_surrogates(value, where)
    return value


def read_foreign_object(path: Path) -> dict[str, Any]:
    """Read the object in another tool's JSON file, which may contain NaN, infinity and duplicate keys (last wins).

    Raises:
        ElicitError: as `read_bytes`; or the text is not UTF-8 or not JSON, is nested too deep, or is not an object.
    """
    return as_object(parse_foreign(read_bytes(path), path), path)


def parse_foreign(text: bytes, where: object) -> Any:
    """Parse another tool's JSON text. Raises ElicitError if it is not JSON or is nested too deep."""
    try:
        value = json.loads(text.decode())
    except UnicodeDecodeError as error:
        raise ElicitError(f"{where} is not UTF-8 text: byte {error.start:,} cannot be read.") from None
    except RecursionError:
        raise ElicitError(f"{where} is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise ElicitError(f"{where} is not JSON: {one_line(error, 160)}.") from None
    if _depth_exceeds(value, MAX_DEPTH):
        raise ElicitError(f"{where} is nested deeper than {MAX_DEPTH} levels.")
    return value


def read_json(path: Path) -> Any:
    """Read the value in a JSON file.

    Raises:
        ElicitError: as `read_bytes` and `parse_json`.
    """
    return parse_json(read_bytes(path), path)


def read_object(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file.

    Raises:
        ElicitError: as `read_json`, and for any other value.
    """
    return as_object(read_json(path), path)


def as_object(value: Any, where: object) -> dict[str, Any]:
    """Return `value` if it is a JSON object. Raises ElicitError for any other value."""
    if not isinstance(value, dict):
        raise ElicitError(f"{where} holds {describe_json_type(value)}; expected a JSON object.")
    return value


def as_record(value: Any, record: type[T], where: object) -> T:
    """Convert a JSON value to `record`: a dataclass, a pydantic model or any type that pydantic knows.

    Types are strict (1 is a float, "1" and true are not), and unknown fields are refused.

    Raises:
        ElicitError: names the first invalid field; or the record's own error, prefixed with `where`.
    """
    from pydantic import ValidationError

    kind: Any = record
    try:
        # Via text: pydantic accepts a JSON array as a tuple, but not a Python list.
        result: T = _build_type_adapter(kind).validate_json(json.dumps(value), strict=True, extra="forbid")
        return result
    except ValidationError as error:
        raise ElicitError(f"{where}: {describe_first_error(error)}.") from None
    except ElicitError as error:
        raise ElicitError(f"{where}: {error}") from None


def read_record(path: Path, record: type[T]) -> T:
    """Read the record in a JSON file.

    Raises:
        ElicitError: as `read_json` and `as_record`.
    """
    return as_record(read_json(path), record, path)


@contextmanager
def prefix_errors(where: object) -> Iterator[None]:
    """Prefix errors that a record raises while it is built with `where`."""
    try:
        yield
    except ElicitError as error:
        raise ElicitError(f"{where}: {error}") from None


def describe_first_error(error: Any) -> str:
    """Describe pydantic's first error in a few words: the field, the expectation, and the value."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "missing" or first["type"] == "missing_argument":
        return one_line(f"the field {field} is missing", 240)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return one_line(f"unknown field {field}", 240)
    message = first["msg"].removeprefix("Value error, ")
    return one_line(f"{f'field {field}: ' if field else ''}{message}, not {one_line(repr(first['input']), 60)}", 320)


def require_field(value: dict[str, Any], name: str, where: object) -> Any:
    """Return the value of a required field. Raises ElicitError if it is missing."""
    field_value = value.get(name, _NOT_THERE)
    if field_value is _NOT_THERE:
        raise ElicitError(f"{where}: the field {name} is missing.{did_you_mean(name, value)}")
    return field_value


def describe_json_type(value: Any) -> str:
    """Describe a JSON value's type in words: "a list", "text", "a number", "null"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    words = {dict: "an object", list: "a list", str: "text", int: "a number", float: "a number"}
    return words.get(type(value), type(value).__name__)


@functools.lru_cache(maxsize=64)
def _build_type_adapter(record: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(record)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {one_line(repr(twice), 40)} is given twice in one object")
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{one_line(text, 40)} is too large for a number")
    return value


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            part
            for item in level
            if isinstance(item, dict | list)
            for part in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)


def _check_surrogates(value: Any, where: object) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            stack += item
        elif isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                raise ElicitError(
                    f"{where}: {one_line(ascii(item), 60)} holds half a character (a lone surrogate)."
                ) from None
