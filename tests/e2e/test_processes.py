"""`processes: 2`: a run whose trainings are shared by processes that torch's launcher starts, through the command line.

That they learn the same as one process is tested in `tests/training/test_world.py`, without the launcher.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elicit.comparison.running.cell_policy import SCRATCH
from elicit.comparison.spec import check_spec
from elicit.comparison.spec.cells import list_cells
from elicit.comparison.spec.shared_training import describe_processes
from elicit.comparison.storage.manifest import hash_spec
from tests.support.comparisons import changed, elicit, rows, start, write_spec
from tests.support.processes import wait_for

BASE: dict[str, Any] = {"method": "base"}
SFT: dict[str, Any] = {"method": "sft", "demonstrations": 13, "epochs": 3}
GRPO: dict[str, Any] = {
    "method": "grpo",
    "steps": 6,
    "problems": 3,
    "generations": 8,
    "pilot_problems": 24,
    "pilot_samples": 16,
    "lora_rank": 4,
    "learning_rate": 1e-3,
    "checkpoint_every": 2,
}


def _spec(arms: dict[str, Any], **fields: Any) -> dict[str, Any]:
    fixed: dict[str, Any] = {"seeds": 1, "off_target": {}, "samples": 0, "test": 8, "kl_problems": 2}
    return changed(arms=arms, **{**fixed, "processes": 2, **fields})


def _status(run: Path, arm: str) -> dict[str, Any]:
    status: dict[str, Any] = json.loads((run / "cells" / "cued" / arm / "0" / "status.json").read_text())
    return status


def _ranks(run: Path) -> dict[int, int]:
    """Rank -> pid of the processes that train for a run."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if b"elicit.comparison.running.torchrun_process" not in line or str(run).encode() not in b"\0".join(line):
                continue
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = [variable[5:] for variable in variables if variable.startswith(b"RANK=")]
        if rank:  # the launcher's arguments name the module too
            found[int(rank[0])] = int(entry.name)
    return found


@pytest.mark.parametrize(
    ("fields", "arms", "message"),
    [
        ({"processes": 3}, {"grpo": GRPO}, "generations: 6"),
        ({"device": "balanced"}, {"sft": SFT}, "device: cuda"),
        ({"device": "cuda:0"}, {"sft": SFT}, "CUDA_VISIBLE_DEVICES"),
        ({"processes": 0}, {"sft": SFT}, "processes"),
        ({"processes": "two"}, {"sft": SFT}, "processes"),
    ],
)
def test_refused_before_anything_runs(tmp_path: Path, fields: Any, arms: Any, message: str) -> None:
    done = elicit("run", write_spec(tmp_path, _spec({"base": BASE, **arms}, **fields)), "--out", tmp_path / "run")
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run").exists()


def test_the_number_is_no_part_of_a_runs_identity() -> None:
    one, two = (check_spec(_spec({"base": BASE, "sft": SFT}, processes=n), where="spec") for n in (1, 2))
    assert hash_spec(one.to_dict(), None) == hash_spec(two.to_dict(), None)
    assert [cell.fingerprint for cell in list_cells(one)] == [cell.fingerprint for cell in list_cells(two)]
    assert "processes" not in one.to_dict()


def test_arms_that_cannot_share_are_named_once(tmp_path: Path) -> None:
    watched = {**SFT, "protect": {"task": "mod_chain"}}
    arms = {"base": BASE, "sft": SFT, "watched": watched, "rl_steering": {"method": "rl_steering"}}
    assert describe_processes(check_spec(_spec(arms, processes=1), where="spec")) is None
    words = describe_processes(check_spec(_spec(arms), where="spec"))
    assert words == "2 share each training of sft; watched, rl_steering: in one process"
    done = elicit("run", write_spec(tmp_path, _spec(arms)), "--out", tmp_path / "run", "--plan")
    assert done.code == 0, done.err
    assert done.err.count(words) == 1


@pytest.mark.slow
def test_two_processes_make_the_rows_of_one(tmp_path: Path) -> None:
    """Sharded weights, an adapter, critiques and reinforcement; with a space in the path. Then one process goes on."""
    arms = {
        "base": BASE,
        "sft": {**SFT, "checkpoints": [2, 4]},
        "lora": {**SFT, "lora_rank": 4},
        "critique": {"method": "critique", "problems": 4, "candidates": 2, "epochs": 1, "held_out": 2},
        "grpo": GRPO,
        "mean_steering": changed()["arms"]["mean_steering"],
    }
    folder = tmp_path / "a folder"
    folder.mkdir()
    run, alone = folder / "two", folder / "one"
    done = elicit("run", write_spec(folder, _spec(arms)), "--out", run)
    assert done.code == 0, done.err
    assert elicit("run", write_spec(folder, _spec(arms)), "--out", alone, "--processes", 1, "--workers", 1).code == 0
    assert rows(run) == rows(alone)
    for arm in arms:
        status = _status(run, arm)
        assert "processes" not in _status(alone, arm)
        if arm in ("base", "mean_steering"):
            assert "processes" not in status
        else:
            assert status["processes"]["count"] == 2
            assert status["processes"]["backend"] == "gloo"
            assert status["processes"]["peak_gib"] > 0.1
            assert status["fit_seconds"] > 0
            assert not (run / "cells" / "cued" / arm / "0" / SCRATCH).exists()
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (run, alone)]
    together = [f"cued/{arm}/0" for arm in arms if arm not in ("base", "mean_steering")]
    assert manifests[0]["processes"] == {"2 (gloo)": together}
    assert "processes" not in manifests[1]
    assert manifests[0]["spec_sha256"] == manifests[1]["spec_sha256"]
    assert elicit("verify", run).code == 0
    again = elicit("run", write_spec(folder, _spec(arms, test=10)), "--out", run, "--processes", 1, "--workers", 1)
    assert again.code == 0, again.err
    assert _status(run, "sft")["processes"]["count"] == 2, "who trained it does not change with more problems"


@pytest.mark.slow
def test_a_killed_process_ends_the_cell_and_the_same_command_goes_on(tmp_path: Path) -> None:
    spec = _spec({"base": BASE, "grpo": {**GRPO, "steps": 40}})
    path, run = write_spec(tmp_path, spec), tmp_path / "run"
    process = start("run", path, "--out", run)
    scratch = run / "cells" / "cued" / "grpo" / "0" / SCRATCH
    wait_for(lambda: (scratch / "checkpoint-2" / "seal.json").exists())
    ranks = _ranks(run)
    assert sorted(ranks) == [0, 1]
    os.kill(ranks[1], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    status = _status(run, "grpo")
    assert status["state"] == "failed"
    assert "process 1 of 2" in status["error"]
    assert "SIGKILL" in status["error"]
    assert status["traceback"] is None
    assert not _ranks(run)
    assert list(scratch.glob("checkpoint-*/seal.json")), "the next attempt begins there"
    done = elicit("run", path, "--out", run)
    assert done.code == 0, done.err
    other = elicit("run", path, "--out", tmp_path / "whole")
    assert other.code == 0, other.err
    assert rows(run) == rows(tmp_path / "whole")
    assert _status(run, "grpo")["policy_sha256"] == _status(tmp_path / "whole", "grpo")["policy_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["interrupt", "kill", "kill the launcher", "interrupt with workers"])
def test_nothing_goes_on_without_the_run(tmp_path: Path, how: str) -> None:
    spec = _spec({"base": BASE, "grpo": {**GRPO, "steps": 400}, "sft": {**SFT, "epochs": 2000}})
    run = tmp_path / "run"
    process = start("run", write_spec(tmp_path, spec), "--out", run, "--workers", 2 if "workers" in how else 1)
    try:
        wait_for(lambda: len(_ranks(run)) == 2)
        wait_for(lambda: any(run.glob("cells/cued/*/0/scratch/checkpoint-*/seal.json")))
        if how == "kill the launcher":
            parent = int((Path("/proc") / str(_ranks(run)[0]) / "stat").read_text().split()[3])
            os.kill(parent, signal.SIGKILL)
            status = run / "cells" / "cued" / "grpo" / "0" / "status.json"
            wait_for(lambda: status.exists() and "launcher" in _status(run, "grpo").get("error", ""))
        process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode == (-signal.SIGKILL if how == "kill" else 130), err
        wait_for(lambda: not _ranks(run), seconds=10)
    finally:
        process.kill()  # of a test that failed; its processes end with it


@pytest.mark.slow
def test_code_of_the_users_own_and_its_faults(tmp_path: Path) -> None:
    """A reward from a file is found by every process; what it refuses is one line, and a fault keeps its traceback."""
    code = tmp_path / "my code.py"
    code.write_text(
        "from trl import GRPOTrainer\n"
        "def short(completions, **kwargs):\n    return [-0.01 * len(text) for text in completions]\n"
        "def wrong(completions, **kwargs):\n    return [1.0]\n"
        "class Broken(GRPOTrainer):\n"
        "    def _compute_loss(self, *args, **kwargs):\n        raise RuntimeError('of my own')\n"
    )
    small = {**GRPO, "steps": 2}
    arms = {
        "base": BASE,
        "short": {**small, "reward": f"{code}:short"},
        "wrong": {**small, "reward": f"{code}:wrong"},
        "broken": {**small, "trainer_class": f"{code}:Broken"},
    }
    run = tmp_path / "run"
    assert elicit("run", write_spec(tmp_path, _spec(arms)), "--out", run).code == 1
    assert _status(run, "short")["state"] == "done"
    assert "expected 24 finite numbers" in _status(run, "wrong")["error"]
    assert _status(run, "wrong")["traceback"] is None
    assert "RuntimeError: of my own" in _status(run, "broken")["error"]
    assert "in _compute_loss" in _status(run, "broken")["traceback"]


@pytest.mark.slow
@pytest.mark.parametrize("started", [1, 3])
def test_a_process_that_is_started_otherwise_refuses(tmp_path: Path, started: int) -> None:
    """By hand: as plain Python, and by torchrun with three processes."""
    request = {
        "spec": {"models": ["cued"], "task": "addition", "arms": {"sft": SFT}},
        "cell": "cued/sft/0",
        "run": str(tmp_path),
        "folder": str(tmp_path / "cell"),
        "processes": 2,
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    launcher = [] if started == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    line = [sys.executable, *launcher, "-m", "elicit.comparison.running.torchrun_process", str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    message = json.loads(next(tmp_path.glob("error-*.json")).read_text())["message"]
    assert f"{started} process" in message
    assert "2 processes" in message
    assert message in done.stderr
    assert not (tmp_path / "cell").exists()
