"""Reading a JSONL file of problems, line by line: every line becomes a record or a reason why it cannot.

Nothing is repaired: an unknown field, a duplicate or a NaN is a reason. Numbers are kept as they are written.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, NamedTuple

from elicit.errors import did_you_mean, one_line
from elicit.tasks.core import content_id

_FIELDS = ("prompt", "answer", "id", "group", "cue_prompt", "worked", "noisy")
_NOISY_FIELDS = ("text", "critique", "correct")
#: Powers of ten a number may have.
_EXPONENT = 50


class Record(NamedTuple):
    """One line, checked. `id` comes first: it is unique, so records sort by it."""

    id: str
    prompt: str
    answer: str
    group: str | None = None
    cue_prompt: str | None = None
    worked: str | None = None
    noisy: str | None = None
    critique: str | None = None
    noisy_correct: bool | None = None


class _Bad(ValueError):
    """Why a line cannot be used."""


class _Number(str):
    """A number as written, told apart from text."""


def read_records(data: bytes) -> tuple[list[tuple[int, Record]], list[tuple[int, str]]]:
    """(line number, record) for the good lines and (line number, reason) for the bad ones; blank lines are skipped."""
    records: list[tuple[int, Record]] = []
    bad: list[tuple[int, str]] = []
    ids: dict[str, int] = {}
    prompts: dict[str, tuple[int, str | None]] = {}
    for line, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            record = _record(_fields(raw))
            _check_new(record, ids, prompts)
        except _Bad as reason:
            bad.append((line, str(reason)))
            continue
        ids[record.id] = line
        prompts.setdefault(record.prompt, (line, record.group))
        records.append((line, record))
    return records, bad


def _check_new(record: Record, ids: dict[str, int], prompts: dict[str, tuple[int, str | None]]) -> None:
    first, group = prompts.get(record.prompt, (0, None))
    if record.id in ids:
        known = one_line(repr(record.id), 40)
        raise _Bad(f"duplicate id {known} (line {ids[record.id]} has it; without 'id' it comes from the prompt)")
    if first and (group is None or group != record.group):  # else a test problem could be one that was trained on
        raise _Bad(f"same prompt as line {first} under another id; give both lines the same 'group'")


def _fields(raw: bytes) -> dict[str, Any]:
    """The object on a line."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Bad(f"not UTF-8 (byte {error.start + 1})") from None
    try:
        value = json.loads(
            text,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_no_constant,
            object_pairs_hook=_no_repeats,
        )
    except _Bad:
        raise
    except json.JSONDecodeError as error:
        raise _Bad(f"not JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise _Bad("not JSON (nested too deeply)") from None
    if not isinstance(value, dict):
        raise _Bad(f"{_kind(value)}, not an object")
    return value


def _no_constant(name: str) -> None:
    raise _Bad(f"{name} is not a number in JSON")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Bad(f"field {_quoted(next(name for name in names if names.count(name) > 1))} is there twice")
    return fields


def _record(fields: dict[str, Any]) -> Record:
    _check_known(fields, _FIELDS, "field")
    prompt = _required(fields, "prompt")
    noisy, critique, correct = _noisy(fields)
    return Record(
        id=_label(fields, "id") or content_id("jsonl", prompt),
        prompt=prompt,
        answer=_answer(fields),
        group=_label(fields, "group"),
        cue_prompt=_optional(fields, "cue_prompt"),
        worked=_optional(fields, "worked"),
        noisy=noisy,
        critique=critique,
        noisy_correct=correct,
    )


def _check_known(fields: dict[str, Any], known: tuple[str, ...], kind: str) -> None:
    for name in fields:
        if name not in known:
            raise _Bad(f"unknown {kind} {_quoted(name)}.{did_you_mean(name, known)} Known: {', '.join(known)}")


def _noisy(fields: dict[str, Any]) -> tuple[str | None, str | None, bool | None]:
    value = fields.get("noisy")
    if not isinstance(value, dict):
        return _optional(fields, "noisy", "text or an object with text, critique and correct"), None, None
    _check_known(value, _NOISY_FIELDS, "field of 'noisy'")
    correct = value.get("correct")
    if not isinstance(correct, bool):
        raise _Bad(_wrong("noisy.correct", correct, "true or false"))
    return _required(value, "text", "noisy."), _required(value, "critique", "noisy."), correct


def _required(fields: dict[str, Any], name: str, place: str = "") -> str:
    if name not in fields:
        raise _Bad(f"'{place}{name}' is missing")
    return _text(fields[name], place + name)


def _optional(fields: dict[str, Any], name: str, expected: str = "text") -> str | None:
    """None stands for a field that is not there."""
    value = fields.get(name)
    return None if value is None else _text(value, name, expected)


def _text(value: Any, name: str, expected: str = "text") -> str:
    if not isinstance(value, str) or isinstance(value, _Number):
        raise _Bad(_wrong(name, value, expected))
    if not value.strip():
        raise _Bad(f"'{name}' is empty")
    return _encodable(value, name)


def _label(fields: dict[str, Any], name: str) -> str | None:
    """An id or a group: text or a whole number."""
    value = fields.get(name)
    if isinstance(value, _Number) and re.fullmatch(r"-?[0-9]{1,30}", value):
        return str(value)
    return None if value is None else _text(value, name, "text or a whole number")


def _answer(fields: dict[str, Any]) -> str:
    """Text or a number; `1e3` is written out."""
    value = fields.get("answer")
    if not isinstance(value, _Number):
        return _required(fields, "answer")
    exponent = re.search(r"[eE]([-+]?[0-9]+)$", value)
    if exponent is None:
        return str(value)
    if len(exponent[1]) > 4 or abs(int(exponent[1])) > _EXPONENT:
        raise _Bad(f"'answer' is {one_line(value, 40)}; expected a power of ten of at most {_EXPONENT}")
    return format(Decimal(value), "f")


def _encodable(value: str, name: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _Bad(f"'{name}' holds half a character (a lone surrogate)") from None
    return value


def _wrong(name: str, value: Any, expected: str) -> str:
    return f"'{name}' is {_kind(value)}; expected {expected}"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Number):
        return f"the number {one_line(value, 30)}"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else "text"


def _quoted(name: str) -> str:
    return one_line(ascii(name), 40)
