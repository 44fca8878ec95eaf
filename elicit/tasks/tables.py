"""Tables of problems from files: JSON lines, JSON, CSV, TSV, parquet and arrow. Folders and hub ids: `folders`.

A table says its columns before it reads its rows, so that a missing column is one clear line, and only the columns that
are asked for are read.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from elicit.errors import ElicitError, one_line
from elicit.tasks.lines import BadLine, Number, content, fields_of, numbered

#: (place as a person finds it, the row's cells or the reason why it has none)
Row = tuple[str, dict[str, Any] | BadLine]
KIND = "dataset"


class Table(NamedTuple):
    """One split of a dataset, or a file."""

    where: str
    """For messages."""
    columns: list[str]
    rows: Callable[[Sequence[str]], Iterable[Row]]
    """The rows with (at least) these columns."""


def of_file(file: Path) -> Table:
    """The table in a file, by its ending.

    Raises:
        ElicitError: unknown ending, or a file that cannot be read as what it is called.
    """
    where = f"{KIND} {one_line(repr(str(file)), 200)}"
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        known = ", ".join(sorted(READERS))
        raise ElicitError(f"{where}: files that end in {file.suffix or 'nothing'!r} are not read. Known: {known}.")
    return reader(file, where)


def of_lines(file: Path, where: str, kind: str = KIND) -> Table:
    """The table of a file of JSON lines."""
    rows: list[Row] = []
    for line, raw in numbered(content(file, kind)):
        try:
            rows.append((f"line {line}", fields_of(raw)))
        except BadLine as reason:
            rows.append((f"line {line}", reason))
    return _held(where, rows)


def _json(file: Path, where: str) -> Table:
    """A list of objects, or an object that holds one list of them under any name."""
    try:
        document = json.loads(content(file, KIND).decode("utf-8-sig"), parse_int=Number, parse_float=Number)
    except (ValueError, RecursionError) as error:
        raise ElicitError(f"{where} is not JSON: {one_line(error, 120)}. Is it JSON lines? Call it .jsonl.") from None
    lists = [document] if isinstance(document, list) else []
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
    if len(lists) != 1:
        raise ElicitError(f"{where} holds no list of problems; expected [{{...}}, {{...}}], or JSON lines in a .jsonl.")
    bad = BadLine("not an object")
    return _held(where, [(f"row {i}", row if isinstance(row, dict) else bad) for i, row in enumerate(lists[0], 1)])


def _separated(separator: str) -> Callable[[Path, str], Table]:
    def read(file: Path, where: str) -> Table:
        try:
            text = content(file, KIND).decode("utf-8-sig")
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
            header, *body = [cells for cells in lines if cells] or [[]]
        except UnicodeDecodeError as error:
            raise ElicitError(f"{where} is not UTF-8 (byte {error.start + 1}).") from None
        except csv.Error as error:
            raise ElicitError(f"{where} cannot be read as separated values: {one_line(error, 120)}.") from None
        if len(set(header)) < len(header):
            raise ElicitError(f"{where}: two columns have the same name: {one_line(', '.join(header), 120)}.")
        rows: list[Row] = []
        for number, cells in enumerate(body, 1):
            wrong = BadLine(f"{len(cells)} cells under {len(header)} columns") if len(cells) != len(header) else None
            rows.append(
                (f"row {number}", wrong or {name: cell or None for name, cell in zip(header, cells, strict=True)})
            )
        return Table(where, list(header), lambda columns: rows)

    return read


def _held(where: str, rows: list[Row]) -> Table:
    columns = dict.fromkeys(name for _, cells in rows if isinstance(cells, dict) for name in cells)
    return Table(where, list(columns), lambda _: rows)


def _parquet(file: Path, where: str) -> Table:
    import pyarrow.parquet

    def rows(columns: Sequence[str]) -> Iterator[Row]:
        with _clear(where):
            table = pyarrow.parquet.read_table(file, columns=list(columns))
        yield from placed(table.to_pylist())

    with _clear(where):
        return Table(where, list(pyarrow.parquet.read_schema(file).names), rows)


def _arrow(file: Path, where: str) -> Table:
    import pyarrow

    with _clear(where):
        try:
            table = pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))).read_all()
        except pyarrow.ArrowInvalid:
            table = pyarrow.ipc.open_file(pyarrow.memory_map(str(file))).read_all()
    return Table(where, list(table.column_names), lambda columns: placed(table.select(list(columns)).to_pylist()))


class _clear:
    """Whatever pyarrow says about a damaged file becomes one line."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import pyarrow

        if isinstance(error, OSError | pyarrow.ArrowException):
            raise ElicitError(f"{self.where} cannot be read: {one_line(error, 160)}") from None


def placed(rows: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """Rows with their numbers, from 1."""
    for number, row in enumerate(rows, 1):
        yield f"row {number}", row


READERS: dict[str, Callable[[Path, str], Table]] = {
    ".jsonl": of_lines,
    ".ndjson": of_lines,
    ".json": _json,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
    ".arrow": _arrow,
}
