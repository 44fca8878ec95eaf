"""A run or an archive on another machine: task file, model and folder gone, another file under the same name."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest

from elicit.comparison.archive import PROBLEMS, ROWS, read_compressed_json, write_archive
from elicit.comparison.running.engine import run_cells
from elicit.comparison.spec import check_spec
from elicit.comparison.summary.summarise import write_summary
from tests.support.comparisons import changed, elicit, rows
from tests.support.shared import once


def _finished() -> Path:
    """A run on a JSONL file and a multiple-choice dataset, beside its files. Copy it."""

    def make(folder: Path) -> None:
        lines = [{"prompt": f"Q:{a}+{b}\nA:", "answer": str(a + b)} for a in range(10, 30) for b in range(31, 41)]
        (folder / "sums.jsonl").write_text(
            "".join(json.dumps({**one, "worked": one["answer"]}) + "\n" for one in lines)
        )
        options = [
            {"question": f"Which is {a}?", "choices": [str(a + i) for i in range(3)], "answer": "A"} for a in range(90)
        ]
        (folder / "which.jsonl").write_text("".join(json.dumps(one) + "\n" for one in options))
        data = changed(
            task={"task": "jsonl", "path": "sums.jsonl", "stop": ["\n"], "max_new_tokens": 6},
            off_target={"which": {"task": "dataset", "path": "which.jsonl", "format": "choice", "max_new_tokens": 3}},
            arms={"base": {"method": "base"}, "self_consistency": {"method": "self_consistency", "n": 2}},
            seeds=1,
            test=6,
            samples=2,
        )
        with contextlib.chdir(folder):  # so that the spec names the files as they are called here
            assert run_cells(check_spec(data), folder / "run", workers=1) == []
        write_summary(folder / "run")

    return once("moved", make)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run and of its files, and an empty working directory."""
    shutil.copytree(_finished(), tmp_path / "there")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "there"


def test_an_archive_needs_nothing_but_itself(place: Path, tmp_path: Path) -> None:
    assert elicit("archive", place / "run", place / "archive").code == 0
    assert str(tmp_path) not in (place / "archive/spec.yaml").read_text()
    before = elicit("verify", place / "run").out
    there = rows(place / "run")
    moved = Path(shutil.move(place / "archive", tmp_path / "moved"))
    shutil.rmtree(place)
    Path("sums.jsonl").write_text('{"prompt": "of another", "answer": "1"}\n')  # of the same name: nobody's file
    done = elicit("verify", moved)
    assert (done.code, done.out) == (0, before), done.out + done.err
    assert "verdicts checked, 0 differ" in done.out
    done = elicit("report", moved, "--html", "page.html")
    assert done.code == 0, done.err
    page = Path("page.html").read_text()
    assert "sums.jsonl" in page
    assert "+" in page
    for to in ("csv", "inspect-json", "lm-eval"):
        done = elicit("export", moved, "--to", to, "--out", tmp_path / to)
        assert done.code == 0, done.err
    asked = json.loads(next((tmp_path / "inspect-json").glob("*.json")).read_text())["samples"][0]
    assert asked["target"]
    assert len(there) == 4


def test_a_run_directory_needs_nothing_but_itself(place: Path, tmp_path: Path) -> None:
    before = elicit("verify", place / "run").out
    moved = Path(shutil.move(place / "run", tmp_path / "moved"))
    shutil.rmtree(place)
    done = elicit("verify", moved)
    assert (done.code, done.out) == (0, before)
    assert elicit("report", moved).code == 0
    assert elicit("archive", moved, tmp_path / "archive").code == 0
    assert elicit("verify", tmp_path / "archive").out == before


def test_other_problems_are_refused(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept ones that were changed; and, for a run from before they were kept, another file of the same name."""
    run = place / "run"
    (path, *_) = sorted((run / "problems").glob("*.json"), key=lambda path: path.stat().st_size)
    text = path.read_text()
    path.write_text(text.replace('"answer": "', '"answer": "7', 1))
    for verb in (("verify", run), ("archive", run, tmp_path / "a")):
        done = elicit(*verb)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "these are not the problems that the run was made with" in done.err
    path.write_text(text)

    monkeypatch.chdir(place)
    shutil.rmtree(run / "problems")
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["problems"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    whole = elicit("verify", run)
    assert (whole.code, whole.err) == (0, "")
    sums = place / "sums.jsonl"
    sums.write_text(sums.read_text() + '{"prompt": "one more", "answer": "1"}\n')
    for verb in (("verify", run), ("archive", run, tmp_path / "a")):
        done = elicit(*verb)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "sums.jsonl is not the file that the run was made with: its sha256 is " in done.err
    assert not (tmp_path / "a").exists()
    sums.unlink()
    done = elicit("verify", run)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "sums.jsonl' does not exist" in done.err


def test_an_archive_holds_problems_by_their_hash(place: Path) -> None:
    write_archive(place / "run", place / "archive")
    manifest = json.loads((place / "archive/manifest.json").read_text())
    assert set(manifest["problems"]) == {"cued/jsonl", "cued/which"}
    kept = read_compressed_json(place / "archive" / PROBLEMS)
    assert set(kept) == set(manifest["problems"].values())
    assert {len(one["problems"]) for one in kept.values()} == {6}
    os.remove(place / "archive" / PROBLEMS)
    done = elicit("verify", place / "archive")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "that the manifest names are missing" in done.err
    (place / "archive" / ROWS).write_bytes(b"\xfd7zXZ\0 no archive")
    done = elicit("verify", place / "archive")
    assert (done.code, done.err.count("\n")) == (2, 1)
