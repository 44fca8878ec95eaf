"""Trackers: what they are told, what they keep, and what happens when one is missing or fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elicit.cli import run as cli
from elicit.comparison.reader import read_run_spec
from elicit.comparison.running.engine import Event
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.errors import ElicitError
from elicit.interop import trackers
from tests.interop import made
from tests.support.comparisons import elicit, write_spec


def _cell(run: Path, arm: str, seed: int = 0) -> Cell:
    return next(cell for cell in list_cells(read_run_spec(run)[0]) if (cell.arm, cell.seed) == (arm, seed))


def _ended(cell: Cell, state: str = "done") -> Event:
    return Event(cell, state, 1, 1, "")


class Kept:
    """A tracker that keeps what it is told, and breaks on demand."""

    def __init__(self, breaks_on: str = "") -> None:
        self.told: list[trackers.TrackerRun] = []
        self.breaks_on = breaks_on

    def log_run(self, told: trackers.TrackerRun) -> None:
        print("welcome to the tracker")
        if told.config["arm"] == self.breaks_on:
            raise ConnectionError("server\ngone")
        self.told.append(told)


def test_a_cell_is_told_with_its_curve_and_outcome(run: Path) -> None:
    told = trackers.read_tracker_run(run, _cell(run, "sft", 1), "mine")
    assert (told.project, told.name, told.group) == ("mine", "cued/sft/1", "cued/sft")
    assert told.curve == [(entry["step"], {k: v for k, v in entry.items() if k != "step"}) for entry in made.CURVE]
    solved = sum(bool((i + 1) % 3) for i in range(12)) / 12
    assert told.outcome["addition/accuracy"] == told.outcome["mod_chain/accuracy"] == pytest.approx(solved)
    assert (told.outcome["seconds"], told.outcome["addition/n"]) == (2.5, 12)
    wanted = {"arm": "sft", "seed": 1, "options.demonstrations": 8, "weights_sha256": "a" * 64, "state": "done"}
    assert wanted.items() <= told.config.items()
    failed = trackers.read_tracker_run(run, _cell(run, "grpo"), "mine")
    assert (failed.config["error"], failed.outcome, failed.curve) == ("all clipped", {}, [])


def test_a_tracker_that_fails_is_left_out_after_one_warning(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = Kept(), Kept(breaks_on="sft")
    table = {"wandb": (lambda _: bad, "json"), "trackio": (lambda _: good, "json")}
    monkeypatch.setattr(trackers, "TRACKERS", table)
    warnings: list[str] = []
    watch = trackers.TrackerListener(run, ["wandb", "trackio"], warnings.append)
    for event in (
        _ended(_cell(run, "base"), "started"),
        _ended(_cell(run, "base")),
        _ended(_cell(run, "sft")),
        _ended(_cell(run, "sft", 1)),
        _ended(_cell(run, "mean_steering"), "kept"),
        _ended(_cell(run, "grpo"), "failed"),
    ):
        watch.handle_event(event)
    assert [told.name for told in good.told] == ["cued/base/0", "cued/sft/0", "cued/sft/1", "cued/grpo/0"]
    assert [told.name for told in bad.told] == ["cued/base/0"]
    assert warnings == ["tracker wandb failed on cued/sft/0 and is left out from here on: ConnectionError: server gone"]
    captured = capsys.readouterr()
    assert captured.out == "", "stdout is for results"
    assert "welcome" in captured.err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("tensorbord", "--track: unknown tracker 'tensorbord'. Did you mean 'tensorboard'? Known: "),
        (",", "--track names no tracker. Type one or several of: tensorboard,trackio,wandb"),
    ],
)
def test_unknown_trackers_are_bad_input(tmp_path: Path, names: str, message: str) -> None:
    done = elicit("run", write_spec(tmp_path), "--out", tmp_path / "run", "--track", names)
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_is_not_installed_is_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(trackers.TRACKERS, "trackio", (trackers.Trackio, "trackio_that_nobody_has"))
    done = elicit("run", write_spec(tmp_path), "--out", tmp_path / "run", "--track", "trackio")
    assert done.code == 2
    assert done.err.strip() == (
        "elicit run: --track trackio needs the package 'trackio_that_nobody_has', which is not installed. "
        "Type: pip install 'elicit-reasoning[track]'"
    )
    assert not (tmp_path / "run").exists()


def test_the_run_goes_on_and_its_trackers_hear_of_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command's own wiring, with the engine's events played back."""
    bad = Kept(breaks_on="base")
    monkeypatch.setitem(trackers.TRACKERS, "wandb", (lambda _: bad, "json"))

    def run_cells(spec: Any, place: Path, *, report: Any, **options: Any) -> list[Cell]:
        for arm in ("base", "sft"):
            report(_ended(_cell(run, arm)))
        options["checked"]()
        return []

    monkeypatch.setattr("elicit.comparison.running.engine.run_cells", run_cells)
    monkeypatch.setattr("elicit.comparison.summary.summarise.write_summary", lambda place: {"models": {}})
    monkeypatch.setattr("elicit.report.write_report", lambda place: place / "report.html")
    monkeypatch.setattr("elicit.report.terminal.show", lambda summary: None)
    spec = write_spec(tmp_path, made.SPEC)
    assert cli.main([str(spec), "--out", str(run), "--track", "wandb", "--color", "never"]) == 0
    errors = capsys.readouterr().err
    assert errors.count("warning: tracker wandb failed on cued/base/0") == 1
    assert "cued/sft/0 done" in errors


def test_tensorboard_reads_what_was_kept(run: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert trackers.replay_run(run, tmp_path, "tensorboard", arms=["sft", "grpo"]) == 4
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "cued.sft.1"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("train/loss")] == [
        (entry["step"], pytest.approx(entry["loss"])) for entry in made.CURVE
    ]
    assert events.Scalars("addition/accuracy")[0].value == pytest.approx(8 / 12)


_TRACKIO = """
import sys
from pathlib import Path
from elicit.interop import trackers
assert trackers.replay_run(sys.argv[1], Path(sys.argv[2]), "trackio", arms=["sft"]) == 2
import json, trackio
from trackio.sqlite_storage import SQLiteStorage
(run,) = (one for one in trackio.Api().runs("mine") if one.name == "cued/sft/1")
kept = SQLiteStorage.get_logs("mine", run.name, run_id=run.id)
print(json.dumps([run.config["seed"], [one["train/loss"] for one in kept if "train/loss" in one]]))
"""


@pytest.mark.slow
def test_trackio_reads_what_was_kept(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    done = subprocess.run(
        [sys.executable, "-c", _TRACKIO, str(run), str(tmp_path)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "TRACKIO_DIR": str(tmp_path / "kept")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seed, losses = json.loads(done.stdout.splitlines()[-1])
    assert seed == 1
    assert losses == pytest.approx([entry["loss"] for entry in made.CURVE])


@pytest.mark.slow
def test_wandb_is_offline_by_itself(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert trackers.replay_run(run, tmp_path, "wandb", arms=["base"]) == 1
    assert len(list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))) == 1


def test_check_keeps_order_and_drops_repeats() -> None:
    pytest.importorskip("tensorboard")
    assert trackers.parse_tracker_names(" tensorboard,tensorboard ") == ["tensorboard"]
    with pytest.raises(ElicitError, match="unknown tracker"):
        trackers.parse_tracker_names("tensorboard,mlflow")
