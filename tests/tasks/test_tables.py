# ruff: noqa: E501 - tables
"""What the cells of a table mean, whatever file they stand in, and what is said of a file that is something else."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.errors import ElicitError
from elicit.tasks import get
from elicit.tasks.datasets.arrow_cells import iter_arrow_rows
from elicit.tasks.datasets.records import FIELDS
from elicit.tasks.jsonl_fields import BadLine
from tests.tasks.test_datasets import message

ROWS = [{"prompt": f"What is number {i}?", "answer": str(i)} for i in range(4)]
QUESTIONS = [row["prompt"] for row in ROWS]


def stored(folder: Path, answers: pyarrow.Array, ending: str) -> str:
    table = pyarrow.table({"prompt": QUESTIONS[: len(answers)], "answer": answers})
    path = folder / f"t.{ending}"
    if ending == "parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.ipc.new_file(str(path), table.schema) as file:
            file.write_table(table)
    return str(path)


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_numbers_are_those_that_were_stored(tmp_path: Path, ending: str) -> None:
    for answers, expected in [
        (pyarrow.array([0.1, 2.5, 3.3, 7.0], pyarrow.float32()), "0.1 2.5 3.3 7"),
        (pyarrow.array(np.array([0.1, 2.5, 3.3, 7.0], np.float16)), "0.1 2.5 3.3 7"),
        (pyarrow.array([0.1, 1e16, -2.5e-7, 7.0]), "0.1 10000000000000000 -0.00000025 7"),
        (pyarrow.array([2**63, 1, 2, 3], pyarrow.uint64()), "9223372036854775808 1 2 3"),
        (pyarrow.array([decimal.Decimal("12.50"), decimal.Decimal("-1"), decimal.Decimal("0"), decimal.Decimal("7")]), "12.5 -1 0 7"),
        (pyarrow.array(["½", "1e3", "–4", "a"]).dictionary_encode(), "0.5 1000 -4 a"),
        (pyarrow.array([datetime.date(2020, 1, day) for day in (1, 2, 3, 4)]), "2020-01-01 2020-01-02 2020-01-03 2020-01-04"),
    ]:  # fmt: skip
        task = get("dataset", path=stored(tmp_path, answers, ending))
        by_prompt = {record.prompt: task.format.make_reader(record).gold for record in task.records}
        assert " ".join(by_prompt[question] for question in QUESTIONS) == expected


@settings(max_examples=100, deadline=None)
@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(width=16, allow_nan=False, allow_infinity=False),
)
def test_floats_read_back_as_themselves(single: float, half: float) -> None:
    table = pyarrow.table({"s": pyarrow.array([single], pyarrow.float32()), "h": pyarrow.array(np.array([half], np.float16)),
                           "n": pyarrow.array([{"x": [single]}], pyarrow.struct({"x": pyarrow.list_(pyarrow.float32())}))})  # fmt: skip
    [(_, cells)] = iter_arrow_rows(table)
    assert isinstance(cells, dict)
    assert np.float32(cells["s"]) == np.float32(single)
    assert np.float16(cells["h"]) == np.float16(half)
    assert cells["n"]["x"][0] == cells["s"]
    assert len(cells["s"].replace("-", "")) <= 15


def test_what_is_no_number_names_its_row(tmp_path: Path) -> None:
    odd = pyarrow.array([0.1, float("nan"), 3.0, float("-inf")])
    for path in (stored(tmp_path, odd, "parquet"), stored(tmp_path, odd.cast(pyarrow.float32()), "arrow")):
        said = message(path=path)
        assert "row 2: column 'answer' is NaN, which is not a number; row 4: column 'answer' is infinite" in said
    (tmp_path / "n.json").write_text(
        json.dumps([ROWS[0], {**ROWS[1], "answer": float("nan")}, {**ROWS[2], "answer": {"a": [float("inf")]}}])
    )
    said = message(path=str(tmp_path / "n.json"))
    assert "row 2: NaN is not a number in JSON; row 3: Infinity is not a number in JSON" in said
    (tmp_path / "n.json").write_text('[{"prompt":"a?","answer":"1"},{"prompt":"b?","answer":"1","answer":"2"}]')
    assert "row 2: field 'answer' is there twice" in message(path=str(tmp_path / "n.json"))
    (tmp_path / "n.json").write_text('[{"prompt":"b?","answer":"1","answer":"2"}]')
    assert "field 'answer' is there twice" in message(path=str(tmp_path / "n.json"))
    (tmp_path / "n.json").write_text('{"data": [], "data": [{"prompt": "a?", "answer": "1"}]}')
    assert "field 'data' is there twice" in message(path=str(tmp_path / "n.json"))


def test_text_that_is_not_utf_8_and_bytes_name_their_row(tmp_path: Path) -> None:
    raw = pyarrow.array([b"1", b"\xff2", b"3"], pyarrow.binary())
    broken = pyarrow.Array.from_buffers(pyarrow.string(), 3, raw.buffers())
    for answers, reason in [
        (broken, "row 2: column 'answer' is not UTF-8 (byte 1)"),
        (raw, "column 'answer' holds bytes, not text"),
    ]:
        for ending in ("parquet", "arrow"):
            assert reason in message(path=stored(tmp_path, answers, ending))
    far = pyarrow.array([2**62, 0, 1], pyarrow.timestamp("s"))
    assert "holds a timestamp[s] that cannot be read" in message(path=stored(tmp_path, far, "arrow"))
    [(_, row)] = iter_arrow_rows(
        pyarrow.table({"a": pyarrow.Array.from_buffers(pyarrow.string(), 3, raw.buffers()).slice(1, 1)})
    )
    assert isinstance(row, BadLine)


LINES = "\n".join(map(json.dumps, ROWS))
UNREADABLE: list[tuple[str, bytes, str]] = [
    ("a.jsonl", json.dumps(ROWS, indent=2).encode(), "is one JSON document, not one object a line; call it .json"),
    ("a.jsonl", json.dumps({"data": ROWS}, indent=1).encode(), "is one JSON document"),
    ("a.jsonl", LINES.encode("utf-16"), "is UTF-16; save it as UTF-8"),
    ("a.jsonl", LINES.encode("utf-16-le"), "is UTF-16; save it as UTF-8"),
    ("a.json", json.dumps(ROWS).encode("utf-16-be"), "is UTF-16; save it as UTF-8"),
    ("a.csv", "prompt,answer\nq?,1\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
    ("a.jsonl", gzip.compress(LINES.encode()), "is compressed (gzip); unpack it first"),
    ("a.csv", b"PK\x03\x04rest", "is a zip archive or a spreadsheet"),
    ("a.jsonl", b"<!DOCTYPE html><html>", "is a web page, not data"),
    ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid", "is a pointer of Git LFS"),
    ("a.jsonl", b"prompt,answer\nq?,1\n", "line 1: not JSON (Expecting value at column 1), and so is every one of its 2 lines"),
    ("a.csv", b"prompt;answer\nq?;1\n", "its columns are separated by ';'; save it with commas."),
    ("a.csv", b"prompt\tanswer\nq?\t1\n", "its columns are separated by tabs; call it .tsv."),
    ("a.tsv", b"prompt,answer\nq?,1\n", "its columns are separated by commas; call it .csv."),
    ("a.json", json.dumps({"a": ROWS, "b": ROWS}).encode(), "holds several lists ('a', 'b'); expected one list of problems"),
    ("a.json", b'["x", "y"]', "none of its 2 rows can be read: row 1: not an object"),
    ("a.json", LINES.encode(), "is not JSON: Extra data"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "reason"), UNREADABLE, ids=range(len(UNREADABLE)))
def test_a_file_that_is_something_else_is_named(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    tasks = ["dataset", "jsonl"] if name.endswith("jsonl") else ["dataset"]
    for task in tasks:
        assert reason in message(task, path=str(tmp_path / name))


def test_readable_files_that_were_refused(tmp_path: Path) -> None:
    expected = get("dataset", path=_put(tmp_path / "a.jsonl", LINES.encode())).records
    for name, data in [
        ("cr.jsonl", LINES.replace("\n", "\r").encode()),
        ("crlf.jsonl", b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n").encode()),
        ("two.json", json.dumps({"authors": ["a"], "data": ROWS}).encode()),
    ]:
        assert get("dataset", path=_put(tmp_path / name, data)).records == expected


def _put(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def test_columns_with_dots_and_nested_columns(tmp_path: Path) -> None:
    """`meta.question` is the column of that name where there is one, else what it holds in `meta`."""
    flat = [{"meta.question": row["prompt"], "meta.answer": row["answer"], "meta": "x"} for row in ROWS]
    nested = [{"meta": {"question": row["prompt"], "inner.answer": [{"text": row["answer"]}]}} for row in ROWS]
    mixed = [{"a.b": {"question": row["prompt"]}, "answer": row["answer"]} for row in ROWS]
    for name, rows, columns in [
        ("flat", flat, {"prompt": "meta.question", "answer": "meta.answer"}),
        ("nested", [{"meta": {**row["meta"], "answer": row["meta"]["inner.answer"]}} for row in nested], {"prompt": "meta.question", "answer": "meta.answer[0].text"}),
        ("mixed", mixed, {"prompt": "{a.b.question}", "answer": "answer"}),
    ]:  # fmt: skip
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet")
        _put(tmp_path / f"{name}.jsonl", "\n".join(map(json.dumps, rows)).encode())
        for ending in ("parquet", "jsonl"):
            records = get("dataset", path=str(tmp_path / f"{name}.{ending}"), columns=columns).records
            assert {record.prompt: record.answer for record in records} == {
                row["prompt"]: row["answer"] for row in ROWS
            }


def choices(tmp_path: Path, answers: list[Any], options: list[Any] | None = None, **more: Any) -> list[str]:
    rows = [
        {"question": f"q{i}?", "choices": options or ["w", "x", "y", "z"], "answer": answer}
        for i, answer in enumerate(answers)
    ]
    path = _put(tmp_path / "c.jsonl", "\n".join(map(json.dumps, rows)).encode())
    task = get("dataset", path=path, format="choice", **more)
    return [record.answer for record in sorted(task.records, key=lambda record: record.prompt)]


def test_places_of_choices_are_counted_as_the_table_counts(tmp_path: Path) -> None:
    assert choices(tmp_path, ["0", "1", "2", "3"]) == ["A", "B", "C", "D"]
    assert choices(tmp_path, [3, 0, 1]) == ["D", "A", "B"]
    for answers in ([1, 2, 3, 4], ["1", "2", "3", "4"], [2, 1, 3]):
        for drop in ([], ["unusable"]):
            with pytest.raises(ElicitError, match=r"never 0, so they may be counted from 1\. Type: count_from: 1"):
                choices(tmp_path, answers, drop=drop)
        right = ["ABCD"[int(answer) - 1] for answer in answers]
        assert choices(tmp_path, answers, count_from=1) == right
    assert choices(tmp_path, [2, 1, 3], count_from=0) == ["C", "B", "D"]
    with pytest.raises(ElicitError, match="'answer' is 0, which is not a position among 4 options"):
        choices(tmp_path, [0, 1], count_from=1)
    with pytest.raises(ElicitError, match="count_from is 2; expected 0 or 1"):
        choices(tmp_path, [0, 1], count_from=2)
    with pytest.raises(ElicitError, match="count_from is for format: choice"):
        get("dataset", path=str(tmp_path / "c.jsonl"), count_from=1)


def test_options_that_are_numbers_are_not_taken_for_places(tmp_path: Path) -> None:
    assert choices(tmp_path, ["3", "5"], ["3", "4", "5", "6"]) == ["A", "C"]
    with pytest.raises(ElicitError, match="'answer' is 3, which is an option and may be the position of another"):
        choices(tmp_path, [0, 3], [3, 4, 5, 6])
    assert choices(tmp_path, [0, 3], [3, 4, 5, 6], count_from=0) == ["A", "D"]


def test_the_cause_that_datasets_gives_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed" / "data"
    folder.mkdir(parents=True)
    for number, more in enumerate(({}, {"extra": [1]})):
        table = pyarrow.table({"question": [f"{number}?"], "answer": ["#### 1"], **more})
        pyarrow.parquet.write_table(table, folder / f"test-0000{number}-of-00002.parquet")
    with caplog.at_level(logging.ERROR):
        assert "column names don't match" in message("gsm8k", path=str(tmp_path / "mixed"))
    assert "Failed to read" not in capfd.readouterr().err


def test_the_documents_example_has_every_field(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "guides" / "your-data.md").read_text(encoding="utf-8")
    example = json.loads(text.split("### The fields of a problem")[1].split("```json")[1].split("```")[0])
    assert set(example) == set(FIELDS)
    path = _put(tmp_path / "example.jsonl", json.dumps(example).encode())
    [record] = get("jsonl", path=path).records
    assert record.critique == example["noisy"]["critique"]
    assert all(f"| `{field}` |" in text for field in (*FIELDS, "choices"))
