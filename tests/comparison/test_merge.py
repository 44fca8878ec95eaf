"""Runs of one spec with other cells done become one run, and whatever contradicts is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from elicit.comparison.running.engine import run_cells
from elicit.comparison.spec import parse_spec
from elicit.comparison.verify import verify_run
from tests.support.comparisons import assert_same_run, content, elicit
from tests.support.shared import once

SPEC = """
models: [cued]
task: addition
arms:
  base: {method: base}
  cue_prompt: {method: cue_prompt}
  mean_steering: {method: mean_steering, layers: [0], strengths: [1.0], train_problems: 16, select_problems: 8}
  mean_steering/random: {method: random_vector, parent: mean_steering}
test: 6
samples: 1
kl_problems: 2
"""
_PARTS = {"one": ["base"], "two": ["mean_steering/random"], "three": ["cue_prompt", "base"]}


def _parts() -> Path:
    """The whole run, and the three partial ones."""

    def make(folder: Path) -> None:
        (folder / "spec.yaml").write_text(SPEC)
        assert elicit("run", folder / "spec.yaml", "--out", folder / "whole", "--workers", 1).code == 0
        for name, arms in _PARTS.items():
            assert run_cells(parse_spec(SPEC), folder / name, arms=arms, workers=1) == []

    return once("merge-parts", make)


def test_three_partial_runs_become_the_whole_one(tmp_path: Path) -> None:
    parts, run = _parts(), tmp_path / "run"
    before = {name: content(parts / name) for name in _PARTS}
    done = elicit("merge", *(parts / name for name in _PARTS), "--out", run)
    assert done.code == 0, done.err
    assert "4 of 4 cells finished" in done.out
    assert_same_run(run, parts / "whole")
    result = verify_run(run)
    assert (result.differences, result.rows > 0) == ([], True)
    assert {name: content(parts / name) for name in _PARTS} == before
    again = elicit("run", parts / "spec.yaml", "--out", run, "--workers", 1)
    assert (again.code, again.err.count(" kept")) == (0, 4)
    assert_same_run(run, parts / "whole")


def test_what_none_has_finished_is_left_to_run(tmp_path: Path) -> None:
    parts, run = _parts(), tmp_path / "run"
    done = elicit("merge", parts / "one", parts / "three", "--out", run)
    assert "2 of 4 cells finished" in done.out
    assert not (run / "cells/cued/mean_steering").exists()
    assert elicit("run", parts / "spec.yaml", "--out", run, "--join", "--workers", 1).code == 0
    assert_same_run(run, parts / "whole")


def _edit_json(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def _change_row(run: Path) -> None:
    path = run / "cells/cued/base/0/rows/addition.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    row = json.loads(lines[3])
    lines[3] = json.dumps({**row, "completion": row["completion"] + "!"}) + "\n"
    path.write_text("".join(lines))


def _other_weights(run: Path) -> None:
    _edit_json(
        run / "cells/cued/cue_prompt/0/status.json",
        lambda status: status["model"].update(weights_sha256="0" * 64),  # type: ignore[attr-defined]
    )


def _other_problems(run: Path) -> None:
    _edit_json(run / "manifest.json", lambda manifest: manifest.update(problems={"cued/addition": "0" * 64}))


def _other_spec(run: Path) -> None:
    path = run / "spec.yaml"
    path.write_text(path.read_text().replace("kl_problems: 2", "kl_problems: 3"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_change_row, "cued/base/0 is done in "),
        (_other_weights, "cued was another model in "),
        (_other_problems, "differ in problems of manifest.json: cued/addition"),
        (_other_spec, "are runs of two specs: kl_problems is 2 in the first, 3 in the second"),
        (lambda run: shutil.rmtree(run), "holds no spec.yaml"),
    ],
)
def test_what_contradicts_is_refused_and_nothing_is_written(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    shutil.copytree(_parts() / "three", tmp_path / "three")
    change(tmp_path / "three")
    refused = elicit("merge", _parts() / "one", tmp_path / "three", "--out", tmp_path / "run")
    assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
    assert said in refused.err
    if change is _change_row:
        row = json.loads((tmp_path / "three/cells/cued/base/0/rows/addition.jsonl").read_text().splitlines()[3])
        assert f"problem {row['problem']}, sample {row['sample']}" in refused.err
    assert {path.name for path in tmp_path.iterdir()} <= {"three"}


def test_a_target_that_exists_and_a_single_run_are_refused(tmp_path: Path) -> None:
    one = _parts() / "one"
    for arguments in ((one, _parts() / "two", "--out", tmp_path), (one, one, "--out", tmp_path / "run")):
        refused = elicit("merge", *arguments)
        assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
    assert list(tmp_path.iterdir()) == []
