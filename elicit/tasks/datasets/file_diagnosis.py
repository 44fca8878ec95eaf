"""Diagnosis of unreadable files: one line with the cause and the remedy."""

from __future__ import annotations

import json
import re

from elicit.tasks.jsonl_fields import BadLine

_MAGIC = (
    (b"\x1f\x8b", "is compressed (gzip); unpack it first, for example: gunzip FILE"),
    (b"\x28\xb5\x2f\xfd", "is compressed (zstd); unpack it first, for example: unzstd FILE"),
    (b"BZh", "is compressed (bzip2); unpack it first, for example: bunzip2 FILE"),
    (b"\xfd7zXZ", "is compressed (xz); unpack it first, for example: unxz FILE"),
    (b"PK\x03\x04", "is a zip archive or a spreadsheet; unpack it, or save the sheet as .csv"),
    (b"PAR1", "is a parquet file; call it .parquet"),
    (b"ARROW1", "is an arrow file; call it .arrow"),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the data; type: git lfs pull"),
    (b"\xd0\xcf\x11\xe0", "is a spreadsheet; save the sheet as .csv"),
)
_PACKED = {".gz": "gunzip", ".zst": "unzstd", ".bz2": "bunzip2", ".xz": "unxz", ".zip": "unzip"}
_PAGE = re.compile(rb"\s*<(?:!doctype|html)", re.IGNORECASE)


def explain_wrong_type(data: bytes) -> str | None:
    """Actual type of a file that should be UTF-8 text, with the remedy; None for a possible text."""
    for start, cause in _MAGIC:
        if data.startswith(start):
            return cause
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or _is_utf_16(data):
        return "is UTF-16; save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8 FILE"
    if _PAGE.match(data[:200]):
        return "is a web page, not data; download the raw file"
    return None


def explain_unknown_ending(ending: str) -> str:
    """Reason why a file with this ending is not read."""
    if ending.lower() in _PACKED:
        return f"files that end in {ending!r} are compressed; unpack it first: {_PACKED[ending.lower()]} FILE"
    if ending.lower() in (".feather", ".ipc"):
        return f"files that end in {ending!r} are not read under this name; call it .arrow"
    return f"files that end in {ending or 'nothing'!r} are not read"


def explain_unreadable_lines(data: bytes, reasons: list[tuple[str, BadLine]]) -> str:
    """Reason why not a single line of a JSON lines file can be read."""
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, list | dict):
        return "is one JSON document, not one object a line; call it .json, or write every object on a line of its own"
    location, reason = reasons[0]
    others = f", and so is every one of its {len(reasons)} lines" if len(reasons) > 1 else ""
    return f"is not JSON lines: {location}: {reason}{others}; expected one object a line"


def _is_utf_16(data: bytes) -> bool:
    """Return True if every other byte of the beginning is 0, as in Latin text without a byte order mark."""
    head = data[:64]
    return len(head) >= 8 and (not any(head[0::2]) or not any(head[1::2]))
