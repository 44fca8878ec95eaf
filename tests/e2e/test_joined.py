"""Several processes at one run: killed, stopped, late and contradicting ones; the rows are those of one process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from elicit import runs, seeds
from elicit.comparison.spec import read_spec
from elicit.comparison.spec.cells import list_cells
from tests.support import processes
from tests.support.comparisons import SPEC, assert_same_run, changed, content, elicit, policies, rows, start, write_spec
from tests.support.models import save_tiny
from tests.support.processes import Process, wait_for
from tests.support.shared import once

#: Options of a process that takes over soon.
_SOON = ("--join", "--lease", 2, "--workers", 1)

_SMALL: dict[str, Any] = changed(
    arms={
        "base": {"method": "base"},
        "mean_steering": {**SPEC["arms"]["mean_steering"], "layers": [0], "strengths": [1.0], "select_problems": 8},
        "mean_steering/random": {"method": "random_vector", "parent": "mean_steering"},
        "cue_prompt": {"method": "cue_prompt"},
    },
    off_target={},
    seeds=1,
    samples=1,
    test=6,
    kl_problems=2,
)
#: With training, checkpoints and seeds.
_TRAINED: dict[str, Any] = {
    **_SMALL,
    "arms": {**_SMALL["arms"], "sft": {"method": "sft", "demonstrations": 4, "epochs": 1, "checkpoints": [1]}},
    "seeds": 2,
}


@pytest.fixture(autouse=True)
def _end_processes() -> Iterator[None]:
    yield
    processes.kill_all()


def _whole(data: dict[str, Any] = _SMALL) -> Path:
    """The run, by one process that has it to itself."""

    def make(folder: Path) -> None:
        done = elicit("run", write_spec(folder, data), "--out", folder / "run", "--workers", 1)
        assert done.code == 0, done.err

    return once(f"joined-{len(data['arms'])}", make) / "run"


def _arm_with_death(moment: int) -> Callable[[], None]:
    """Has a process kill itself at its `moment`-th chance: around renamings, and inside and after appends."""

    def arm() -> None:
        chances = iter(range(1, moment + 1))

        def chance() -> None:
            if next(chances) == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        def with_chances(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                chance()
                result = function(*arguments)
                chance()
                return result

            return call

        append = runs.append_lines

        def torn_append(path: Path, records: list[object]) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.stat().st_size if path.exists() else 0
            with path.open("ab") as file:
                file.write(json.dumps(records[0]).encode()[:20])
            chance()
            os.truncate(path, before)
            append(path, records)
            chance()

        runs.append_lines = torn_append  # type: ignore[assignment]
        os.replace, os.rename = with_chances(os.replace), with_chances(os.rename)

    return arm


def _run_with_kills(run: Path, data: dict[str, Any], *, count: int, seed: int) -> int:
    """Joined processes, each begun again when it has killed itself, until the run is done. Returns the kills."""
    spec, killed = write_spec(run.parent, data), 0

    def begin(number: int) -> Process:
        moment = int(seeds.make_generator("joined", seed, number, killed).integers(1, 30))
        log = run.parent / f"log{number}"
        return Process(log, "run", spec, "--out", run, *_SOON, arm=_arm_with_death(moment))

    living = dict(enumerate(map(begin, range(count))))
    while living:
        for number, process in list(living.items()):
            ended = process.wait()
            if ended.code == -signal.SIGKILL:
                killed += 1
                living[number] = begin(number)
            else:
                assert ended.code == 0, ended.err
                del living[number]
    _leave_nothing(spec, run)
    assert_same_run(run, _whole(data))
    return killed


def _leave_nothing(spec: Path, run: Path) -> None:
    """An ordinary run, which goes on if something is left to do, and removes what killed processes have left."""
    for process in run.glob("claims/processes/*"):  # so that it need not wait for them
        process.unlink()
    done = elicit("run", spec, "--out", run, "--workers", 1)
    assert done.code == 0, done.err
    assert not (run / "claims").exists()


def test_two_processes_killed_over_and_over_give_the_rows_of_one(tmp_path: Path) -> None:
    assert _run_with_kills(tmp_path / "run", _SMALL, count=2, seed=0) >= 3


@pytest.mark.slow
def test_three_processes_killed_twenty_times_give_the_rows_of_one(tmp_path: Path) -> None:
    kills = 0
    for attempt in range(10):
        kills += _run_with_kills(tmp_path / f"run{attempt}", _TRAINED, count=3, seed=attempt)
        if kills >= 20:
            return
    pytest.fail(f"{kills} kills in ten runs")


@pytest.mark.slow
def test_processes_with_workers_of_their_own(tmp_path: Path) -> None:
    """As they are typed. One of them is killed with its cells under way; its workers end, and the other takes over."""
    spec, run = write_spec(tmp_path, _TRAINED), tmp_path / "run"
    both = [start("run", spec, "--out", run, "--join", "--lease", 5, "--workers", 2) for _ in range(2)]
    wait_for(lambda: bool(list(run.glob("claims/held/*@*/*/cell/rows"))))
    os.kill(both[0].pid, signal.SIGKILL)
    both[0].communicate()
    _, err = both[1].communicate(timeout=500)
    assert both[1].returncode == 0, err
    _leave_nothing(spec, run)
    assert_same_run(run, _whole(_TRAINED))


def _stop_in_append(arm_path: str) -> Callable[[], None]:
    """Has a process stop when it has opened a file of rows of this arm, before it writes to it."""

    def arm() -> None:
        append = runs.append_lines

        def append_late(path: Path, records: list[object]) -> None:
            if arm_path not in os.path.realpath(path):
                append(path, records)
                return
            runs.append_lines = append
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab", buffering=0) as file:
                os.kill(os.getpid(), signal.SIGSTOP)
                file.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())

        runs.append_lines = append_late

    return arm


def _read_while_under_way(run: Path) -> None:
    """A cell that is claimed counts as not begun, whatever reads the run."""
    assert "1 of 4 cells finished, 3 to do" in elicit("ls", "runs", "--folder", run.parent).out
    copy = Path(shutil.copytree(run, run.parent / "copy"))
    for verb in ("report", "verify"):
        done = elicit(verb, copy)
        assert done.code == 0, done.err
    summary = json.loads((copy / "summary.json").read_text())
    states = {arm: figures["status"] for arm, figures in summary["models"]["cued"]["tasks"]["addition"]["arms"].items()}
    assert [states["base"], states["mean_steering"]] == ["done", "pending"]
    refused = elicit("archive", run, run.parent / "archive")
    assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
    shutil.rmtree(copy)


def test_a_process_that_was_stopped_and_lost_its_cell_harms_nothing(tmp_path: Path) -> None:
    spec, run = write_spec(tmp_path, _SMALL), tmp_path / "run"
    arguments = ("run", spec, "--out", run, *_SOON)
    stopped = Process(tmp_path / "stopped", *arguments, arm=_stop_in_append("mean_steering@0"))
    stopped.wait_until_stopped()
    _read_while_under_way(run)
    other = elicit(*arguments)
    assert (other.code, "cued/mean_steering/0 done" in other.err) == (0, True), other.err
    before = rows(run)
    stopped.signal(signal.SIGCONT)
    ended = stopped.wait()
    assert ended.code == 0, ended.err
    assert "mean_steering/0 elsewhere" in ended.err
    assert rows(run) == before
    _leave_nothing(spec, run)
    assert_same_run(run, _whole())


def test_a_cell_waits_for_what_another_process_makes(tmp_path: Path) -> None:
    """Its parent is claimed by a process that is stopped, and not yet given up."""
    spec, run = write_spec(tmp_path, _SMALL), tmp_path / "run"
    arguments = ("run", spec, "--out", run, "--join", "--workers", 1)
    first = Process(tmp_path / "first", *arguments, arm=_stop_in_append("mean_steering@0"))
    first.wait_until_stopped()
    second = Process(tmp_path / "second", *arguments)
    wait_for(lambda: "cued/cue_prompt/0 done" in (tmp_path / "second").read_text())
    refused = elicit("run", spec, "--out", run, "--join", "--drop", "cue_prompt")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert not list(run.glob("cells/cued/mean_steering/random/*"))
    first.signal(signal.SIGCONT)
    for process in (first, second):
        ended = process.wait()
        assert ended.code == 0, ended.err
    assert_same_run(run, _whole())
    said = (tmp_path / "second").read_text()
    assert "cued/mean_steering/0 elsewhere" in said


def test_two_that_begin_a_run_at_once_share_it(tmp_path: Path) -> None:
    spec, run = write_spec(tmp_path, _SMALL), tmp_path / "run"
    both = [Process(tmp_path / f"log{i}", "run", spec, "--out", run, *_SOON) for i in range(2)]
    said = []
    for process in both:
        ended = process.wait()
        assert ended.code == 0, ended.err
        said.append(ended.err)
    assert_same_run(run, _whole())
    for cell in list_cells(read_spec(spec)):
        assert sum(f"{cell.name} done" in err for err in said) == 1
        assert sum(f"{cell.name} elsewhere" in err or f"{cell.name} kept" in err for err in said) == 1


def test_an_ordinary_run_and_joined_ones_refuse_each_other_and_go_on_with_each_others_work(tmp_path: Path) -> None:
    spec, run = write_spec(tmp_path, _SMALL), tmp_path / "run"
    ordinary, joined = ("run", spec, "--out", run, "--workers", 1), ("run", spec, "--out", run, *_SOON)
    first = Process(tmp_path / "first", *ordinary, arm=_slow_append)
    wait_for(lambda: bool(list(run.glob("cells/cued/base/0/rows/*.jsonl"))))
    refused = elicit(*joined)
    assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
    assert f"the run {run} is in use by another process" in refused.err
    first.signal(signal.SIGSTOP)  # and after a pause it would go on: it counts as alive
    time.sleep(3)
    refused = elicit(*joined)
    assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
    assert len(list(run.glob("claims/held/alone/*"))) == 1
    first.signal(signal.SIGKILL)
    assert first.wait().code == -signal.SIGKILL

    second = Process(tmp_path / "second", *joined, arm=_slow_append)
    wait_for(lambda: bool(list(run.glob("claims/held/*@*/*/cell/status.json"))))
    refused = elicit(*ordinary)
    assert refused.code == 2
    assert refused.err.splitlines()[-1].startswith(f"elicit run: {run} is in use by process {second.pid} on ")
    second.signal(signal.SIGKILL)
    assert second.wait().code == -signal.SIGKILL
    _leave_nothing(spec, run)
    assert_same_run(run, _whole())


def _slow_append() -> None:
    """Has a process take a second for each append, so that it is still there when it is looked at."""
    append = runs.append_lines

    def append_slowly(path: Path, records: list[object]) -> None:
        append(path, records)
        signal.sigtimedwait([], 1)

    runs.append_lines = append_slowly


def test_a_cell_that_fails_is_told_by_all_and_tried_again_by_later_ones_alone(tmp_path: Path) -> None:
    arms = {"base": {"method": "base"}, "sft": {"method": "sft", "demonstrations": 8, "learning_rate": 1e30}}
    data = {**_SMALL, "arms": arms, "samples": 0}
    spec, run = write_spec(tmp_path, data), tmp_path / "run"
    both = [Process(tmp_path / f"log{i}", "run", spec, "--out", run, *_SOON) for i in range(2)]
    ends = [process.wait() for process in both]
    assert [ended.code for ended in ends] == [1, 1]
    assert all("cued/sft/0 failed; see " in ended.err for ended in ends)
    status = json.loads((run / "cells/cued/sft/0/status.json").read_text())
    assert (status["state"], status["error"].count("the loss is nan")) == ("failed", 1)
    assert not (run / "claims").exists()
    assert elicit("run", spec, "--out", run, *_SOON).code == 1
    assert json.loads((run / "cells/cued/sft/0/status.json").read_text())["seconds"] != status["seconds"]


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"test": 7}, (), "holds a run of another spec: test is 6 there, and 7 here"),
        (
            {"arms": _TRAINED["arms"]},
            (),
            "arms.sft.method is null there",
        ),
        ({}, ("--limit", 5), "limit is null there, and 5 here"),
        ({}, ("--replace", "base"), "--replace needs the run to itself"),
        ({}, ("--lease", 1), "--lease is 1; expected seconds from 2 to 86400"),
        ({}, ("--device", "tpu"), "unknown device 'tpu'"),
    ],
)
def test_what_is_not_this_run_is_refused(
    tmp_path: Path, change: dict[str, Any], options: tuple[object, ...], said: str
) -> None:
    before = content(_whole())
    spec = write_spec(tmp_path, {**_SMALL, **change})
    refused = elicit("run", spec, "--out", _whole(), "--join", *options)
    assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
    assert said in refused.err
    assert content(_whole()) == before


def test_a_task_file_that_differs_on_this_machine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Q:{a}+1\nA:", "answer": str(a + 1)}) + "\n" for a in range(60)))
    task = {"task": "jsonl", "path": path.name, "stop": ["\n"], "max_new_tokens": 4}
    data = {**_SMALL, "task": task, "arms": {"base": {"method": "base"}}, "samples": 0, "test": 4}
    spec, run = write_spec(tmp_path, data), tmp_path / "run"
    assert elicit("run", spec, "--out", run, *_SOON).code == 0
    with path.open("a") as file:
        file.write(json.dumps({"prompt": "Q:99+1\nA:", "answer": "100"}) + "\n")
    refused = elicit("run", spec, "--out", run, *_SOON)
    assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err


def test_any_other_model_and_devices_of_each_process(tmp_path: Path) -> None:
    """An ordinary GPT-2 in a folder; the processes name its device differently."""
    data = {
        **_SMALL,
        "models": {"m": str(save_tiny("gpt2", tmp_path / "gpt2"))},
        "task": {"task": "sums", "max_new_tokens": 8},
    }
    data["arms"] = {"base": {"method": "base"}, "votes": {"method": "self_consistency", "n": 2}}
    spec = write_spec(tmp_path, data)
    assert elicit("run", spec, "--out", tmp_path / "alone", "--workers", 1).code == 0
    both = [
        Process(tmp_path / device, "run", spec, "--out", tmp_path / "run", *_SOON, "--device", device)
        for device in ("cpu", "auto")
    ]
    for process in both:
        ended = process.wait()
        assert ended.code == 0, ended.err
    assert rows(tmp_path / "run") == rows(tmp_path / "alone")
    assert policies(tmp_path / "run") == policies(tmp_path / "alone")
    assert yaml.safe_load((tmp_path / "run/spec.yaml").read_text())["device"] in ("cpu", "auto")


def test_a_machine_with_other_weights_stops_and_fails_no_cell(tmp_path: Path) -> None:
    """Under the same name: of a run that has finished cells, and of one whose first cells run at the same time."""
    model = save_tiny("gpt2", tmp_path / "gpt2")
    arms = {"base": {"method": "base"}, "votes": {"method": "self_consistency", "n": 2}}
    data = {**_SMALL, "models": {"m": str(model)}, "task": {"task": "sums", "max_new_tokens": 8}, "arms": arms}
    spec, run = write_spec(tmp_path, data), tmp_path / "run"
    joined = ("run", spec, "--out", run, "--join", "--workers", 1)
    first = Process(tmp_path / "first", *joined, arm=_stop_in_append("m@base@0"))
    first.wait_until_stopped()
    save_tiny("gpt2", model, seed=1)
    second = Process(tmp_path / "second", *joined)
    wait_for(lambda: "m/votes/0 done" in (tmp_path / "second").read_text())
    first.signal(signal.SIGCONT)
    ended = first.wait()
    assert ended.code == 2
    assert "are not those of m/votes/0" in ended.err
    assert second.wait().code == 0
    hashes = [json.loads(path.read_text())["model"]["weights_sha256"] for path in run.rglob("status.json")]
    assert (len(hashes), len(set(hashes))) == (2, 1)

    shutil.rmtree(run / "cells/m/base/0")
    save_tiny("gpt2", model)
    refused = elicit(*joined)
    assert (refused.code, refused.err.splitlines()[-1].count("are not those that this run began with")) == (2, 1)
    assert json.loads((run / "cells/m/base/0/status.json").read_text())["state"] == "pending"
    assert not (run / "cells/m/base/0/rows").exists()
