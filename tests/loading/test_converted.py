"""The cache of conversions under several processes, kills and damage. Real processes; what they convert is small."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elicit.errors import ElicitError
from elicit.loading import converted

#: Converts argv[1], noting every conversion in argv[2]; argv[3] is how long it takes, in seconds.
_CHILD = """
import sys, time
from pathlib import Path
from elicit.loading import converted

def convert(folder):
    with open(sys.argv[2], "a") as log:
        log.write("x")
    (folder / "model.bin").write_bytes(b"half")
    time.sleep(float(sys.argv[3]))
    (folder / "model.bin").write_bytes(b"the whole model")
    (folder / "sub").mkdir()
    (folder / "sub" / "more.txt").write_text("more")

print(converted.convert_once(Path(sys.argv[1]), convert))
assert "torch" not in sys.modules
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELICIT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.gguf"
    path.write_bytes(b"some file")
    return path


def child(source: Path, seconds: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", _CHILD, str(source), str(source.parent / "log"), str(seconds)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(found: object, *, within: float = 30.0) -> None:
    end = time.monotonic() + within
    while not found():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def log(source: Path) -> int:
    path = source.parent / "log"
    return len(path.read_text()) if path.exists() else 0


def test_of_two_processes_one_converts_and_the_other_waits(source: Path) -> None:
    first = child(source, 3.0)
    until(lambda: log(source) == 1)
    second = child(source, 0.0)
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert outputs[0][0] == outputs[1][0]
    assert outputs[1][1] == "elicit: another process is converting a.gguf: waiting for it\n"
    assert log(source) == 1
    folder = Path(outputs[0][0].strip())
    assert folder.name == hashlib.sha256(b"some file").hexdigest()
    assert (folder / "model.bin").read_bytes() == b"the whole model"
    assert json.loads((folder / converted.ORIGIN).read_text()) == {
        "converter": converted.CONVERTER,
        "file": "a.gguf",
        "sha256": folder.name,
        "files": {"model.bin": 15, "sub/more.txt": 4},
    }


def test_a_killed_conversion_leaves_nothing_that_is_taken_for_finished(source: Path) -> None:
    other = source.with_name("b.gguf")
    other.write_bytes(b"another file")
    alive, killed = child(other, 60.0), child(source, 60.0)
    until(lambda: log(source) == 2)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    cache = source.parent / "cache" / "gguf"
    left = {path.name for path in cache.glob(".*-*")}
    assert len(left) == 2
    assert converted.find_converted_folder(source) is None

    third = source.with_name("c.gguf")
    third.write_bytes(b"a third file")
    made = converted.convert_once(third, lambda folder: (folder / "x").write_text("x"))  # type: ignore[arg-type,return-value]
    assert converted.is_complete_conversion(made)
    # What the killed one left is gone, what the living one is writing is not.
    (kept,) = {path.name for path in cache.glob(".*-*")}
    assert kept.startswith("." + hashlib.sha256(b"another file").hexdigest()[:16])
    alive.send_signal(signal.SIGTERM)
    alive.communicate()
    converted.convert_once(source, lambda folder: (folder / "x").write_text("x"))  # type: ignore[arg-type,return-value]
    assert list(cache.glob(".*-*")) == []


@pytest.mark.parametrize("damage", ["cut", "missing", "no note", "torn note", "longer", "older"])
def test_a_damaged_folder_is_converted_again(source: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    def convert(folder: Path) -> None:
        (folder / "model.bin").write_bytes(b"the whole model")
        (folder / "config.json").write_text("{}")

    folder = converted.convert_once(source, convert)
    assert converted.find_converted_folder(source) == folder
    match damage:
        case "cut":
            os.truncate(folder / "model.bin", 7)
        case "missing":
            (folder / "config.json").unlink()
        case "no note":
            (folder / converted.ORIGIN).unlink()
        case "torn note":
            os.truncate(folder / converted.ORIGIN, 20)
        case "longer":
            (folder / "config.json").write_text("{}{}")
        case "older":  # as it was written before conversions were counted
            note = json.loads((folder / converted.ORIGIN).read_text())
            del note["converter"]
            (folder / converted.ORIGIN).write_text(json.dumps(note))
    assert converted.find_converted_folder(source) is None
    assert converted.convert_once(source, convert) == folder
    told = capsys.readouterr().err
    assert "is damaged (a file is missing or has another size)" in told
    assert "converting a.gguf again" in told
    assert (folder / "model.bin").read_bytes() == b"the whole model"
    assert converted.find_converted_folder(source) == folder
    assert {path.name for path in folder.iterdir()} == {"model.bin", "config.json", converted.ORIGIN}


def test_a_hash_is_remembered_while_the_file_is_the_same(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: reads.append(1) or real(*given))
    expected = hashlib.sha256(b"some file").hexdigest()
    # A file written a moment ago could change again within the resolution of its times: not remembered.
    assert [converted.file_hash(source) for _ in range(2)] == [expected] * 2
    assert len(reads) == 2
    monkeypatch.setattr(converted, "_SETTLED", -1.0)
    assert [converted.file_hash(source) for _ in range(3)] == [expected] * 3
    assert len(reads) == 3
    # The same size and a modification time set back: the change time and the inode tell.
    before = source.stat()
    source.write_bytes(b"SOME FILE")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert converted.file_hash(source) == hashlib.sha256(b"SOME FILE").hexdigest()
    replaced = source.with_name("new")
    replaced.write_bytes(b"sOME FILe")
    os.utime(replaced, ns=(before.st_atime_ns, before.st_mtime_ns))
    replaced.replace(source)
    assert converted.file_hash(source) == hashlib.sha256(b"sOME FILe").hexdigest()
    # A torn note is not trusted, and a cache that cannot be written costs only time.
    for note in converted.cache_root().glob("gguf/.hashes/*.json"):
        note.write_text('{"state"')
    assert converted.file_hash(source) == hashlib.sha256(b"sOME FILe").hexdigest()
    monkeypatch.setenv("ELICIT_CACHE", str(source))
    assert converted.file_hash(source) == hashlib.sha256(b"sOME FILe").hexdigest()


def test_what_cannot_be_read_or_written(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ElicitError, match=r"cannot read .*none\.gguf: No such file or directory"):
        converted.convert_once(source.with_name("none.gguf"), lambda folder: None)
    monkeypatch.setenv("ELICIT_CACHE", str(source))
    with pytest.raises(ElicitError, match=r"cannot write the converted model to .*set ELICIT_CACHE to a folder"):
        converted.convert_once(source, lambda folder: None)


def test_a_whole_folder_is_used_where_nothing_can_be_written(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = converted.convert_once(source, lambda folder: (folder / "x").write_text("x"))  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(converted, "_hold_conversion_lock", lambda *_: pytest.fail("took the lock"))
    assert converted.convert_once(source, lambda _: pytest.fail("converted again")) == folder
