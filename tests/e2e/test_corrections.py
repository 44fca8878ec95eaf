"""A run can be corrected: failed arms bind nothing, `--replace` makes arms again, `--drop` takes them out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from elicit import seeds
from elicit.comparison.running.corrections import Corrections
from elicit.comparison.running.engine import run_cells
from elicit.comparison.spec import check_spec
from tests.e2e.test_resume import _arm_with_death
from tests.support.comparisons import (
    SPEC,
    changed,
    elicit,
    figures,
    policies,
    rows,
    strays,
    with_arms,
    write_spec,
)
from tests.support.shared import once

_STEERED = {
    **with_arms("base"),
    "mean_steering": {**SPEC["arms"]["mean_steering"], "layers": [0], "strengths": [1.0]},
    "mean_steering/random": {"method": "random_vector", "parent": "mean_steering"},
    "self_consistency": {"method": "self_consistency", "n": 2},
}


def _spec(**arms: Any) -> dict[str, Any]:
    return changed(arms={**_STEERED, **arms}, off_target={}, seeds=1, samples=0, test=6)


#: Training shows it, and no look ahead.
_DIVERGES = {
    "method": "rl_steering_random_reward", "steps": 4, "problems": 2, "generations": 4, "pilot_problems": 8,
    "pilot_samples": 4, "train_problems": 8, "learning_rate": 1e30,
}  # fmt: skip

_STRONGER = {**SPEC["arms"]["mean_steering"], "layers": [0], "strengths": [1.5]}


def _steered() -> Path:
    """`_spec()`, run without interruption. Copy it."""

    def make(folder: Path) -> None:
        done = elicit("run", write_spec(folder, _spec()), "--out", folder / "run", "--workers", 1)
        assert done.code == 0, done.err

    return once("steered", make) / "run"


def _hashes(run: Path, *arms: str) -> dict[str, str]:
    """Every file of these arms' cells, by hash."""
    files = [path for arm in arms for path in (run / "cells/cued" / arm).glob("[0-9]*/**/*") if path.is_file()]
    assert files
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _again(run: Path, tmp_path: Path, data: dict[str, Any], *options: object) -> Any:
    return elicit("run", write_spec(tmp_path, data), "--out", run, "--workers", 1, *options)


def test_a_failed_arm_is_corrected_or_left_out_and_every_other_row_stays(tmp_path: Path) -> None:
    run, wrong = tmp_path / "run", _DIVERGES
    assert _again(run, tmp_path, _spec(mean_steering=wrong)).code == 1
    before = _hashes(run, "base", "self_consistency")

    done = _again(run, tmp_path, _spec())
    assert done.code == 0, done.err
    assert _hashes(run, "base", "self_consistency") == before
    assert rows(run) == rows(_steered())
    assert policies(run) == policies(_steered())
    assert strays(run) == []

    shutil.rmtree(run)
    assert _again(run, tmp_path, _spec(mean_steering=wrong)).code == 1
    rest = {arm: _STEERED[arm] for arm in ("base", "self_consistency")}
    done = _again(run, tmp_path, {**_spec(), "arms": rest})
    assert done.code == 0, done.err
    assert sorted(path.name for path in (run / "cells/cued").iterdir()) == ["base", "self_consistency"]
    assert elicit("verify", run).code == 0


def test_a_task_binds_only_cells_that_finished(tmp_path: Path) -> None:
    """Its template, and its file: as long as all cells failed, both may be mended."""
    lines = [json.dumps({"prompt": f"{a}+{b}", "answer": str(a + b)}) for a in range(20, 40) for b in range(21, 31)]
    (tmp_path / "sums.jsonl").write_text("\n".join(lines))
    task = {"task": "jsonl", "path": "sums.jsonl", "stop": ["\n"], "max_new_tokens": 4}
    apart = {"method": "sft", "supervision": "direct", "demonstrations": 8, "learning_rate": 1e30}
    data = changed(task=task, off_target={}, arms={"apart": apart}, seeds=1, samples=0, test=4)
    run = tmp_path / "run"
    assert _again(run, tmp_path, data).code == 1
    (tmp_path / "sums.jsonl").write_text("\n".join([*lines, '{"prompt": "1+1", "answer": "2"}']))
    data = {**data, "task": {**task, "template": "Q:{prompt}\nA:"}, "arms": {"base": {"method": "base"}}}
    done = _again(run, tmp_path, data)
    assert done.code == 0, done.err
    prompts = json.loads((run / "cells/cued/base/0/prompts.json").read_text())
    assert all(prompt.startswith("Q:") for prompt, _ in prompts.values())

    done = _again(run, tmp_path, {**data, "task": task})
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "another spec: task was " in done.err


def test_an_arm_is_made_again_with_what_needs_it_and_nothing_else(tmp_path: Path) -> None:
    run = Path(shutil.copytree(_steered(), tmp_path / "run"))
    before, old = _hashes(run, "base", "self_consistency"), policies(run)
    data = _spec(mean_steering=_STRONGER)
    done = _again(run, tmp_path, data)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--replace mean_steering" in done.err

    done = _again(run, tmp_path, data, "--replace", "mean_steering")
    assert done.code == 0, done.err
    assert "made again: mean_steering, and what needs them: mean_steering/random\n" in done.err
    assert _hashes(run, "base", "self_consistency") == before
    changed_cells = {name for name, sha256 in policies(run).items() if old[name] != sha256}
    assert changed_cells == {"cells/cued/mean_steering/0", "cells/cued/mean_steering/random/0"}
    assert _again(tmp_path / "fresh", tmp_path, data).code == 0
    assert rows(run) == rows(tmp_path / "fresh")
    assert figures(run) == figures(tmp_path / "fresh")
    assert strays(run) == []
    assert elicit("verify", run).code == 0

    # As it is, too: its cells are made anew.
    made = (run / "cells/cued/self_consistency/0/status.json").stat().st_mtime_ns
    assert _again(run, tmp_path, data, "--replace", "self_consistency").code == 0
    assert (run / "cells/cued/self_consistency/0/status.json").stat().st_mtime_ns > made
    assert rows(run) == rows(tmp_path / "fresh")


def test_an_arm_is_taken_out(tmp_path: Path) -> None:
    run = Path(shutil.copytree(_steered(), tmp_path / "run"))
    before = _hashes(run, "base", "self_consistency")
    done = _again(run, tmp_path, _spec(), "--drop", "mean_steering")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "'mean_steering/random' needs mean_steering. Take both out: --drop mean_steering,mean_ste" in done.err
    for _ in range(2):  # typed again, it changes nothing
        done = _again(run, tmp_path, _spec(), "--drop", "mean_steering,mean_steering/random")
        assert done.code == 0, done.err
        assert _hashes(run, "base", "self_consistency") == before
        assert sorted(path.name for path in (run / "cells/cued").iterdir()) == ["base", "self_consistency"]
        assert list(figures(run)["models"]["cued"]["tasks"]["addition"]["arms"]) == ["base", "self_consistency"]
        assert strays(run) == []
    assert elicit("verify", run).code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--replace", "sftt"), "--replace: unknown arm 'sftt'."),
        (("--drop", "sftt"), "--drop: unknown arm 'sftt'."),
        (("--drop", "base", "--replace", "base"), "arm 'base' is named by both --replace and --drop"),
    ],
)
def test_corrections_that_make_no_sense(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    run = Path(shutil.copytree(_steered(), tmp_path / "run"))
    before = _hashes(run, *_STEERED)
    for more in ((), ("--plan",)):
        done = _again(run, tmp_path, _spec(), *options, *more)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert said in done.err
    assert _hashes(run, *_STEERED) == before
    done = _again(tmp_path / "new", tmp_path, _spec(), "--replace", "base")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "holds no run: there is nothing to replace" in done.err


def _killed(data: dict[str, Any], run: Path, moment: int) -> bool:
    """Replace an arm in a forked child that dies at its `moment`-th chance. False: it was finished before."""
    child = os.fork()
    if child == 0:
        try:
            _arm_with_death(moment)
            os._exit(len(run_cells(check_spec(data), run, workers=1, corrections=Corrections(("mean_steering",)))))
        except BaseException:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def test_killed_while_replacing_loses_nothing(tmp_path: Path) -> None:
    run, data = Path(shutil.copytree(_steered(), tmp_path / "run")), _spec(mean_steering=_STRONGER)
    before = _hashes(run, "base", "self_consistency")
    kills = 0
    while _killed(data, run, int(seeds.make_generator("replace", kills).integers(1, 20))):
        kills += 1
        assert kills < 100, "no progress"
        assert _hashes(run, "base", "self_consistency") == before
    assert kills >= 3
    assert not (run / "replacing.json").exists()
    done = _again(run, tmp_path, data)
    assert done.code == 0, done.err
    assert "cued/mean_steering/0 kept" in done.err
    assert strays(run) == []
    assert _again(tmp_path / "fresh", tmp_path, data).code == 0
    assert rows(run) == rows(tmp_path / "fresh")
    assert policies(run) == policies(tmp_path / "fresh")


def test_machines_are_no_part_of_a_run(tmp_path: Path) -> None:
    run = Path(shutil.copytree(_steered(), tmp_path / "run"))
    before, manifest = _hashes(run, *_STEERED), json.loads((run / "manifest.json").read_text())
    assert manifest["devices"] == {"cpu": [f"cued/{arm}/0" for arm in _STEERED]}
    done = elicit(
        *("run", write_spec(tmp_path, {**_spec(), "device": "cpu", "cache_gib": 0.5}), "--out", run, "--workers", 2)
    )
    assert done.code == 0, done.err
    assert done.err.count(" kept") == len(_STEERED)
    assert _hashes(run, *_STEERED) == before
    after = json.loads((run / "manifest.json").read_text())
    assert (after["spec_sha256"], after["devices"]) == (manifest["spec_sha256"], manifest["devices"])
    assert yaml.safe_load((run / "spec.yaml").read_text())["device"] == "cpu"
