"""Seeded damage to files: JSON documents, safetensors files and any bytes. The same generator gives the same damage."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3.5, -2.5, 1e308, 10**20, -(10**9), 2**31, 2**63, "", "x", "-1", "nan", "../../x",
    "é" * 300,
    [], {}, [1], ["a", "b"], [[]], {"a": 1}, [None], float("nan"), float("inf"), [0] * 50, {"name": {}}, "\x00", "null",
)  # fmt: skip


def damage_file(path: Path, rng: np.random.Generator) -> str:
    """Damage a file in place; says how."""
    kinds = JSON_KINDS if path.suffix == ".json" else TENSOR_KINDS if path.suffix == ".safetensors" else BYTE_KINDS
    kind = str(rng.choice(list(kinds)))
    path.write_bytes(kinds[kind](path.read_bytes(), rng))
    return f"{path.name}: {kind}"


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in below for place in _places(item, (*path, key)))]


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _chosen_place(value: Any, rng: np.random.Generator) -> tuple[Any, ...]:
    """A place inside the document, outer ones more often than their number."""
    places = _places(value)[1:] or [()]
    depth = int(rng.integers(1, 4))
    near = [place for place in places if len(place) <= depth] or places
    return near[int(rng.integers(len(near)))]


def _changed(data: bytes, rng: np.random.Generator, change: Callable[[Any, Any], None]) -> bytes:
    try:
        value = json.loads(data)
    except ValueError:
        return data + b"}"
    place = _chosen_place(value, rng)
    if not place:
        return json.dumps(VALUES[int(rng.integers(len(VALUES)))]).encode()
    value = copy.deepcopy(value)
    change(_at(value, place[:-1]), place[-1])
    return json.dumps(value).encode()


def _delete(data: bytes, rng: np.random.Generator) -> bytes:
    def change(parent: Any, key: Any) -> None:
        del parent[key]

    return _changed(data, rng, change)


def _replace(data: bytes, rng: np.random.Generator) -> bytes:
    other = VALUES[int(rng.integers(len(VALUES)))]

    def change(parent: Any, key: Any) -> None:
        parent[key] = other

    return _changed(data, rng, change)


def _negate(data: bytes, rng: np.random.Generator) -> bytes:
    def change(parent: Any, key: Any) -> None:
        value = parent[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        parent[key] = -value if number else str(value) if not isinstance(value, str) else [value]

    return _changed(data, rng, change)


def _swap(data: bytes, rng: np.random.Generator) -> bytes:
    try:
        value = json.loads(data)
    except ValueError:
        return data[::-1]
    one, other = _chosen_place(value, rng), _chosen_place(value, rng)
    if not one or not other or one[: len(other)] == other or other[: len(one)] == one:
        return _delete(data, rng)
    first, second = copy.deepcopy(_at(value, one)), copy.deepcopy(_at(value, other))
    _at(value, one[:-1])[one[-1]] = second
    _at(value, other[:-1])[other[-1]] = first
    return json.dumps(value).encode()


def _add(data: bytes, rng: np.random.Generator) -> bytes:
    def change(parent: Any, key: Any) -> None:
        if isinstance(parent, dict):
            parent["added"] = VALUES[int(rng.integers(len(VALUES)))]
        else:
            parent.append(copy.deepcopy(parent[0]))

    return _changed(data, rng, change)


def _nest(data: bytes, rng: np.random.Generator) -> bytes:
    """A value 10^2 to 10^5 lists or objects deep, whole or cut."""
    depth = int(10 ** rng.integers(2, 6))
    opened, closed = (b"[", b"]") if rng.random() < 0.5 else (b'{"a":', b"}")
    deep = opened * depth + b"1" + closed * (depth if rng.random() < 0.7 else 0)
    start = data.find(b":")
    return data[: start + 1] + deep + data[start + 1 :] if rng.random() < 0.3 and start > 0 else deep


def _twice(data: bytes, rng: np.random.Generator) -> bytes:
    body = data.strip()
    start, end = body.find(b'"'), body.find(b",")
    return body[:1] + body[start:end] + b"," + body[1:] if body[:1] == b"{" and 0 < start < end else body + body


def _number(data: bytes, rng: np.random.Generator) -> bytes:
    text = [b"1" + b"0" * 5000, b"1e999", b"-Infinity", b"NaN", b"0x10", b"1_000"][int(rng.integers(6))]
    start = data.find(b":", int(rng.integers(max(1, len(data) // 2))))
    end = min((place for place in (data.find(b",", start), data.find(b"}", start)) if place > 0), default=len(data))
    return data[: start + 1] + text + data[end:]


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    flipped = bytearray(data)
    for place in rng.integers(0, len(data), size=int(rng.integers(1, 6))) if data else []:
        flipped[place] ^= 1 << int(rng.integers(8))
    return bytes(flipped)


def _flip_early(data: bytes, rng: np.random.Generator) -> bytes:
    return _flip(data[:600], rng) + data[600:]


def _encode(data: bytes, rng: np.random.Generator) -> bytes:
    text = data.decode(errors="replace")
    return [text.encode("utf-16"), b"\xff" + data, data + b"\x80", text.encode("utf-32")][int(rng.integers(4))]


def _empty(data: bytes, rng: np.random.Generator) -> bytes:
    return [b"", b" ", b"\x00" * 64, b"null", b"[]", b"{}", b"{}{}", b'"x"'][int(rng.integers(8))]


def _header(data: bytes, rng: np.random.Generator) -> bytes:
    """A safetensors header whose JSON was damaged; its length is right."""
    length = int.from_bytes(data[:8], "little")
    kinds = [kind for kind in JSON_KINDS.values() if kind is not _encode]
    text = kinds[int(rng.integers(len(kinds)))](data[8 : 8 + length], rng)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _header_length(data: bytes, rng: np.random.Generator) -> bytes:
    lengths = (0, 1, 10**9, 2**63, 2**64 - 1, len(data), 99_999_999, 7)
    return struct.pack("<Q", lengths[int(rng.integers(len(lengths)))]) + data[8:]


def _tensors(data: bytes, rng: np.random.Generator) -> bytes:
    """Two tensors exchange their names, or one gets another shape or type, the file staying well-formed."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    one, other = (names[int(rng.integers(len(names)))] for _ in range(2))
    match int(rng.integers(4)):
        case 0:
            header[one], header[other] = header[other], header[one]
        case 1:
            header[one]["shape"] = header[one]["shape"][::-1]
        case 2:
            header[one]["dtype"] = str(rng.choice(["I32", "U32", "F32", "BF16", "F8_E4M3", "BOOL", "C64", "I64", "X9"]))
        case _:
            header["renamed"] = header.pop(one)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _not_finite(data: bytes, rng: np.random.Generator) -> bytes:
    length = 8 + int.from_bytes(data[:8], "little")
    place = length + 4 * int(rng.integers(max(1, (len(data) - length) // 4)))
    return data[:place] + struct.pack("<f", float("nan")) + data[place + 4 :]


Kind = Callable[[bytes, np.random.Generator], bytes]
BYTE_KINDS: dict[str, Kind] = {"cut": _cut, "flipped": _flip, "flipped early": _flip_early, "empty": _empty}
JSON_KINDS: dict[str, Kind] = {
    "a field less": _delete,
    "another value": _replace,
    "another value again": _replace,
    "negated or another type": _negate,
    "two values swapped": _swap,
    "a field more": _add,
    "nested deep": _nest,
    "a key twice": _twice,
    "a number of another kind": _number,
    "another encoding": _encode,
    "cut": _cut,
    "flipped": _flip,
    "empty": _empty,
}
TENSOR_KINDS: dict[str, Kind] = {
    "header": _header,
    "header again": _header,
    "length of the header": _header_length,
    "tensors": _tensors,
    "tensors again": _tensors,
    "NaN": _not_finite,
    "cut": _cut,
    "flipped": _flip,
    "flipped early": _flip_early,
    "empty": _empty,
}
