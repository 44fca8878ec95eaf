"""Records: the problems of a table. Every row becomes a record, or a reason why it cannot.

Nothing is repaired: an unknown field, a duplicate or a NaN rejects the row. Numbers stay text, as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from elicit.errors import one_line
from elicit.tasks.core import Split, content_id
from elicit.tasks.jsonl_fields import (
    BadLine,
    Number,
    check_known,
    describe_wrong_type,
    optional_text,
    parse_identifier,
    require_text,
)

FIELDS = ("prompt", "answer", "id", "group", "cue_prompt", "worked", "theorem", "noisy")
_NOISY_FIELDS = ("text", "critique", "correct")
#: Largest power of ten of a number.
_EXPONENT = 50


class ProblemRecord(NamedTuple):
    """One row after validation. `id` comes first: it is unique, so records sort by it."""

    id: str
    prompt: str
    answer: str
    group: str | None = None
    cue_prompt: str | None = None
    worked: str | None = None
    theorem: str | None = None
    noisy: str | None = None
    critique: str | None = None
    noisy_correct: bool | None = None
    choices: tuple[str, ...] = ()
    """Texts of the options, if the problem has any."""
    split: Split | None = None
    """Split from the source; None: by the hash of the group or id."""


def parse_record(fields: dict[str, Any]) -> ProblemRecord:
    """Record made of one row's fields. Raises BadLine."""
    check_known(fields, FIELDS, "field")
    prompt = require_text(fields, "prompt")
    noisy, critique, correct = _parse_noisy(fields)
    return ProblemRecord(
        id=parse_identifier(fields, "id") or content_id("jsonl", prompt),
        prompt=prompt,
        answer=_parse_answer_field(fields),
        group=parse_identifier(fields, "group"),
        cue_prompt=optional_text(fields, "cue_prompt"),
        worked=optional_text(fields, "worked"),
        theorem=optional_text(fields, "theorem"),
        noisy=noisy,
        critique=critique,
        noisy_correct=correct,
    )


def _parse_noisy(fields: dict[str, Any]) -> tuple[str | None, str | None, bool | None]:
    value = fields.get("noisy")
    if not isinstance(value, dict):
        return optional_text(fields, "noisy", "text or an object with text, critique and correct"), None, None
    check_known(value, _NOISY_FIELDS, "field of 'noisy'")
    correct = value.get("correct")
    if not isinstance(correct, bool):
        raise BadLine(describe_wrong_type("noisy.correct", correct, "true or false"))
    return require_text(value, "text", "noisy."), require_text(value, "critique", "noisy."), correct


def _parse_answer_field(fields: dict[str, Any]) -> str:
    """Answer as text, from text or a number; `1e3` is written out."""
    value = fields.get("answer")
    if not isinstance(value, Number):
        return require_text(fields, "answer")
    exponent = re.search(r"[eE]([-+]?[0-9]+)$", value)
    if exponent is None:
        return str(value)
    if len(exponent[1]) > 4 or abs(int(exponent[1])) > _EXPONENT:
        raise BadLine(f"'answer' is {one_line(value, 40)}; expected a power of ten of at most {_EXPONENT}")
    return format(Decimal(value), "f")


def check_new_id(record: ProblemRecord, ids: Mapping[str, str]) -> None:
    """Raise BadLine if another row (`ids`: id -> location) has the record's id."""
    if record.id in ids:
        known = one_line(repr(record.id), 40)
        raise BadLine(f"duplicate id {known} ({ids[record.id]} has it; without 'id' it comes from the prompt)")
