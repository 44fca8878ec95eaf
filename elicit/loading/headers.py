"""Headers of weight files: names, types and shapes of the tensors, read from the first kilobytes without torch.

A safetensors file begins with the length of a JSON header; a GGUF file with its metadata and a table of tensors. Both
imply the length of the file, so a truncated file is detected before anything slow begins.
"""

from __future__ import annotations

import functools
import math
import mmap
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from elicit import documents
from elicit.errors import ElicitError, one_line

_HEADER_LIMIT = 100_000_000
"""Bytes; the limit of the safetensors format itself."""

_TYPES = """
    0 F32 1 4, 1 F16 1 2, 2 Q4_0 32 18, 3 Q4_1 32 20, 6 Q5_0 32 22, 7 Q5_1 32 24, 8 Q8_0 32 34, 9 Q8_1 32 40,
    10 Q2_K 256 84, 11 Q3_K 256 110, 12 Q4_K 256 144, 13 Q5_K 256 176, 14 Q6_K 256 210, 15 Q8_K 256 292,
    16 IQ2_XXS 256 66, 17 IQ2_XS 256 74, 18 IQ3_XXS 256 98, 19 IQ1_S 256 50, 20 IQ4_NL 32 18, 21 IQ3_S 256 110,
    22 IQ2_S 256 82, 23 IQ4_XS 256 136, 24 I8 1 1, 25 I16 1 2, 26 I32 1 4, 27 I64 1 8, 28 F64 1 8,
    29 IQ1_M 256 56, 30 BF16 1 2, 34 TQ1_0 256 54, 35 TQ2_0 256 66, 39 MXFP4 32 17, 40 NVFP4 64 36,
    41 Q1_0 128 18
"""
#: GGUF tensor type -> (name, values in a block, bytes of a block).
GGML = {
    int(number): (name, int(values), int(size))
    for number, name, values, size in (row.split() for row in _TYPES.split(","))
}
_SCALARS = {0: "<B", 1: "<b", 7: "<?", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


class TensorHeader(NamedTuple):
    """One tensor of a file, unread."""

    name: str
    kind: str
    """Type of its values, as named in the file: BF16, F32, Q4_K, ..."""
    shape: tuple[int, ...]
    """Shape in the order of torch."""

    @property
    def values(self) -> int:
        return math.prod(self.shape)


class GgufHeader(NamedTuple):
    """The header of a GGUF file."""

    fields: Mapping[str, Any]
    """Metadata by key; arrays only if requested, otherwise their length."""
    tensors: Sequence[TensorHeader]


def read_safetensors_header(path: Path) -> list[TensorHeader]:
    """Tensors of a safetensors file.

    Raises:
        ElicitError: a file that cannot be read, is not a safetensors file, or is shorter than its header says.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if 2 <= length <= _HEADER_LIMIT else b""
        header = documents.as_object(documents.parse_foreign(text, path), path)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        tensors = [TensorHeader(name, str(e["dtype"]), tuple(map(int, e["shape"]))) for name, e in entries.items()]
        needed = 8 + length + max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except OSError as error:
        raise ElicitError(f"cannot read {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, ElicitError) as error:
        raise ElicitError(f"{path} is not a complete safetensors file: its header cannot be read. {_AGAIN}") from error
    _check_length(path, needed)
    return tensors


def read_gguf_header(path: Path, *, arrays: Sequence[str] = ()) -> GgufHeader:
    """The metadata and tensor table of a GGUF file, versions 2 and 3.

    Args:
        arrays: keys of arrays to read whole (a vocabulary is long). Other arrays are returned as their length.

    Raises:
        ElicitError: a file that cannot be read, is not a GGUF file, or is shorter than its table says.
    """
    try:
        status = path.stat()
        header, needed = _read_gguf_file(path, frozenset(arrays), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ElicitError(f"cannot read {path}: {error.strerror}.") from error
    except (ValueError, KeyError, struct.error, IndexError, OverflowError, MemoryError) as error:
        reason = f"{one_line(error, 120)}" if isinstance(error, ValueError) else "it ends or breaks inside its header"
        raise ElicitError(f"cannot read {path} as GGUF: {reason}. {_AGAIN}") from error
    _check_length(path, needed)
    return header


@functools.lru_cache(maxsize=8)
def _read_gguf_file(path: Path, arrays: frozenset[str], size: int, changed: int) -> tuple[GgufHeader, int]:
    """(header, required bytes). Cached per file: parsing walks through a vocabulary of a hundred thousand tokens."""
    with path.open("rb") as file:
        if not size:
            raise ValueError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse_gguf(data, arrays)


_AGAIN = "The file may be incomplete: compare its size or hash with the source, and fetch it again."


def _check_length(path: Path, needed: int) -> None:
    size = path.stat().st_size
    if size < needed:
        raise ElicitError(f"{path} is cut: it has {size:,} bytes, but its tensors need {needed:,}. {_AGAIN}")


def _parse_gguf(data: mmap.mmap, arrays: frozenset[str]) -> tuple[GgufHeader, int]:
    """(header, required bytes of the file)."""
    if data[:4] != b"GGUF":
        raise ValueError("it does not begin with the letters GGUF")
    version, tensor_count, field_count = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise ValueError(f"it is of version {version}; versions 2 and 3 can be read")
    at, fields = 24, {}
    for _ in range(field_count):
        key, at = _parse_string(data, at)
        (kind,) = struct.unpack_from("<I", data, at)
        fields[key], at = _parse_value(data, at + 4, kind, key in arrays)
    tensors, ends = [], [0]
    for _ in range(tensor_count):
        name, at = _parse_string(data, at)
        (rank,) = struct.unpack_from("<I", data, at)
        *shape, kind, offset = struct.unpack_from(f"<{rank}QIQ", data, at + 4)
        at += 16 + 8 * rank
        if kind not in GGML:
            raise ValueError(f"its tensor {one_line(name, 60)} is of the unknown type {kind}")
        label, block, size = GGML[kind]
        tensors.append(TensorHeader(name, label, tuple(reversed(shape))))
        ends.append(offset + tensors[-1].values // block * size)
    if not tensors:
        raise ValueError("it holds no tensors")
    alignment = int(fields.get("general.alignment", 32))
    return GgufHeader(fields, tensors), -(-at // alignment) * alignment + max(ends)


def _parse_value(data: mmap.mmap, at: int, kind: int, whole: bool) -> tuple[Any, int]:
    """(one metadata value, the position after it)."""
    if kind == _STRING:
        return _parse_string(data, at)
    if kind != _ARRAY:
        form = _SCALARS[kind]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    inner, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if inner != _STRING:
        form = f"<{count}{_SCALARS[inner][1]}"
        values = list(struct.unpack_from(form, data, at)) if whole else count
        return values, at + struct.calcsize(form)
    if whole:
        texts = []
        for _ in range(count):
            text, at = _parse_string(data, at)
            texts.append(text)
        return texts, at
    for _ in range(count):
        at += 8 + int.from_bytes(data[at : at + 8], "little")
        if at > len(data):
            raise IndexError(at)
    return count, at


def _parse_string(data: mmap.mmap, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    end = at + 8 + length
    if end > len(data):
        raise IndexError(end)
    return data[at + 8 : end].decode("utf-8", "replace"), end
