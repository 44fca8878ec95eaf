"""Cells on a Ray cluster of emulated nodes: workers, a node and the driver die; the rows are those of a local run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elicit.comparison.spec import check_spec
from elicit.comparison.spec.cells import list_cells
from tests.support.clusters import emulate_cluster, kill_worker, list_workers
from tests.support.comparisons import SPEC, assert_same_run, changed, elicit, rows, start, write_spec
from tests.support.models import save_tiny
from tests.support.processes import wait_for
from tests.support.shared import once

pytest.importorskip("ray", reason="installed by `make test`")

_STEERING = {**SPEC["arms"]["mean_steering"], "layers": [0], "strengths": [1.0], "select_problems": 8}
#: 30 cells, of which controls need their parents.
_THIRTY: dict[str, Any] = changed(
    arms={
        "base": {"method": "base"},
        "cue_prompt": {"method": "cue_prompt"},
        "mean_steering": _STEERING,
        "mean_steering/random": {"method": "random_vector", "parent": "mean_steering"},
        "sft": {"method": "sft", "demonstrations": 4, "epochs": 1},
        "self_consistency": {"method": "self_consistency", "n": 4},
    },
    seeds=9,
    samples=2,
    test=30,
)
_FEW: dict[str, Any] = {
    **_THIRTY,
    "arms": {name: _THIRTY["arms"][name] for name in ("base", "mean_steering", "mean_steering/random")},
    "seeds": 4,
}


def _run_locally(name: str, data: dict[str, Any]) -> Path:
    def make(folder: Path) -> None:
        done = elicit("run", write_spec(folder, data), "--out", folder / "run", "--workers", 1)
        assert done.code == 0, done.err

    return once(f"ray-{name}", make) / "run"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with emulate_cluster({"num_cpus": 1}, {"num_cpus": 1}, {"num_cpus": 1}) as emulated:
        yield emulated


def _wait(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=900)
    return process.returncode, err


def _rows_under_way(run: Path) -> list[Path]:
    """Files of rows of cells that workers are at."""
    return [path for path in run.glob("claims/held/*@*/*/cell/rows/*.jsonl") if path.stat().st_size]


def _one_line(done: subprocess.CompletedProcess[str], said: str) -> None:
    """It was refused, in one line and with nothing else on stderr."""
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr


def _call(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "elicit.cli.main", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=600, **options)


@pytest.mark.slow
def test_a_cluster_of_this_machine_and_a_plain_model(tmp_path: Path) -> None:
    """Started and stopped by the run; from another folder, with paths that have spaces and are relative."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    save_tiny("gpt2", folder / "gpt2")
    arms = {"base": {"method": "base"}, "votes": {"method": "self_consistency", "n": 2}}
    data = {"models": {"m": "./gpt2"}, "task": {"task": "sums", "max_new_tokens": 8}, "arms": arms, "test": 4}
    write_spec(folder, {**data, "kl_problems": 2})
    done = _call("run", "a folder/spec.yaml", "--out", "on ray", "--on", "ray", "--workers", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert elicit("run", folder / "spec.yaml", "--out", tmp_path / "here", "--workers", 1).code == 0
    assert_same_run(tmp_path / "on ray", tmp_path / "here")
    assert not (tmp_path / "on ray" / "claims").exists()


@pytest.mark.slow
def test_workers_and_a_node_die_and_the_rows_are_those_of_a_local_run(tmp_path: Path, cluster: Any) -> None:
    assert len(list_cells(check_spec(_THIRTY))) == 30
    local = _run_locally("thirty", _THIRTY)
    node = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    spec, run = write_spec(tmp_path, _THIRTY), tmp_path / "run"
    process = start("run", spec, "--out", run, "--on", cluster.address)
    wait_for(lambda: len(list(run.glob("cells/cued/*/*/status.json"))) >= 3)
    wait_for(lambda: bool(_rows_under_way(run)) and kill_worker("cued/"))
    wait_for(lambda: len(list(run.glob("cells/cued/*/*/status.json"))) >= 8)
    raylet = node.all_processes["raylet"][0].process.pid
    wait_for(lambda: any(worker.ppid() == raylet for worker in list_workers("cued/")))
    cluster.remove_node(node, allow_graceful=False)
    code, err = _wait(process)
    assert code == 0, err
    assert err.count("its worker died") == 2
    assert_same_run(run, local)
    assert not (run / "claims").exists()


@pytest.mark.slow
def test_a_driver_that_was_killed_is_gone_on_with_on_ray_or_not(tmp_path: Path, cluster: Any) -> None:
    local = _run_locally("few", _FEW)
    spec, run = write_spec(tmp_path, _FEW), tmp_path / "run"
    for number in (signal.SIGKILL, signal.SIGINT):
        process = start("run", spec, "--out", run, "--on", cluster.address)
        wait_for(lambda: bool(list_workers("cued/") and _rows_under_way(run)), seconds=90)
        os.kill(process.pid, signal.SIGSTOP)
        refused = _call("run", spec, "--out", run, "--on", cluster.address)
        assert refused.returncode == 2
        assert "in use by another process" in refused.stderr.splitlines()[-1]
        os.kill(process.pid, number)
        os.kill(process.pid, signal.SIGCONT)
        code, err = _wait(process)
        assert code == (130 if number == signal.SIGINT else -number), err
        assert "Traceback" not in err
        wait_for(lambda: not list_workers("cued/"), seconds=90)
        assert bool(list(run.glob("claims/held/*"))) == (number == signal.SIGKILL)
    assert len(rows(run)) < len(rows(local))
    done = _call("run", spec, "--out", run, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert_same_run(run, local)


@pytest.mark.slow
def test_a_folder_that_workers_do_not_see(tmp_path: Path, cluster: Any) -> None:
    """The folder is reached through a file descriptor of the driver: for any other process the path leads nowhere."""
    local = _run_locally("few", _FEW)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        out = f"/proc/self/fd/{folder}/run"
        process = start("run", write_spec(tmp_path, _FEW), "--out", out, "--on", cluster.address, pass_fds=[folder])
        wait_for(lambda: bool(list((tmp_path / "run").glob("claims/held/*@mean_steering@*/*/cell"))))
        wait_for(lambda: kill_worker("cued/mean_steering"))
        code, err = _wait(process)
    finally:
        os.close(folder)
    assert code == 0, err
    assert_same_run(tmp_path / "run", local)


@pytest.mark.slow
def test_through_ray_client(tmp_path: Path, cluster: Any) -> None:
    local = _run_locally("few", _FEW)
    done = _call("run", write_spec(tmp_path, _FEW), "--out", tmp_path / "run", "--on", cluster.client)
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "run", local)


@pytest.mark.slow
def test_a_cell_that_fails_is_a_failed_cell_and_is_sent_out_once(tmp_path: Path, cluster: Any) -> None:
    arms = {"base": {"method": "base"}, "sft": {"method": "sft", "demonstrations": 8, "learning_rate": 1e30}}
    data = {**_FEW, "arms": arms, "seeds": 1, "samples": 0}
    spec = write_spec(tmp_path, data)
    statuses = []
    for options in (("--on", cluster.address), ("--workers", 1)):
        run = tmp_path / options[0].strip("-")
        done = _call("run", spec, "--out", run, *options)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert "its worker died" not in done.stderr
        status = json.loads((run / "cells/cued/sft/0/status.json").read_text())
        statuses.append({name: value for name, value in status.items() if "seconds" not in name})
    assert statuses[0] == statuses[1]
    assert statuses[0]["state"] == "failed"


@pytest.mark.slow
def test_what_no_node_can_hold_is_refused_before_anything_is_written(tmp_path: Path, cluster: Any) -> None:
    spec, run = write_spec(tmp_path, _FEW), tmp_path / "run"
    for options in (("--cpus-per-cell", 2), ("--memory-per-cell", 100_000), ("--gpus-per-cell", 0.5)):
        done = _call("run", spec, "--out", run, "--on", cluster.address, *options)
        _one_line(done, "which no node of the cluster has")
        assert not run.exists()


@pytest.mark.slow
def test_a_node_with_other_code_is_refused(tmp_path: Path, cluster: Any) -> None:
    other = tmp_path / "other"
    repository = Path(__file__).parents[2]
    for package in ("elicit", "saes"):
        shutil.copytree(repository / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "elicit" / "seeds.py").open("a") as file:
        file.write("# another version\n")
    spec, run = write_spec(tmp_path, _FEW), tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": str(other)}
    done = _call("run", spec, "--out", run, "--on", cluster.address, env=environment, cwd=tmp_path)
    _one_line(done, "has other code of elicit")
    assert not run.exists()


@pytest.mark.slow
def test_claims_that_are_removed_end_the_run_and_no_row_is_lost_or_doubled(tmp_path: Path, cluster: Any) -> None:
    local = _run_locally("few", _FEW)
    spec, run = write_spec(tmp_path, _FEW), tmp_path / "run"
    process = start("run", spec, "--out", run, "--on", cluster.address)
    wait_for(lambda: bool(_rows_under_way(run)), seconds=90)
    shutil.rmtree(run / "claims", ignore_errors=True)
    code, err = _wait(process)
    assert (code, err.splitlines()[-1].count("are gone")) == (2, 1), err
    assert "Traceback" not in err
    done = _call("run", spec, "--out", run, "--on", cluster.address)
    assert done.returncode == 0, done.stderr
    assert_same_run(run, local)
