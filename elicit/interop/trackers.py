"""Experiment trackers, off by default: `elicit run SPEC --track tensorboard,trackio,wandb`.

Every cell that ends while the command runs becomes a run of the tracker: its configuration, the training curve that its
fit recorded, and what came out. Cells that an earlier command finished are not told again; `elicit export RUN --to
tensorboard` tells of all. What a tracker is told is in `Told`, one adapter a tracker passes it on. Nothing goes to a
network by itself: TensorBoard and trackio write files, wandb is offline unless WANDB_MODE says otherwise. A tracker
that fails is named in one warning and left alone; the comparison goes on.

    tensorboard   RUN/track/tensorboard/MODEL.ARM.SEED      tensorboard --logdir RUN/track/tensorboard
    trackio       RUN/track/trackio, or TRACKIO_DIR         TRACKIO_DIR=RUN/track/trackio trackio show
    wandb         RUN/track/wandb                           wandb sync RUN/track/wandb/offline-run-*
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from elicit import runs
from elicit.comparison.cell_state import read_cell_status
from elicit.comparison.reader import read_run_spec
from elicit.comparison.run import open_run
from elicit.errors import ElicitError, one_line, require_extra, unknown_name_error

if TYPE_CHECKING:
    from elicit.comparison.running.engine import Event
    from elicit.comparison.spec.cells import Cell


class TrackerRun(NamedTuple):
    """One cell as a tracker logs it."""

    project: str
    name: str
    """MODEL/ARM/SEED"""
    group: str
    config: dict[str, Any]
    curve: list[tuple[int, dict[str, float]]]
    """(step, figures) of training; empty for arms that are not trained."""
    outcome: dict[str, float]
    """Accuracy of every task, tokens, seconds."""


class Tracker(Protocol):
    """One tracker's way of keeping a finished cell."""

    def log_run(self, tracker_run: TrackerRun) -> None: ...


class TensorBoard:
    """Event files, one folder a cell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tensorboard"

    def log_run(self, tracker_run: TrackerRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        log_folder = self.folder / tracker_run.name.replace("/", ".")
        with SummaryWriter(str(log_folder)) as writer:
            for step, figures in tracker_run.curve:
                for key, value in figures.items():
                    writer.add_scalar(f"train/{key}", value, step)
            for key, value in tracker_run.outcome.items():
                writer.add_scalar(key, value, 0)
            lines = [f"    {key}: {value}" for key, value in tracker_run.config.items()]
            writer.add_text("config", "\n".join(lines), 0)


class Trackio:
    """Hugging Face's local tracker. It reads its folder from the environment when it is imported."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("TRACKIO_DIR", str((folder / "trackio").resolve()))

    def log_run(self, tracker_run: TrackerRun) -> None:
        import trackio

        trackio.init(
            project=tracker_run.project, name=tracker_run.name, group=tracker_run.group,
            config=tracker_run.config, embed=False,
            auto_log_gpu=False, auto_log_cpu=False,
        )  # fmt: skip
        try:
            _log_all(trackio.log, tracker_run)
        finally:
            trackio.finish()


class Wandb:
    """Weights & Biases; offline unless the environment says otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def log_run(self, tracker_run: TrackerRun) -> None:
        import wandb

        self.folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=tracker_run.project, name=tracker_run.name, group=tracker_run.group,
            config=tracker_run.config, dir=str(self.folder),
            mode=None if "WANDB_MODE" in os.environ else "offline", reinit="finish_previous",
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )  # fmt: skip
        try:
            _log_all(run.log, tracker_run)
        finally:
            run.finish()


def _log_all(log: Callable[..., Any], tracker_run: TrackerRun) -> None:
    for step, figures in tracker_run.curve:
        log({f"train/{key}": value for key, value in figures.items()}, step=step)
    log(tracker_run.outcome, step=tracker_run.curve[-1][0] + 1 if tracker_run.curve else 0)


#: Name -> (adapter, module that must be there).
TRACKERS: dict[str, tuple[Callable[[Path], Tracker], str]] = {
    "tensorboard": (TensorBoard, "tensorboard"),
    "trackio": (Trackio, "trackio"),
    "wandb": (Wandb, "wandb"),
}


def parse_tracker_names(names: str) -> list[str]:
    """The trackers of a comma-separated list.

    Raises:
        ElicitError: an unknown one, or one that is not installed.
    """
    selected = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not selected:
        raise ElicitError(f"--track names no tracker. Type one or several of: {','.join(TRACKERS)}")
    for name in selected:
        if name not in TRACKERS:
            raise unknown_name_error("tracker", name, TRACKERS, where="--track")
        require_extra(TRACKERS[name][1], "track", f"--track {name}")
    return selected


class TrackerListener:
    """Listens to the engine and tells every tracker of each cell that ends."""

    def __init__(self, run: Path, names: Sequence[str], warn: Callable[[str], None]) -> None:
        self.run = run
        self.warn = warn
        self.trackers = {name: TRACKERS[name][0](run / "track") for name in names}

    def handle_event(self, event: Event) -> None:
        if event.state not in ("done", "failed"):
            return
        for name, tracker in list(self.trackers.items()):
            try:
                with _stdout_as_stderr():
                    tracker.log_run(read_tracker_run(self.run, event.cell, self.run.resolve().name))
            except Exception as error:
                del self.trackers[name]
                what = one_line(f"{type(error).__name__}: {error}", 200)
                self.warn(f"tracker {name} failed on {event.cell.name} and is left out from here on: {what}")


def replay_run(run: str | Path, folder: Path, name: str, *, arms: Sequence[str] | None = None) -> int:
    """Tell a tracker of all finished and failed cells of a run or an archive. Returns how many.

    Raises:
        ElicitError: no run, or the tracker is not known or not installed.
    """
    (name,) = parse_tracker_names(name)
    tracker, count = TRACKERS[name][0](folder), 0
    with open_run(run) as source:
        for cell in source.cells(arms=arms):
            if cell.state in ("done", "failed"):
                with _stdout_as_stderr():
                    tracker.log_run(read_tracker_run(source.folder, cell.identity, source.name))
                count += 1
    return count


def read_tracker_run(run: Path, cell: Cell, project: str) -> TrackerRun:
    """Read what a finished cell left behind, in the form that trackers take."""
    spec, limit = read_run_spec(run)
    model_spec, status = spec.for_model(cell.model), read_cell_status(cell, run)
    record, facts = status.get("record") or {}, status.get("model") or {}
    outcome: dict[str, float] = {}
    for label in (model_spec.task_label, *model_spec.off_target):
        answers = [row for row in runs.read_rows(cell.folder_in(run) / "rows" / f"{label}.jsonl") if row.sample == 0]
        if answers:
            outcome[f"{label}/accuracy"] = sum(row.correct for row in answers) / len(answers)
            outcome[f"{label}/tokens"] = sum(row.tokens for row in answers) / len(answers)
            outcome[f"{label}/n"] = float(len(answers))
    outcome |= {key: float(status[key]) for key in ("seconds", "fit_seconds") if status.get(key) is not None}
    config = {
        "model": spec.models[cell.model],
        "arm": cell.arm,
        "seed": cell.seed,
        **{f"options.{key}": value for key, value in spec.arms[cell.arm].items()},
        **{key: facts.get(key) for key in ("weights_sha256", "dtype", "device")},
        "policy_sha256": status.get("policy_sha256"),
        "state": status["state"],
        "error": status.get("error"),
        "limit": limit,
    }
    curve = [(int(entry.get("step", i)), _select_numbers(entry)) for i, entry in enumerate(record.get("curve") or ())]
    return TrackerRun(project, cell.name, f"{cell.model}/{cell.arm}", config, curve, outcome)


def _select_numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in entry.items()
        if key != "step" and isinstance(value, int | float) and math.isfinite(value)
    }


@contextlib.contextmanager
def _stdout_as_stderr() -> Iterator[None]:
    """Trackers greet their users on stdout, where our results belong."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
