"""Cells of arrow tables (parquet, arrow, `datasets`) in the form that the record reader takes.

A float is written in the fewest digits that restore it at its own width: a 32-bit 0.1 is 0.1. A cell that is not a
number (NaN, infinity) or cannot be read (text that is not UTF-8, raw bytes, dates beyond the calendar) makes a bad row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow
import pyarrow.types as kinds

from elicit.errors import one_line
from elicit.tasks.jsonl_fields import BadLine, Number, Row, quote_name

_WIDTHS: dict[int, type[np.floating[Any]]] = {16: np.float16, 32: np.float32, 64: np.float64}


def iter_arrow_rows(table: pyarrow.Table, first: int = 1) -> Iterator[Row]:
    """Rows with their numbers; for a row with an unreadable cell, the reason instead."""
    names = list(table.column_names)
    for batch in table.to_batches(max_chunksize=1_000):
        columns = [_read_column(name, array) for name, array in zip(names, batch.columns, strict=True)]
        for number in range(batch.num_rows):
            cells = {name: column[number] for name, column in zip(names, columns, strict=True)}
            reason = next((cell for cell in cells.values() if isinstance(cell, BadLine)), None)
            yield f"row {first + number}", reason or cells
        first += batch.num_rows


def _read_column(name: str, array: pyarrow.Array) -> list[Any]:
    """The cells of a column, with a `BadLine` for each that cannot be read."""
    try:
        _check_offsets(array)
    except pyarrow.ArrowException as error:
        return [BadLine(f"column {quote_name(name)} is damaged ({one_line(error, 80)})")] * len(array)
    if kinds.is_string(array.type) or kinds.is_integer(array.type):
        try:
            return [Number(cell) if isinstance(cell, int) else cell for cell in array.to_pylist()]
        except (ValueError, pyarrow.ArrowException):
            pass  # one by one, to find out which
    return [_read_cell(name, scalar) for scalar in array]


def _check_offsets(array: pyarrow.Array) -> None:
    """Raise ArrowInvalid for offsets beyond the data: pyarrow would read arbitrary memory there."""
    if kinds.is_string(array.type) or kinds.is_large_string(array.type):  # text that is not UTF-8 has a row to name
        array = array.view(pyarrow.binary() if kinds.is_string(array.type) else pyarrow.large_binary())
    array.validate(full=True)


def _read_cell(name: str, scalar: pyarrow.Scalar) -> Any:
    try:
        return _convert_scalar(scalar)
    except UnicodeDecodeError as error:
        return BadLine(f"column {quote_name(name)} is not UTF-8 (byte {error.start + 1})")
    except BadLine as reason:
        return BadLine(f"column {quote_name(name)} {reason}")
    except (ValueError, OverflowError, pyarrow.ArrowException):
        return BadLine(f"column {quote_name(name)} holds a {scalar.type} that cannot be read")


def _convert_scalar(scalar: pyarrow.Scalar) -> Any:
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if kinds.is_floating(kind):
        return _render_float(scalar.as_py(), _WIDTHS[kind.bit_width])
    if kinds.is_integer(kind):
        return Number(scalar.as_py())
    if kinds.is_decimal(kind):
        return Number(format(scalar.as_py(), "f"))
    if kinds.is_struct(kind):
        return {name: _convert_scalar(scalar[name]) for name in dict.fromkeys(field.name for field in kind)}
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        return [_convert_scalar(item) for item in scalar.values]
    if kinds.is_map(kind):
        return [
            {"key": _convert_scalar(item["key"]), "value": _convert_scalar(item["value"])} for item in scalar.values
        ]
    if kinds.is_dictionary(kind):
        return _convert_scalar(scalar.value)
    if kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_fixed_size_binary(kind):
        raise BadLine("holds bytes, not text")
    value = scalar.as_py()
    return value if isinstance(value, str | bool) else str(value)


def _render_float(value: float, width: type[np.floating[Any]]) -> Number:
    if not math.isfinite(value):
        raise BadLine(f"is {'NaN' if math.isnan(value) else 'infinite'}, which is not a number")
    return Number(str(width(value)))
