"""Cells on a cluster, as far as no cluster is needed: resources, refusals, and cells whose files travel as bytes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from elicit.comparison.cell_state import read_cell_status
from elicit.comparison.cluster.cell_files import read_inputs, write_files
from elicit.comparison.cluster.code_identity import read_code
from elicit.comparison.cluster.demand import (
    Demand,
    ResourceOptions,
    check_demands,
    choose_gpus,
    choose_worker_device,
    estimate_demands,
)
from elicit.comparison.cluster.nodes import NodeQuestion, find_problem
from elicit.comparison.cluster.remote_cell import CellAnswer, CellTask, run_cell_task
from elicit.comparison.spec import Spec, check_spec
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.errors import ElicitError
from tests.support.comparisons import SPEC, changed, elicit, rows, write_spec
from tests.support.models import save_tiny

_STEERING = {**SPEC["arms"]["mean_steering"], "layers": [0], "strengths": [1.0], "select_problems": 8}
_DATA: dict[str, Any] = changed(
    arms={"mean_steering": _STEERING, "control": {"method": "random_vector", "parent": "mean_steering"}},
    off_target={},
    seeds=1,
    samples=1,
    test=6,
)
_GIB = 2.0**30


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--gpus-per-cell", 1), "--gpus-per-cell is for cells on a cluster"),
        (("--on", "rya"), "--on is 'rya'; expected ray"),
        (("--on", "ray", "--join"), "--join shares it"),
        (("--on", "ray", "--slurm", 2), "--slurm shares it"),
        (("--on", "ray", "--cpus-per-cell", 0), "--cpus-per-cell is 0"),
        (("--on", "ray", "--gpus-per-cell", 1.5), "--gpus-per-cell is 1.5"),
        (("--on", "ray", "--memory-per-cell", -1), "--memory-per-cell is -1"),
        (("--on", "127.0.0.1:1"), "the cluster cannot be reached"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(tmp_path: Path, options: tuple[object, ...], said: str) -> None:
    if "127.0.0.1:1" in options:
        pytest.importorskip("ray", reason="installed by `make test`")
    done = elicit("run", write_spec(tmp_path, _DATA), "--out", tmp_path / "run", *options)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert said in done.err
    assert not (tmp_path / "run").exists()


def test_ray_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    done = elicit("run", write_spec(tmp_path, _DATA), "--out", tmp_path / "run", "--on", "ray")
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "pip install 'elicit-reasoning[ray]'" in done.err
    assert not (tmp_path / "run").exists()


def _demands(options: ResourceOptions, *resources: dict[str, float], **fields: Any) -> dict[str, Demand]:
    spec = check_spec({**_DATA, **fields})
    return estimate_demands(spec, list_cells(spec), options, resources, limit=None)


def test_a_cell_asks_for_its_threads_its_gpu_and_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    plain, gpu = {"CPU": 8.0, "memory": 16 * _GIB}, {"CPU": 16.0, "GPU": 2.0, "memory": 64 * _GIB}
    small = _demands(ResourceOptions(), plain)["cued/mean_steering/0"]
    assert (small.cpus, small.gpus) == (1, 0)
    assert 0.5 < small.gib < 4
    large = {"models": {"m": {"name": "nobody/nothing", "assume": "1.7B"}}}
    unseen = _demands(ResourceOptions(), plain, {"CPU": 4.0}, **large)["m/mean_steering/0"]
    assert (unseen.cpus, unseen.gib > 3.4) == (4, True)
    on_gpu = _demands(ResourceOptions(), plain, gpu)["cued/control/0"]
    assert (on_gpu.cpus, on_gpu.gpus) == (1, 1)
    typed = _demands(ResourceOptions(2, 0.5, 3), plain, gpu)["cued/control/0"]
    assert typed == Demand(2, 0.5, 3)
    assert _demands(ResourceOptions(), gpu, device="cpu")["cued/control/0"].gpus == 0
    arms = {"base": {"method": "base"}, "sft": {"method": "sft", "demonstrations": 8}}
    shared = _demands(ResourceOptions(), gpu, arms=arms, processes=2)
    assert {name: demand[:2] for name, demand in shared.items()} == {"cued/base/0": (1, 1), "cued/sft/0": (2, 2)}


def test_what_fits_on_no_node_is_refused() -> None:
    nodes = [{"CPU": 2.0, "memory": 8 * _GIB}, {"CPU": 1.0, "GPU": 1.0, "memory": 64 * _GIB}]
    check_demands({"a": Demand(2, 0, 8), "b": Demand(1, 0.5, 64)}, nodes)
    for demand in (Demand(2, 1, 0), Demand(2, 0, 9), Demand(3, 0, 0), Demand(1, 2, 0)):
        with pytest.raises(ElicitError, match=r"^m/arm/0 needs .*which no node of the cluster has"):
            check_demands({"m/arm/0": demand}, nodes)


@pytest.mark.parametrize(
    ("device", "gpus", "said"),
    [
        ("cuda:1", None, "on a cluster Ray chooses"),
        ("balanced", None, "--gpus-per-cell 2"),
        ("cpu", 1.0, "--device cuda"),
        ("cuda", 0.0, "--device cpu"),
    ],
)
def test_devices_that_a_cluster_cannot_give(device: str, gpus: float | None, said: str) -> None:
    with pytest.raises(ElicitError, match=said):
        choose_gpus(device, ResourceOptions(gpus=gpus), [{"GPU": 4.0}])


def test_a_worker_uses_the_gpus_that_it_sees() -> None:
    assert [choose_worker_device(device, gpus) for device, gpus in (("auto", 0), ("auto", 0.5), ("balanced", 2))] == [
        *("cpu", "cuda", "balanced"),
    ]


def test_a_node_without_the_model_or_the_code_of_a_task_says_so(tmp_path: Path) -> None:
    folder = save_tiny("gpt2", tmp_path / "gpt2")
    (tmp_path / "mine.py").write_text("from elicit.tasks.families.sums import *\n")
    spec = check_spec({**_DATA, "models": {"m": str(folder)}, "task": {"task": "sums", "max_new_tokens": 8}})
    question = NodeQuestion(spec, ("m",), False, tmp_path)
    assert find_problem(question) is None
    shutil.rmtree(folder)
    problem = find_problem(question)
    assert problem is not None
    assert str(folder) in problem


def _cell(spec: Spec, arm: str) -> Cell:
    return next(cell for cell in list_cells(spec) if cell.arm == arm)


def test_a_cell_whose_files_travel_has_the_rows_of_one_that_runs_in_its_place(tmp_path: Path) -> None:
    """A control, which needs its parent's policy, after a kill that left half of its rows."""
    spec_file, local, run = write_spec(tmp_path, _DATA), tmp_path / "local", tmp_path / "run"
    assert elicit("run", spec_file, "--out", local, "--workers", 1).code == 0
    spec = check_spec(_DATA)
    cell = _cell(spec, "control")
    shutil.copytree(local, run)
    folder = cell.folder_in(run)
    (folder / "status.json").unlink()
    path = folder / "rows" / "addition.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:10])
    task = CellTask(cell, spec, run, tmp_path / "nowhere" / "cell", None, Path.cwd(), 1, read_code(), None)
    assert run_cell_task(task) == CellAnswer()  # it does not see the folder
    other = run_cell_task(task._replace(code="another"))
    assert isinstance(other.error, ElicitError)
    inputs = read_inputs(cell, spec, run, folder)
    assert {name.split("/")[2] for name in inputs if "/policy/" in name} == {"mean_steering", "control"}
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    answer = run_cell_task(task._replace(inputs=inputs))
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    assert answer.status is not None
    assert answer.files is not None
    shutil.rmtree(folder)
    write_files(answer.files, folder)
    assert rows(run) == rows(local)
    assert read_cell_status(cell, run)["state"] == answer.status["state"] == "done"
    assert set(answer.files) == {str(file.relative_to(cell.folder_in(local))) for file in _list_files(cell, local)}


def _list_files(cell: Cell, run: Path) -> list[Path]:
    return [file for file in cell.folder_in(run).rglob("*") if file.is_file() and file.name != ".lock"]


def test_a_worker_that_lost_its_claim_finds_nothing_to_write_to(tmp_path: Path) -> None:
    spec_file, run = write_spec(tmp_path, _DATA), tmp_path / "run"
    assert elicit("run", spec_file, "--out", run, "--workers", 1, "--arms", "mean_steering").code == 0
    spec = check_spec(_DATA)
    cell = _cell(spec, "control")
    claimed = run / "claims" / "held" / "name" / "holder-0" / "cell"
    claimed.mkdir(parents=True)
    task = CellTask(cell, spec, run, claimed, None, Path.cwd(), 1, read_code(), None)
    assert run_cell_task(task).status is not None
    assert (claimed / "rows" / "addition.jsonl").exists()
    claimed.parent.rename(claimed.parent.with_name("holder-1"))
    assert run_cell_task(task) == CellAnswer()
    assert not claimed.parent.exists()
