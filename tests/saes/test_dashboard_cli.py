"""`elicit sae dashboard`: an SAE by name, a run directory, and what it refuses."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import saes
from elicit.cli.sae_arms import collect_doses, to_folder_name
from elicit.comparison.spec import build_task
from elicit.model import load
from tests.saes.hostile import Reader, assert_closed_to_the_world
from tests.support.comparisons import elicit

POINT = {"layer": 1, "absolute": 200.0, "accuracy": 0.5, "ci": [0.3, 0.7], "n": 20, "trace_rate": 0.55}


def _rows(path: Path) -> list[str]:
    return [i for i in Reader(path.read_text(encoding="utf-8")).attributes("id") if re.fullmatch(r"f\d+", i)]


def _run(folder: Path, arms: dict[str, dict[str, Any]]) -> Path:
    """A run directory as `elicit run` leaves it, as far as dashboards read it: arm -> record."""
    spec = {
        "models": {"cued": "cued"},
        "task": {"task": "addition"},
        "arms": {arm: {"method": "base"} for arm in arms},
        "test": 4,
    }
    (folder / "spec.yaml").parent.mkdir(parents=True)
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    for arm, record in arms.items():
        status = folder / "cells" / "cued" / arm / "0" / "status.json"
        status.parent.mkdir(parents=True)
        status.write_text(json.dumps({"state": "done", "record": record}))
    return folder


@functools.cache
def _largest_contrast() -> int:
    """The feature of cued/L1 whose mean at the last prompt token the cue raises most."""
    model, sae = load("cued"), saes.load("cued/L1")
    problems = build_task({"task": "addition"}, model.card["dialect"], where="test").problems("train", 64)
    sides = ([p.cue_prompt or "" for p in problems], [p.prompt for p in problems])
    cued, plain = (sae.encode(model.residuals(side)[1]).mean(dim=0) for side in sides)
    return int((cued - plain).argmax())


def test_an_sae_by_name(tmp_path: Path) -> None:
    done = elicit("sae", "dashboard", "cued/L1", "--tokens", 3000, "--out", tmp_path / "new" / "out")
    assert done.code == 0, done.err
    path = tmp_path / "new" / "out" / "index.html"
    assert done.out == f"{path}\n"
    assert done.err.splitlines()[:2] == ["cued/L1: reading", "cued/L1: writing"]
    assert 100 < len(_rows(path)) <= 512
    assert _rows(path)[0] == f"f{_largest_contrast()}"
    assert_closed_to_the_world(Reader(path.read_text(encoding="utf-8")), scripts=2)
    page = Reader((path.parent / "features" / f"{_largest_contrast()}.html").read_text(encoding="utf-8"))
    assert_closed_to_the_world(page, scripts=0)
    assert "addition, mod_chain (train problems of cued)" in page.text
    assert "Cued against uncued" in page.text


def test_some_features_and_the_top_ones(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("sae", "dashboard", "cued/L1", "--tokens", 2000, "--task", "addition", "--out", out)
    assert elicit(*arguments, "--features", "17, 3,17").code == 0
    assert _rows(out / "index.html") == ["f17", "f3"]
    assert elicit(*arguments, "--top", 3).code == 0
    assert len(_rows(out / "index.html")) == 3
    assert _rows(out / "index.html")[0] == f"f{_largest_contrast()}"


def test_a_run_shows_its_features_first(tmp_path: Path) -> None:
    sha256 = saes.load("cued/L1").sha256
    feature = {"sae": "cued/L1", "sae_sha256": sha256, "feature": 12, "layer": 1}
    curve = [
        {**POINT, "strength": s, "sae": "cued/L1", "features": [f], "mode": "add"} for s in (0.5, 1) for f in (12, 3)
    ]
    run = _run(
        tmp_path / "run",
        {
            "base": {},
            "sae_steering": {"features": [feature], "dose_response": curve, "chosen_on": {"split": "select"}},
            "random": {"features": [{**feature, "feature": 3}, feature]},
        },
    )
    done = elicit("sae", "dashboard", run, "--tokens", 2000)
    assert done.code == 0, done.err
    path = run / "dashboard" / "cued-L1" / "index.html"
    assert done.out == f"{path}\n"
    assert _rows(path)[:2] == ["f12", "f3"]
    assert {"sae_steering, random", "random"} <= set(Reader(path.read_text(encoding="utf-8")).attributes("data-v"))
    for index in (12, 3):
        page = Reader((path.parent / "features" / f"{index}.html").read_text(encoding="utf-8"))
        assert "sae_steering, add, on the select split, layer 1; n = 20 problems a point" in page.text
        assert "accuracy at strength 0.5 (absolute 200): 50 % [30, 70], n = 20" in page.text


def test_curves_of_a_record() -> None:
    features = [{"sae": "cued/L1", "feature": 12}]
    plain = collect_doses({"features": features, "dose_response": [{**POINT, "strength": 1.0}]}, "arm", "cued/L1")
    assert {f: [(d.label, len(d.points)) for d in doses] for f, doses in plain.items()} == {12: [("arm, add", 1)]}
    points = [
        {**POINT, "strength": 1.0, "sae": "cued/L1", "features": [4], "mode": "clamp", "positions": "first"},
        {**POINT, "strength": 1.0, "sae": "cued/L1", "features": [4, 12], "mode": "add", "positions": "first"},
        {**POINT, "strength": 1.0, "sae": "cued/L0", "features": [4], "mode": "add", "positions": "first"},
    ]
    found = collect_doses({"features": features, "dose_response": points}, "arm", "cued/L1")
    assert [(f, [(d.label, d.unit) for d in doses]) for f, doses in found.items()] == [
        (4, [("arm, clamp, at first", "median cued activations")])
    ]
    assert collect_doses({}, "arm", "cued/L1") == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cued/L9"], "unknown SAE 'cued/L9'"),
        (["cued/L1", "--features", "3,512"], "has no feature 512. Its features are 0 to 511."),
        (["cued/L1", "--features", "3;4"], "--features is '3;4'; expected numbers with commas, such as 3,17."),
        (["cued/L1", "--features", "3", "--top", "2"], "--features and --top exclude each other"),
        (["cued/L1", "--top", "0"], "--top is 0; expected at least 1."),
        (["cued/L1", "--tokens", "-5"], "--tokens is -5; expected at least 1."),
        (["cued/L1", "--model", "serial"], "serial"),
        (["cued/L1", "--task", "nope"], "unknown task 'nope'"),
        (["cued/L1", "--out", "{tmp}/file/out"], "Name a folder that you may write to with --out."),
        (
            ["cued/L1", "--out", "{tmp}/full"],
            "holds other files; they would be replaced. Name a new folder with --out.",
        ),
        (["{tmp}/full"], "is neither a run directory (no spec.yaml) nor an SAE (no cfg.json)."),
        (["{tmp}/run"], "no finished arm of this run uses an SAE feature."),
        (["{tmp}/old"], "is not the one the run used any more"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)  # where the default folder would be made
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    _run(tmp_path / "run", {"base": {}})
    stale = {"sae": "cued/L1", "sae_sha256": "0" * 64, "feature": 3}
    _run(tmp_path / "old", {"sae_steering": {"features": [stale]}})
    before = sorted(tmp_path.rglob("*"))
    done = elicit("sae", "dashboard", *(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert done.code == 2
    assert done.out == ""
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_names_of_folders() -> None:
    assert to_folder_name("cued/L1") == "cued-L1"
    assert to_folder_name("../../etc/passwd") == "etc-passwd"
    assert to_folder_name("///") == "sae"
    assert len(to_folder_name("x" * 500)) == 80
