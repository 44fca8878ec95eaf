"""Mapping from the columns of a table to the fields of a problem.

    columns: {prompt: question, answer: final}           a column
    columns: {prompt: meta.question, answer: choices[0]}  inside a nested one
    columns: {prompt: "{passage}\\n\\n{question}"}          a text with columns in it

A chat (a list of messages with `role` and `content`) as a prompt stands for its last user turn.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any

from elicit.errors import ElicitError, did_you_mean, one_line
from elicit.tasks.jsonl_fields import BadLine, quote_name

_PLACE = re.compile(r"[^{}\[\].]+(?:\[-?[0-9]{1,6}\]|\.[^{}\[\].]+)*")
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_STEP = re.compile(r"\[(-?[0-9]+)\]|\.?([^\[\].]+)")
_GUESSES = {
    "prompt": ("prompt", "question", "problem", "input", "query", "instruction", "text"),
    "answer": ("answer", "final_answer", "target", "label", "output", "solution", "response"),
}


def check_columns(task: str, columns: object, fields: tuple[str, ...]) -> dict[str, str]:
    """A user's column mapping after validation. Raises ElicitError."""
    if not isinstance(columns, Mapping) or not all(isinstance(part, str) for pair in columns.items() for part in pair):
        value_text = one_line(repr(columns), 80)
        raise ElicitError(f"task {task!r}: columns is {value_text}; expected a mapping such as {{prompt: question}}.")
    for field, source in columns.items():
        if field not in fields:
            raise ElicitError(
                f"task {task!r}: columns: unknown field {quote_name(field)}.{did_you_mean(field, fields)} "
                f"Known: {', '.join(fields)}. Write FIELD: COLUMN, such as prompt: question."
            )
        stray = set(_PART.sub("", source)) & {"{", "}"}
        for path in list_column_paths(source):
            if stray or not _PLACE.fullmatch(path):
                raise ElicitError(
                    f"task {task!r}: columns: {field} is {one_line(repr(source), 80)}; expected a column (question), a "
                    "place in one (meta.question, choices[0]) or a text with columns in braces ({{ and }} for braces)."
                )
    return dict(columns)


def list_column_paths(source: str) -> list[str]:
    """Columns that a mapping's value refers to, with their nested parts."""
    if "{" not in source and "}" not in source:
        return [source]
    return [match[1] for match in _PART.finditer(source) if match[1] is not None] or [""]


def list_top_columns(columns: Mapping[str, str], exist: Iterable[str]) -> list[str]:
    """Top-level columns that a mapping reads, each once; a column's name may contain dots."""
    known = set(exist)
    return list(
        dict.fromkeys(_top_column(path, known) for source in columns.values() for path in list_column_paths(source))
    )


def _top_column(path: str, known: Container[str]) -> str:
    """Longest prefix of a path that is a column, else the part before its first dot or bracket."""
    ends = [len(path), *(match.start() for match in reversed(list(re.finditer(r"[.\[]", path))))]
    return next((path[:end] for end in ends if path[:end] in known), path[: ends[-1]])


def check_table(where: str, columns: Mapping[str, str], exist: Iterable[str], *, plain: bool) -> None:
    """Raise ElicitError if the table lacks a column that the mapping names.

    Args:
        plain: True if the user gave no mapping, so columns must have the fields' names.
    """
    known = list(exist)
    if not known:
        raise ElicitError(f"{where} is empty; expected one problem a row.")
    for column in list_top_columns(columns, known):
        if column in known:
            continue
        listed = ", ".join(one_line(name, 40) for name in known[:20]) + (", …" if len(known) > 20 else "")
        guess = {field: next((name for name in names if name in known), "COLUMN") for field, names in _GUESSES.items()}
        suggestion = ", ".join(f"{field}: {name}" for field, name in guess.items())
        advice = f" Type: columns: {{{suggestion}}}" if plain else ""
        raise ElicitError(
            f"{where}: no column {quote_name(column)}.{did_you_mean(column, known)} Columns: "
            f"{listed or '(none)'}.{advice}"
        )


def map_row(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Fields of one row; a field whose column is empty (null) is left out. Raises BadLine."""
    fields = {field: _map_cell(row, source) for field, source in columns.items()}
    return {field: value for field, value in fields.items() if value is not None}


def _map_cell(row: Mapping[str, Any], source: str) -> Any:
    if "{" not in source and "}" not in source:
        return simplify_cell(_resolve_path(row, source))

    def substitute_column(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        value = simplify_cell(_resolve_path(row, match[1]))
        if value is None:
            raise BadLine(f"column {quote_name(match[1])} is empty")
        if not isinstance(value, str | bool):
            raise BadLine(f"column {quote_name(match[1])} is not text or a number, so it cannot stand in a text")
        return str(value).lower() if isinstance(value, bool) else str(value)

    return _PART.sub(substitute_column, source)


def _resolve_path(row: Mapping[str, Any], path: str) -> Any:
    top = _top_column(path, row)
    steps: list[str | int] = [int(index) if index else key for index, key in _STEP.findall(path[len(top) :])]
    value: Any = row
    for step in [top, *steps]:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            raise BadLine(f"{quote_name(path)} is missing") from None
        if value is None:
            return None
    return value


def simplify_cell(value: Any) -> Any:
    """A cell in the form that the record reader takes: numbers as written, a chat as its last user turn."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return extract_last_question(value) if value and all(_is_message(item) for item in value) else list(value)
    return value if isinstance(value, dict) else str(value)


def _is_message(item: Any) -> bool:
    return isinstance(item, Mapping) and "role" in item and "content" in item


def extract_last_question(messages: Iterable[Mapping[str, Any]]) -> str:
    """Last user turn of a chat. Raises BadLine if there is none, or if earlier turns would be lost."""
    turns = [message for message in messages if message["role"] in ("user", "assistant")]
    user_indices = [index for index, turn in enumerate(turns) if turn["role"] == "user"]
    if not user_indices:
        raise BadLine("the chat has no user turn")
    content = turns[user_indices[-1]]["content"]
    if not isinstance(content, str):
        raise BadLine("the chat's last user turn is not text")
    if len(user_indices) > 1:
        raise BadLine(f"the chat has {len(user_indices)} user turns; expected one question")
    return content
