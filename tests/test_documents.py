"""Documents: what json itself reads is read alike, and each kind of damage is one line with the file and the field."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elicit import documents
from elicit.errors import ElicitError


@dataclass(frozen=True)
class Part:
    """A record with every kind of field that ours have."""

    name: str
    size: int = 1
    share: float = 0.5
    names: tuple[str, ...] = ()
    mode: Literal["a", "b"] = "a"
    more: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ElicitError(f"part: size is {self.size}; expected 0 or more.")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


@given(VALUES, st.booleans())
def test_what_json_writes_is_read_alike(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert documents.parse_json(text.encode(), "here") == value


DAMAGED = {
    "empty": b"",
    "cut": b'{"name": "x"',
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "half a character": b'{"name": "\\ud800"}',
    "half a character in a key": b'{"name": "x", "more": {"\\uDC00": 1}}',
    "deep lists": b"[" * 100_000,
    "deep and whole": b"[" * 900 + b"]" * 900,
    "just too deep": b'{"a":' * 101 + b"1" + b"}" * 101,
    "NaN": b'{"name": "x", "share": NaN}',
    "infinity": b'{"name": "x", "share": -Infinity}',
    "beyond a float": b'{"name": "x", "share": 1e999}',
    "a number of 10,000 digits": b'{"name": "x", "size": ' + b"9" * 10_000 + b"}",
    "a key given twice": b'{"name": "x", "name": "y"}',
    "two documents": b'{"name": "x"}{"name": "y"}',
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_one_line_with_the_file(tmp_path: Path, case: str) -> None:
    path = tmp_path / "part.json"
    path.write_bytes(DAMAGED[case])
    with pytest.raises(ElicitError) as caught:
        documents.read_record(path, Part)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 260


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none", "is missing"), (tmp_path, "is not a file")):
        with pytest.raises(ElicitError, match=said):
            documents.read_json(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ElicitError, match="is not a file"):  # it would be waited for without end
        documents.read_json(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(documents.MAX_BYTES + 1)
    with pytest.raises(ElicitError, match="at most"):
        documents.read_json(tmp_path / "large")


def test_depth_and_pairs_of_surrogates_that_are_fine() -> None:
    deep = b"[" * documents.MAX_DEPTH + b"]" * documents.MAX_DEPTH
    assert documents.parse_json(deep, "here")
    assert documents.parse_json(b'"\\ud83d\\ude00"', "here") == "\N{GRINNING FACE}"
    assert documents.parse_json(b"\xef\xbb\xbf[1]", "here") == [1]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({}, "name is missing"),
        ({"name": 3}, "name: "),
        ({"name": "x", "size": "1"}, "size: "),
        ({"name": "x", "size": True}, "size: "),
        ({"name": "x", "size": 1.5}, "size: "),
        ({"name": "x", "share": None}, "share: "),
        ({"name": "x", "names": "abc"}, "names: "),
        ({"name": "x", "names": ["a", 1]}, "names.1: "),
        ({"name": "x", "mode": "c"}, "mode: "),
        ({"name": "x", "colour": "red"}, "unknown field colour"),
        ({"name": "x", "size": -1}, "part: size is -1"),
        ([], "JSON|object|dict"),
    ],
)
def test_a_record_of_another_shape_names_the_field(value: Any, field: str) -> None:
    with pytest.raises(ElicitError, match=rf"^part\.json: .*({field})"):
        documents.as_record(value, Part, "part.json")


def test_a_record_is_read() -> None:
    value = {"name": "x", "size": 10**30, "share": 1, "names": ["a"], "mode": "b", "more": {"k": [1, {}]}}
    assert documents.as_record(value, Part, "here") == Part("x", 10**30, 1.0, ("a",), "b", {"k": [1, {}]})
