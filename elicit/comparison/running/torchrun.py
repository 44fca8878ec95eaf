"""Fit a cell's policy in several processes, which torch's launcher (`torchrun`) starts and watches.

1. `request.json`, in the cell's scratch folder, says what is to be fitted.
2. The launcher (`torchrun_agent`) starts the processes (`torchrun_process`). Each loads the model, joins the others'
   world (`elicit.training.world`) and calls the method's `fit`. Process 0 puts the policy into the cell's folder.
3. The first failure ends them all. A process that fails leaves its error here, and one that is killed is named.

They end with this process, however it ends. Meanwhile it holds no model: the memory is theirs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from elicit import runs
from elicit.comparison.running.cell_policy import SCRATCH, OtherWeightsError, forget_models
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell
from elicit.comparison.spec.shared_training import count_processes
from elicit.errors import ElicitError, one_line

REQUEST, OUTCOME = "request.json", "outcome.json"
_FOLDER, _LOG = "processes", "log.txt"
#: Fields of a spec that a process needs, beside the cell's own.
_FIELDS = ("models", "task", "arms", "dtype", "device", "cache_gib")
#: Seconds for the launcher to end its processes before it is killed itself.
_PATIENCE = 15.0


class ProcessDiedError(ElicitError):
    """A process of a training was killed: the cell's checkpoints stay, and the same command goes on from them."""


class ProcessFault(Exception):
    """An internal fault in one process of a training, with its traceback as text."""


class ProcessFailure(NamedTuple):
    """The end of one process, as its own report or the launcher has it."""

    rank: int
    time: float
    """Seconds since the epoch."""
    kind: str
    """The class of a user's error, "fault" for any other exception, "killed" without a report."""
    message: str
    traceback: str = ""


def is_fitted_together(cell: Cell, spec: Spec, folder: Path) -> bool:
    """True if a cell's policy is still to be fitted, and by several processes."""
    return not (folder / "policy").exists() and count_processes(spec, cell.arm) > 1


def fit_in_processes(cell: Cell, spec: Spec, run: Path, folder: Path) -> None:
    """Fit the policy of a cell and put it into its folder.

    Raises:
        ElicitError: what one of the processes raised.
        ProcessDiedError: a process was killed.
        ProcessFault: a process met an internal fault.
    """
    home = folder / SCRATCH / _FOLDER
    shutil.rmtree(home, ignore_errors=True)
    plain = spec.to_dict()
    request = {
        "spec": {field: plain[field] for field in _FIELDS} | {"seeds": cell.seed + 1},
        "cell": cell.name,
        "run": str(run.resolve()),
        "folder": str(folder.absolute()),
        "processes": spec.processes,
    }
    with runs.writing_to(home):
        home.mkdir(parents=True)
        runs.write_json(home / REQUEST, request)
        log = (home / _LOG).open("wb")
    forget_models()
    with log:
        process = _start_launcher(home, log)
        try:
            code = process.wait()
        except BaseException:
            _end_launcher(process)
            raise
    if code != 0 or not (folder / "policy").exists():
        raise _describe_failure(_read_failures(home), spec.processes, _read_log(home))


def _start_launcher(home: Path, log: Any) -> subprocess.Popen[bytes]:
    """It imports from where this process does, and gets no Ctrl-C of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "elicit.comparison.running.torchrun_agent", str(home.absolute())],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment | {"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
    )


def _end_launcher(process: subprocess.Popen[bytes]) -> None:
    process.terminate()  # it then ends its processes
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read_failures(home: Path) -> list[ProcessFailure]:
    """Failures of the processes, the first one first."""
    reports = [ProcessFailure(**json.loads(path.read_text())) for path in sorted(home.glob("error-*.json"))]
    told = {failure.rank for failure in reports}
    outcome = home / OUTCOME
    ends = json.loads(outcome.read_text()) if outcome.exists() else []
    reports += [
        ProcessFailure(end["rank"], end["time"], "killed", _name_signal(end["code"]))
        for end in ends
        if end["rank"] not in told and end["code"] != -signal.SIGTERM
    ]
    return sorted(reports, key=lambda failure: failure.time)


def _name_signal(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"


def _describe_failure(failures: Sequence[ProcessFailure], count: int, log: str) -> Exception:
    """The error of a fit that failed: a user's error first, then a death (others fail for it), then a fault."""
    by_kind = {failure.kind: failure for failure in reversed(failures)}
    for error in (runs.TargetError, OtherWeightsError, ElicitError):
        if error.__name__ in by_kind:
            return error(by_kind[error.__name__].message)
    if "killed" in by_kind:
        death = by_kind["killed"]
        return ProcessDiedError(
            f"process {death.rank} of {count} that trained together ended {death.message}: out of memory, or stopped "
            "from outside. The same command goes on from the last checkpoint."
        )
    if "fault" in by_kind:
        fault = ProcessFault(f"process {by_kind['fault'].rank} of {count}: {by_kind['fault'].message}")
        fault.add_note(by_kind["fault"].traceback)
        return fault
    return ProcessDiedError(
        f"the launcher of {count} processes ended without a report: {log or 'killed'}. The same command tries again."
    )


def _read_log(home: Path) -> str:
    path = home / _LOG
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return one_line(lines[-1], 200) if lines else ""
