"""Load a spec's YAML as plain data: text, numbers, lists and mappings, and nothing else that YAML allows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from elicit.errors import ElicitError, one_line

#: Most bytes of a spec; bounds the cost of parsing one.
_LARGEST = 1 << 18


def read_spec_text(path: Path) -> str:
    """Read the text of a spec file. Raises ElicitError if it cannot be read, is not text, or is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ElicitError(f"{path} is larger than {_LARGEST >> 10} KiB; that is not a comparison spec.")
        return data.decode()
    except FileNotFoundError:
        raise ElicitError(f"no spec at {path}. Try: elicit run experiments/quickstart.yaml") from None
    except UnicodeDecodeError as error:
        raise ElicitError(f"{path}: byte {error.start} is not UTF-8 text.") from None
    except OSError as error:
        raise ElicitError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # an impossible file name
        raise ElicitError(f"{one_line(repr(str(path)), 80)} cannot be read: {one_line(error)}.") from None


def pop_limit(spec: dict[Any, Any], where: str) -> int | None:
    """Take the limit out of a run's own spec.yaml, which says what `--limit` the run was started with.

    Raises:
        ElicitError: neither a number from 1 nor null.
    """
    limit = spec.pop("limit", None)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ElicitError(f"{where}: field limit is {one_line(repr(limit), 60)}; expected a number from 1, or null.")
    return limit


def parse_yaml_mapping(text: str, where: str) -> dict[Any, Any]:
    """Parse a YAML document that holds a mapping. Raises ElicitError with the line for anything else."""
    try:
        data = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        location = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ElicitError(f"{where}{location}: not valid YAML: {one_line(problem)}.") from None
    except (RecursionError, ValueError) as error:
        raise ElicitError(f"{where}: not valid YAML: {one_line(error)}.") from None
    if not isinstance(data, dict):
        type_name = "nothing" if data is None else type(data).__name__
        raise ElicitError(f"{where}: expected a mapping with models, task and arms; found {type_name}.")
    return data


class _StrictLoader(yaml.SafeLoader):
    """YAML loader that refuses duplicate keys and aliases, which can expand without bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not used in specs", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain name", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def check_plain_data(value: Any, where: str) -> None:
    """Raise ElicitError for values a spec cannot hold: dates, sets, bytes, NaN, huge numbers, lone surrogates."""
    if isinstance(value, dict):
        for key, item in value.items():
            check_plain_data(key, where)
            check_plain_data(item, where)
    elif isinstance(value, list | tuple):
        for item in value:
            check_plain_data(item, where)
    elif isinstance(value, str):
        if "\0" in value:
            raise ElicitError(f"{where}: {one_line(repr(value), 60)} holds a NUL character.")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ElicitError(f"{where}: {one_line(ascii(value), 60)} holds half a character.") from None
    elif isinstance(value, float) and not math.isfinite(value):
        raise ElicitError(f"{where}: {value} is not a number to work with.")
    elif isinstance(value, int) and value.bit_length() > 63:
        raise ElicitError(f"{where}: a whole number is too large.")
    elif not isinstance(value, int | float | bool | None):
        value_text = one_line(repr(value), 60)
        raise ElicitError(
            f"{where}: {value_text} is neither text, a number, a list nor a mapping. Put quotes around text."
        )
