"""Ways to get the same run: one worker or two, in one go or amended bit by bit. And what may not be mixed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.comparisons import (
    SPEC,
    assert_same_run,
    changed,
    content,
    elicit,
    figures,
    reference,
    with_arms,
    write_spec,
)


def test_two_workers_equal_one(tmp_path: Path) -> None:
    done = elicit("run", write_spec(tmp_path), "--out", tmp_path / "run", "--workers", 2)
    assert done.code == 0, done.err
    assert_same_run(tmp_path / "run", reference())


def _bytes(run: Path) -> dict[Path, bytes]:
    """Rows and policies: what an amendment must keep."""
    kept = [*run.glob("cells/**/rows/*.jsonl"), *run.glob("cells/**/policy/*")]
    return {path: path.read_bytes() for path in kept}


def test_an_amended_run_equals_a_fresh_one_and_keeps_its_rows(tmp_path: Path) -> None:
    whole, run = reference(), tmp_path / "run"
    small = changed(arms=with_arms("base", "sft"), off_target={}, seeds=1, samples=2)
    steps: list[tuple[Any, list[Any]]] = [
        (small, ["--limit", 5, "--arms", "base"]),
        (small, ["--limit", 10]),
        ({**small, "samples": 4, "off_target": SPEC["off_target"]}, ["--limit", 10]),
        (SPEC, []),
    ]
    before: dict[Path, bytes] = {}
    for data, options in steps:
        done = elicit("run", write_spec(tmp_path, data), "--out", run, "--workers", 1, *options)
        assert done.code == 0, done.err
        after = _bytes(run)
        for path, text in before.items():
            if "rows" in path.parts:
                assert after[path].startswith(text), f"{path} was rewritten"
            else:
                assert after[path] == text, f"{path} was rewritten"
        assert sum(map(len, after.values())) > sum(map(len, before.values()))
        before = after
    assert_same_run(run, whole)


@pytest.mark.slow
def test_samples_are_amended_cell_by_cell(tmp_path: Path) -> None:
    """More samples, more sampled problems and more sampled arms; cells that nobody asked more of stay as they are."""
    whole, run = reference(), tmp_path / "run"
    small = changed(arms=with_arms("base", "self_consistency", "sft"), off_target={}, seeds=1)
    steps: list[tuple[Any, int]] = [
        ({"n": 2, "problems": 3, "arms": ["base"]}, 0),
        ({"n": 3, "problems": 3, "arms": ["base"]}, 2),
        ({"n": 3, "problems": 5, "arms": ["base"]}, 2),
        ({"n": 3, "problems": 5, "arms": ["base", "sft"]}, 2),
        ({"n": 3, "problems": 20, "arms": ["base", "sft"]}, 1),
        (4, 0),
    ]
    for asked, kept in steps:
        spec = write_spec(tmp_path, {**small, "samples": asked})
        done = elicit("run", spec, "--out", run, "--workers", 1)
        assert done.code == 0, done.err
        assert done.err.count(" kept\n") == kept
        wanted = {"n": asked, "problems": 20, "arms": None} if isinstance(asked, int) else asked
        task = figures(run)["models"]["cued"]["tasks"]["addition"]
        assert task["samples"] == {"n": wanted["n"], "problems": wanted["problems"]}
        for arm in small["arms"]:
            drawn = [row for row in _rows(run, arm) if row["sample"] > 0]
            sampled = wanted["arms"] is None or arm in wanted["arms"]
            assert len(drawn) == (wanted["n"] * wanted["problems"] if sampled else 0)
            assert (task["arms"][arm]["pass_at_k"] is not None) == sampled
    assert elicit("run", write_spec(tmp_path), "--out", run, "--workers", 1).code == 0
    assert_same_run(run, whole)


def _rows(run: Path, arm: str) -> list[dict[str, Any]]:
    lines = (run / f"cells/cued/{arm}/0/rows/addition.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_limited_run_says_so_and_covers_the_first_problems_of_the_whole(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, changed(arms=with_arms("base"), off_target={}, seeds=1, samples=0))
    assert elicit("run", spec, "--out", tmp_path / "run", "--workers", 1, "--limit", 7).code == 0
    place = "cells/cued/base/0/rows/addition.jsonl"
    few = (tmp_path / "run" / place).read_text().splitlines()
    whole = [line for line in (reference() / place).read_text().splitlines() if json.loads(line)["sample"] == 0]
    assert few == whole[:7]
    assert figures(tmp_path / "run")["limit"] == 7


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(reference(), tmp_path_factory.mktemp("finished") / "run"))


_SFT = SPEC["arms"]["sft"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"task": {"task": "addition", "digits": 3}}, 'task was {"task": "addition"}, now {"task": "addition", "digi'),
        ({"arms": {**SPEC["arms"], "sft": {**_SFT, "epochs": 3}}}, 'arms.sft was {"method": "sft", "demonstrations'),
        ({"arms": with_arms("base", "sft", "mean_steering")}, 'arms.self_consistency was {"method": "self_consist'),
        ({"off_target": {}}, 'off_target.mod_chain was {"task": "mod_chain"}, now null'),
        ({"seeds": 1}, "seeds was 2, now 1"),
        ({"test": 19}, "test was 20, now 19"),
        ({"samples": 3}, "samples was 4, now 3"),
        ({"samples": {"n": 8, "problems": 5}}, 'samples was 4, now {"n": 8, "problems": 5, "arms": null}'),
        ({"samples": {"n": 8, "arms": ["base"]}}, 'samples was 4, now {"n": 8, "problems": null, "arms": ["base"]}'),
        ({"kl_problems": 5}, "kl_problems was 4, now 5"),
        ({"dtype": "bfloat16"}, 'dtype was "auto", now "bfloat16"'),
        ({"models": {"other": "cued"}}, 'models.cued was "cued", now null'),
    ],
)
def test_another_spec_is_refused_with_the_difference(
    finished: Path, tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    before = content(finished)
    done = elicit("run", write_spec(tmp_path, changed(**fields)), "--out", finished)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert f"{finished} holds a run of another spec: {said}" in done.err
    assert "Name another folder with --out" in done.err
    assert content(finished) == before


def test_a_smaller_limit_is_refused(finished: Path, tmp_path: Path) -> None:
    before = content(finished)
    done = elicit("run", write_spec(tmp_path), "--out", finished, "--limit", 10)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "holds a run with 20 test problems; --limit 10 would shrink it" in done.err
    assert content(finished) == before


def test_a_limit_above_the_test_problems_is_no_limit(finished: Path, tmp_path: Path) -> None:
    done = elicit("run", write_spec(tmp_path), "--out", finished, "--limit", 500)
    assert done.code == 0, done.err
    assert "[6/6]" in done.err
    assert done.err.count("kept") == 6


def test_other_weights_under_the_same_name_are_not_mixed_in(finished: Path, tmp_path: Path) -> None:
    """A model that was trained anew: its rows must not stand beside those of the old one."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    for path in run.rglob("status.json"):
        status = json.loads(path.read_text())
        status["model"]["weights_sha256"] = "0" * 64
        path.write_text(json.dumps(status))
    shutil.rmtree(run / "cells/cued/base/0")
    done = elicit("run", write_spec(tmp_path), "--out", run, "--workers", 1)
    assert done.code == 1
    assert "are not those that this run began with (000000000000)" in done.err
    assert not (run / "cells/cued/base/0/rows").exists()
