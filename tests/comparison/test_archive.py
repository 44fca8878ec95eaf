"""An archive is a run that can be committed: small, and everything printed can still be recomputed from it."""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path

import yaml

from elicit.comparison.archive import (
    CELLS,
    SUMMARY,
    open_run_directory,
    read_compressed_json,
    strip_folders,
    write_archive,
)
from elicit.comparison.run import open_run
from elicit.comparison.summary.summarise import write_summary
from elicit.comparison.verify import verify_run
from tests.support.comparisons import content, elicit, reference, rows
from tests.support.rundirs import Told, arms_of, make, right


def test_an_archive_holds_the_rows_and_verifies(tmp_path: Path) -> None:
    run, target = reference(), tmp_path / "results" / "small"
    done = elicit("archive", run, target)
    assert (done.code, done.out, done.err) == (0, f"{target}\n", "")
    with open_run_directory(target) as back:
        assert rows(back) == rows(run)
    before = content(target)
    done = elicit("verify", target)
    assert done.code == 0, done.out
    assert done.out == elicit("verify", run).out
    done = elicit("report", target, "--html", tmp_path / "report.html")
    assert done.code == 0, done.err
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert content(target) == before
    size = sum(path.stat().st_size for path in target.rglob("*"))
    assert size < sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) / 4


def test_a_changed_archive_does_not_verify(tmp_path: Path) -> None:
    assert elicit("archive", reference(), tmp_path / "a").code == 0
    cells = read_compressed_json(tmp_path / "a" / CELLS)
    cells["cued/sft/0"]["metrics"][0]["neutral_perplexity"] += 1
    (tmp_path / "a" / CELLS).write_bytes(lzma.compress(json.dumps(cells).encode()))
    done = elicit("verify", tmp_path / "a")
    assert done.code == 1
    assert "arms.sft.neutral_perplexity: printed " in done.out


def test_what_searches_tell_of_themselves_is_kept_and_averaged(tmp_path: Path) -> None:
    """Notes differ from arm to arm, and most rows have none."""
    arms = {"base": {"method": "base"}, "a": {"method": "self_consistency"}, "b": {"method": "self_consistency"}}
    make(
        tmp_path / "run",
        {"arms": arms, "test": 2},
        {
            "cued/base/0": Told([right(), right()]),
            "cued/a/0": Told([right()._replace(notes={"acceptance": 0.25, "moves": 3.0}), right()]),
            "cued/b/0": Told([right()._replace(notes={"paths": 2.0}), right()._replace(notes={"paths": 4.0})]),
        },
    )
    for name in ("manifest.json", "summary.json"):
        (tmp_path / "run" / name).write_text("{}")
    write_summary(tmp_path / "run")
    write_archive(tmp_path / "run", tmp_path / "a")
    with open_run_directory(tmp_path / "a") as back:
        assert rows(back) == rows(tmp_path / "run")
        found = arms_of(back)
    assert found == arms_of(tmp_path / "run")
    assert [found[arm]["search"] and {k: e["value"] for k, e in found[arm]["search"].items()} for arm in found] == [
        None,
        {"acceptance": 0.25, "moves": 3.0},
        {"paths": 3.0},
    ]
    assert "notes" not in (tmp_path / "run/cells/cued/base/0/rows/addition.jsonl").read_text()


def test_what_was_logged_is_kept_to_six_digits_and_the_summary_is_made_of_that(tmp_path: Path) -> None:
    write_archive(reference(), tmp_path / "a")
    cells = read_compressed_json(tmp_path / "a" / CELLS)
    for name, cell in cells.items():
        whole = json.loads((reference() / "cells" / name / "status.json").read_text())
        assert cell["status"]["seconds"] == float(f"{whole['seconds']:.5e}")
    seconds = [cells[f"cued/sft/{seed}"]["status"]["seconds"] for seed in (0, 1)]
    summary = read_compressed_json(tmp_path / "a" / SUMMARY)
    assert summary["models"]["cued"]["tasks"]["addition"]["arms"]["sft"]["seconds"] == sum(seconds)


def test_what_cannot_be_archived(tmp_path: Path) -> None:
    run = Path(shutil.copytree(reference(), tmp_path / "run"))
    done = elicit("archive", run, run)
    assert (done.code, done.err) == (
        2,
        f"elicit archive: {run} exists already. Remove it, or name another folder.\n",
    )
    (run / "cells/cued/sft/1/status.json").unlink()
    done = elicit("archive", run, tmp_path / "a")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "is not finished: cell cued/sft/1 is pending. Run it to its end first." in done.err
    spec = (run / "spec.yaml").read_text()
    (run / "spec.yaml").write_text(spec.replace("samples: 4", "samples: 5"))
    done = elicit("archive", run, tmp_path / "a")
    assert "is not finished: cell cued/base/0 is to be amended. Run it to its end first." in done.err
    done = elicit("archive", tmp_path, tmp_path / "a")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert not (tmp_path / "a").exists()


def test_what_is_finished_can_be_kept_while_the_rest_runs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference(), run)
    for status in (run / "cells" / "cued" / "sft").glob("*/status.json"):
        status.write_text(json.dumps({"state": "pending"}))
    done = elicit("archive", run, tmp_path / "whole")
    assert done.code == 2
    assert "is not finished: cell cued/sft/0 is pending" in done.err
    assert elicit("archive", run, tmp_path / "part", "--partial").code == 0
    assert elicit("verify", tmp_path / "part").code == 0
    summary = read_compressed_json(tmp_path / "part" / SUMMARY)
    arms = summary["models"]["cued"]["tasks"]["addition"]["arms"]
    assert arms["sft"]["accuracy"] is None
    assert arms["sft"]["status"] == "pending"
    assert arms["base"]["accuracy"] == arms_of(reference())["base"]["accuracy"]


def test_an_archive_does_not_say_where_models_lay(tmp_path: Path) -> None:
    spec = {
        "models": {"a": "/home/me/models/x.gguf", "b": "org/name", "c": "cued"},
        "task": {"task": "jsonl", "path": "/home/me/mine.jsonl"},
        "off_target": {"other": {"task": "addition"}},
        "panels": {"a": {"task": {"task": "jsonl", "path": "/home/me/other.jsonl"}}},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    strip_folders(tmp_path / "spec.yaml")
    kept = (tmp_path / "spec.yaml").read_text()
    assert "/home" not in kept
    assert yaml.safe_load(kept)["models"] == {"a": "x.gguf", "b": "org/name", "c": "cued"}
    assert yaml.safe_load(kept)["panels"]["a"]["task"]["path"] == "other.jsonl"


def test_problems_are_rebuilt_where_the_model_is_gone(tmp_path: Path) -> None:
    """A cell records how its model was asked: reports, exports and verdicts need no weights."""
    write_archive(reference(), tmp_path / "a")
    path = tmp_path / "a" / "spec.yaml"
    path.write_text(path.read_text().replace("cued: cued", "cued: gone.gguf"))
    with open_run_directory(tmp_path / "a") as run:
        found = open_run(run).problems("cued")
        lines = (json.loads(line) for line in rows(run)["cells/cued/base/0/rows/addition.jsonl"])
        assert {line["problem"] for line in lines} == set(found)
        assert all(problem.prompt.startswith("Q:") for problem in found.values())
        checked = verify_run(run)
        assert checked.rows == sum(map(len, rows(run).values()))
        assert not [line for line in checked.differences if "verifier" in line]
