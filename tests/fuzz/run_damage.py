"""Seeded damage to a file of a run directory or an archive: its bytes, its JSON, one of its lines, its YAML."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

#: What takes a value's place. Texts stand in the document as they are, since JSON itself could not write some of them.
RAW = (
    *("NaN", "-Infinity", "1e999", "1" + "0" * 400, "1" + "0" * 5000, '"\\ud800"'),
    *("[" * 10**5, "[" * 10**5 + "]" * 10**5),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**53, 2**63, -2.5, 1e300, "", "text", "../../../etc", "\0", "2" * 5000),
    *([], {}, [None], [[]], ["a"], {"a": {}}, [1.5, 2.5], "done", "pending", "failed"),
)


def damage(path: Path, rng: np.random.Generator) -> str:
    """Damage a file in place; says how."""
    data = path.read_bytes()
    if path.suffix == ".xz" and rng.random() < 0.8:
        changed, how = _text(lzma.decompress(data), rng)
        path.write_bytes(lzma.compress(changed, preset=0))
    elif path.suffix == ".jsonl" and data.count(b"\n") and rng.random() < 0.8:
        lines = data.split(b"\n")
        place = int(rng.integers(len(lines) - 1))
        lines[place], how = _text(lines[place], rng)
        path.write_bytes(b"\n".join(lines))
    elif path.suffix in (".json", ".jsonl", ".yaml"):
        changed, how = _text(data, rng) if path.suffix == ".json" else _lines(data, rng)
        path.write_bytes(changed)
    else:
        changed, how = _bytes(data, rng)
        path.write_bytes(changed)
    return f"{path.name}: {how}"


def _text(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    if rng.random() < 0.3:
        return _bytes(data, rng)
    value = json.loads(data)
    places = _places(value)
    depth = int(rng.integers(1, 9))
    near = [place for place in places if len(place) <= depth]
    place = near[int(rng.integers(len(near)))] if near else ()
    if not place:
        return json.dumps(VALUES[int(rng.integers(len(VALUES)))]).encode(), "the whole replaced"
    parent = value
    for key in place[:-1]:
        parent = parent[key]
    shown = ".".join(map(str, place))
    match int(rng.integers(5)):
        case 0:
            del parent[place[-1]]
            return json.dumps(value).encode(), f"{shown} removed"
        case 1 | 2:
            parent[place[-1]] = VALUES[int(rng.integers(len(VALUES)))]
            return json.dumps(value).encode(), f"{shown} = {str(parent[place[-1]])[:20]!r}"
        case 3:
            raw = RAW[int(rng.integers(len(RAW)))]
            parent[place[-1]] = "@@"
            return json.dumps(value).replace('"@@"', raw).encode(), f"{shown} = {raw[:20]}"
        case _:
            if isinstance(parent, dict):
                parent["added"] = VALUES[int(rng.integers(len(VALUES)))]
            else:
                parent.append(parent[place[-1]])
            return json.dumps(value).encode(), f"beside {shown} one more"


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value[:40]) if isinstance(value, list) else ()
    return [*([path] if path else []), *(place for key, item in below for place in _places(item, (*path, key)))]


def _lines(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    lines = data.split(b"\n")
    place = int(rng.integers(len(lines)))
    others: tuple[bytes, ...] = (
        *(b"", b"\t- x", b"arms: {}", b"seeds: many", b"limit: -3", b"test: 1000000000000", b"x: " + b"[" * 10**5),
        *(b"a: &a [*a]", b"task: {task: jsonl, path: gone.jsonl}", b"models: null", b"\xff\xfe", b"device: tpu"),
        b"samples: {n: 1, arms: [x]}",
    )
    if rng.random() < 0.3:
        return _bytes(data, rng)
    lines[place] = others[int(rng.integers(len(others)))]
    return b"\n".join(lines), f"line {place} = {lines[place][:20]!r}"


def _bytes(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    kinds: dict[str, Callable[[], bytes]] = {
        "cut": lambda: data[: int(rng.integers(len(data) + 1))],
        "empty": lambda: b"",
        "zeros": lambda: bytes(200),
        "garbage": lambda: rng.integers(0, 256, 300, dtype=np.uint8).tobytes(),
        "not UTF-8": lambda: data[: len(data) // 2] + b"\xff\xfe" + data[len(data) // 2 :],
        "UTF-16": lambda: data.decode(errors="replace").encode("utf-16"),
        "twice": lambda: data + data,
        "deep": lambda: b'{"a":' * 10**5,
        "flipped": lambda: bytes(byte ^ (1 << int(rng.integers(8)) if rng.random() < 0.01 else 0) for byte in data),
    }
    how = list(kinds)[int(rng.integers(len(kinds)))]
    return kinds[how](), how
