"""Damaged tables: each is read, or refused in one line; none ends in a traceback, takes 30 s or 4 GB.

Every damaged file is opened in a process of its own (a crash of a library would be one too), several at a time in one
after another; a process that dies names the file it was at.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

ENDINGS = ("jsonl", "json", "csv", "tsv", "parquet", "arrow")
COUNT = 480
SECONDS, BYTES = 30.0, 4 << 30
ROWS: list[dict[str, Any]] = [
    {
        "question": f"What is {i} and {i}?",
        "answer": str(2 * i),
        "choices": ["a", "b", f"c{i}"],
        "n": i / 3,
        "meta": {"id": i},
    }
    for i in range(40)
]
OPTIONS: list[dict[str, Any]] = [
    {"task": "dataset", "columns": {"prompt": "question", "answer": "answer"}},
    {"task": "dataset", "columns": {"prompt": "question", "answer": "n", "id": "meta.id"}},
    {"task": "gsm8k"},
    {"task": "math", "grader": "text", "columns": {"prompt": "question", "answer": "answer"}},
    {"task": "dataset", "format": "choice", "columns": {"prompt": "question", "choices": "choices", "answer": "n"}},
    {
        "task": "dataset",
        "drop": ["unusable", "duplicates"],
        "columns": {"prompt": "{question} {meta.id}", "answer": "answer"},
    },
]
#: Opens files one after another; says for each what came of it. Anything but a task or an ElicitError ends it.
OPENER = """
import json, resource, sys, time, warnings
import elicit
warnings.simplefilter("ignore")
for line in sys.stdin:
    path, options = json.loads(line)
    start = time.monotonic()
    try:
        task = elicit.tasks.get(options.pop("task"), path=path, **options)
        for record in task.records:
            problem = task._problem(record)
            task.verify(problem, task.direct(problem))
            task.verify(problem, "The answer is 7.")
        said = "read"
    except elicit.ElicitError as error:
        said = str(error)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([said, time.monotonic() - start, peak]), flush=True)
"""


def whole(folder: Path) -> dict[str, bytes]:
    """The undamaged tables, by ending."""
    lines = [json.dumps(row) for row in ROWS]
    flat = [
        [row["question"], row["answer"], json.dumps(row["choices"]), str(row["n"]), str(row["meta"]["id"])]
        for row in ROWS
    ]
    names = ["question", "answer", "choices", "n", "meta.id"]
    files = {"jsonl": "\n".join(lines).encode(), "json": f"[{','.join(lines)}]".encode()}
    for ending, sign in (("csv", ","), ("tsv", "\t")):
        cells = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in flat]
        files[ending] = "\n".join(sign.join(row) for row in [names, *cells]).encode()
    table = pyarrow.Table.from_pylist(ROWS)
    pyarrow.parquet.write_table(table, folder / "t.parquet", compression="none", use_dictionary=False)
    files["parquet"] = (folder / "t.parquet").read_bytes()
    with pyarrow.ipc.new_file(str(folder / "t.arrow"), table.schema) as file:
        file.write_table(table)
    files["arrow"] = (folder / "t.arrow").read_bytes()
    return files


def damaged(data: bytes, ending: str, chance: random.Random) -> bytes:
    """The bytes with one kind of damage, or several of it."""
    kind = chance.choice(["flip", "flip", "flips", "cut", "insert", "zeros", "swap", "value", "repeat", "deep"])
    at = chance.randrange(len(data))
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    if kind == "flips":
        damage = bytearray(data)
        for _ in range(chance.randrange(2, 60)):
            damage[chance.randrange(len(damage))] = chance.randrange(256)
        return bytes(damage)
    if kind == "cut":
        return data[:at]
    if kind == "insert":
        return data[:at] + chance.randbytes(chance.randrange(1, 40)) + data[at:]
    if kind == "zeros":
        return data[:at] + bytes(min(200, len(data) - at)) + data[at + 200 :]
    if kind == "swap":
        other = chance.randrange(len(data))
        first, second = sorted((at, other))
        return data[:first] + data[second:] + data[first:second]
    if kind == "repeat":
        return data[: at + 1] * chance.randrange(2, 6)
    if ending in ("parquet", "arrow"):
        return data[: len(data) - chance.randrange(1, 60)] + chance.randbytes(8) + data[-chance.randrange(1, 12) :]
    text = data.decode()
    values = [
        "null",
        "true",
        "1e999999999",
        "NaN",
        "-Infinity",
        "[]",
        "{}",
        '""',
        '"\\ud800"',
        "9" * 5_000,
        '{"a": {"b": [1]}}',
        "\x00",
        "2 1/2",
        "½",
    ]
    old = chance.choice(['"4"', '"a"', "1.0", "question", '"8"', "answer", '["a", "b"', '"meta"'])
    new = "[" * 50_000 if kind == "deep" else chance.choice(values)
    return text.replace(old, new, chance.choice([1, -1])).encode()


@pytest.mark.slow
def test_damaged_tables_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    chance = random.Random(0)
    files = whole(tmp_path)
    questions: list[tuple[str, dict[str, Any]]] = []
    for number in range(COUNT):
        ending = ENDINGS[number % len(ENDINGS)]
        path = tmp_path / f"{number}.{ending}"
        path.write_bytes(damaged(files[ending], ending, chance))
        questions.append((str(path), chance.choice(OPTIONS)))
    for ending, data in files.items():  # and the whole ones, which must be read
        path = tmp_path / f"whole.{ending}"
        path.write_bytes(data)
        questions.append((str(path), OPTIONS[0]))
    result = subprocess.run(
        [sys.executable, "-c", OPENER],
        input="\n".join(map(json.dumps, questions)),
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
        timeout=1_500,
    )
    replies = [json.loads(line) for line in result.stdout.splitlines()]
    stopped_at = questions[len(replies)] if len(replies) < len(questions) else None
    assert stopped_at is None, (stopped_at, result.returncode, result.stderr[-2_000:])
    for (path, options), (said, seconds, peak) in zip(questions, replies, strict=True):
        assert "\n" not in said, (path, options)
        assert len(said) < 1_500, (path, said)
        assert seconds < SECONDS, (path, options, seconds)
        assert peak < BYTES, (path, options, peak)
    assert [reply[0] for reply in replies[COUNT:]] == ["read"] * len(files)
    refused = sum(reply[0] != "read" for reply in replies[:COUNT])
    assert COUNT / 4 < refused < COUNT, "damage that is never seen, or always, would test nothing"
