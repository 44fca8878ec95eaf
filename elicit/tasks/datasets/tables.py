"""Tables of problems from files: JSON lines, JSON, CSV, TSV, parquet and arrow. Folders and hub ids: `folders`.

A table lists its columns before it reads its rows, so that a missing column is one clear error, and only the requested
columns are read.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from elicit.errors import ElicitError, one_line
from elicit.tasks.datasets import file_diagnosis
from elicit.tasks.jsonl_fields import (
    BadLine,
    Number,
    Row,
    check_no_repeats,
    number_lines,
    parse_fields,
    read_file_bytes,
)

KIND = "dataset"


class Table(NamedTuple):
    """One split of a dataset, or a file."""

    where: str
    """Location for messages."""
    columns: list[str]
    rows: Callable[[Sequence[str]], Iterable[Row]]
    """Rows with (at least) these columns."""


def read_table(file: Path) -> Table:
    """Table of a file, by its ending.

    Raises:
        ElicitError: unknown ending, or contents that do not match it.
    """
    where = f"{KIND} {one_line(repr(str(file)), 200)}"
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        known = ", ".join(sorted(READERS))
        raise ElicitError(f"{where}: {file_diagnosis.explain_unknown_ending(file.suffix)}. Known: {known}.")
    return reader(file, where)


def read_jsonl_table(file: Path, where: str, kind: str = KIND) -> Table:
    """Table of a JSON lines file.

    Raises:
        ElicitError: not a single line can be read; the message gives the cause.
    """
    data = read_text_bytes(file, where, kind)
    rows: list[Row] = []
    for line, raw in number_lines(data):
        try:
            rows.append((f"line {line}", parse_fields(raw)))
        except BadLine as reason:
            rows.append((f"line {line}", reason))
    bad = [(location, row) for location, row in rows if isinstance(row, BadLine)]
    if bad and len(bad) == len(rows) and (len(rows) > 1 or kind == KIND):
        raise ElicitError(f"{where} {file_diagnosis.explain_unreadable_lines(data, bad)}.")
    return _table_from_rows(where, rows)


def read_text_bytes(file: Path, where: str, kind: str = KIND) -> bytes:
    """Bytes of a text file. Raises ElicitError for any other type of file."""
    data = read_file_bytes(file, kind)
    if cause := file_diagnosis.explain_wrong_type(data):
        raise ElicitError(f"{where} {cause}.")
    return data


def _read_json_table(file: Path, where: str) -> Table:
    """Table of a JSON file: a list of objects, or an object that holds one list of them under any name."""
    try:
        document = json.loads(
            read_text_bytes(file, where).decode("utf-8-sig"),
            parse_int=Number,
            parse_float=Number,
            parse_constant=_InvalidJson.from_constant,
            object_pairs_hook=_InvalidJson.from_pairs,
        )
    except UnicodeDecodeError as error:
        raise ElicitError(f"{where} is not UTF-8 (byte {error.start + 1}).") from None
    except (ValueError, RecursionError) as error:
        raise ElicitError(f"{where} is not JSON: {one_line(error, 120)}. Is it JSON lines? Call it .jsonl.") from None
    if isinstance(document, _InvalidJson):
        raise ElicitError(f"{where}: {document.reason}.")
    rows = document if isinstance(document, list) else None
    if isinstance(document, dict):
        lists = {name: value for name, value in document.items() if isinstance(value, list)}
        candidates = [
            name for name, value in lists.items() if all(isinstance(row, dict | _InvalidJson) for row in value)
        ]
        if len(lists) > 1 and len(candidates) != 1:
            names = one_line(", ".join(map(repr, lists)), 120)
            raise ElicitError(f"{where} holds several lists ({names}); expected one list of problems: [{{...}}, ...].")
        rows = lists[candidates[0]] if candidates else next(iter(lists.values()), None)
    if rows is None:
        raise ElicitError(f"{where} is not a list of problems; expected [{{...}}, {{...}}], or JSON lines in a .jsonl.")
    placed: list[Row] = [(f"row {i}", _check_object(row)) for i, row in enumerate(rows, 1)]
    if placed and all(isinstance(row, BadLine) for _, row in placed):
        listing = "; ".join(f"{location}: {reason}" for location, reason in placed[:3])
        raise ElicitError(f"{where}: none of its {len(placed)} rows can be read: {one_line(listing, 300)}.")
    return _table_from_rows(where, placed)


class _InvalidJson(NamedTuple):
    """Placeholder for a value that is not JSON, so that the error can name its row."""

    reason: str

    @staticmethod
    def from_constant(name: str) -> _InvalidJson:
        return _InvalidJson(f"{name} is not a number in JSON")

    @staticmethod
    def from_pairs(pairs: list[tuple[str, Any]]) -> Any:
        try:
            return check_no_repeats(pairs)
        except BadLine as reason:
            return _InvalidJson(str(reason))


def _check_object(row: Any) -> dict[str, Any] | BadLine:
    if isinstance(row, dict | _InvalidJson):
        try:
            reason = _first_invalid_reason(row)
        except RecursionError:
            return BadLine("nested too deeply")
        return row if reason is None and isinstance(row, dict) else BadLine(reason or "")
    return BadLine("not an object")


def _first_invalid_reason(value: Any) -> str | None:
    """First value inside `value` that is not JSON."""
    if isinstance(value, _InvalidJson):
        return value.reason
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((reason for reason in map(_first_invalid_reason, inner) if reason is not None), None)


def _make_csv_reader(separator: str) -> Callable[[Path, str], Table]:
    def read_csv_table(file: Path, where: str) -> Table:
        try:
            text = read_text_bytes(file, where).decode("utf-8-sig")
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
            header, *body = [cells for cells in lines if cells] or [[]]
        except UnicodeDecodeError as error:
            raise ElicitError(f"{where} is not UTF-8 (byte {error.start + 1}).") from None
        except csv.Error as error:
            raise ElicitError(f"{where} cannot be read as separated values: {one_line(error, 120)}.") from None
        other = next((sign for sign in ";\t|," if sign != separator and sign in "".join(header)), None)
        if len(header) == 1 and other is not None:
            kind = "tabs; call it .tsv" if other == "\t" else "commas; call it .csv" if other == "," else f"{other!r}"
            tail = "" if other in "\t," else "; save it with commas"
            raise ElicitError(f"{where}: its columns are separated by {kind}{tail}.")
        if len(set(header)) < len(header):
            raise ElicitError(f"{where}: two columns have the same name: {one_line(', '.join(header), 120)}.")
        rows: list[Row] = []
        for number, cells in enumerate(body, 1):
            wrong = BadLine(f"{len(cells)} cells under {len(header)} columns") if len(cells) != len(header) else None
            rows.append(
                (f"row {number}", wrong or {name: cell or None for name, cell in zip(header, cells, strict=True)})
            )
        return Table(where, list(header), lambda columns: rows)

    return read_csv_table


def _table_from_rows(where: str, rows: list[Row]) -> Table:
    columns = dict.fromkeys(name for _, cells in rows if isinstance(cells, dict) for name in cells)
    return Table(where, list(columns), lambda _: rows)


def _read_parquet_table(file: Path, where: str) -> Table:
    import pyarrow.parquet

    def iter_rows(columns: Sequence[str]) -> Iterator[Row]:
        from elicit.tasks.datasets.arrow_cells import iter_arrow_rows

        with _ArrowErrorReporter(where):
            source = pyarrow.parquet.ParquetFile(file)
            table = source.read(columns=[name for name in names if name in columns])
            table = table.select(list(columns))
        yield from iter_arrow_rows(table)

    with _ArrowErrorReporter(where):
        names = list(pyarrow.parquet.read_schema(file).names)
    return Table(where, names, iter_rows)


def _read_arrow_table(file: Path, where: str) -> Table:
    import pyarrow

    def iter_rows(columns: Sequence[str]) -> Iterator[Row]:
        from elicit.tasks.datasets.arrow_cells import iter_arrow_rows

        with _ArrowErrorReporter(where):
            chosen = table.select(list(columns))
        yield from iter_arrow_rows(chosen)

    with _ArrowErrorReporter(where):
        try:
            table = pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))).read_all()
        except pyarrow.ArrowInvalid:
            table = pyarrow.ipc.open_file(pyarrow.memory_map(str(file))).read_all()
        table.validate(full=False)
        names = list(table.column_names)
    return Table(where, names, iter_rows)


class _ArrowErrorReporter:
    """Context that turns any pyarrow error about a damaged file into one line."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import pyarrow

        if isinstance(error, UnicodeDecodeError):
            raise ElicitError(f"{self.where} cannot be read: a name in it is not UTF-8.") from None
        if isinstance(error, OSError | pyarrow.ArrowException | KeyError):
            raise ElicitError(f"{self.where} cannot be read: {one_line(error, 160)}") from None


READERS: dict[str, Callable[[Path, str], Table]] = {
    ".jsonl": read_jsonl_table,
    ".ndjson": read_jsonl_table,
    ".json": _read_json_table,
    ".csv": _make_csv_reader(","),
    ".tsv": _make_csv_reader("\t"),
    ".parquet": _read_parquet_table,
    ".arrow": _read_arrow_table,
}
