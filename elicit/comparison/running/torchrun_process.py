"""One process of a training, started by `torchrun_agent`: it fits the policy together with the others. See `torchrun`.

torchrun --nproc-per-node N -m elicit.comparison.running.torchrun_process FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elicit import runs
from elicit.comparison.running import peak_memory
from elicit.comparison.running.cell_policy import (
    OtherWeightsError,
    check_weights,
    fit_policy,
    load_cached_model,
    save_fitted_policy,
)
from elicit.comparison.running.parent_watch import exit_with_parent
from elicit.comparison.running.torchrun import REQUEST
from elicit.comparison.spec import build_model_task, check_spec
from elicit.comparison.spec.cells import list_cells
from elicit.comparison.storage.manifest import read_run_date
from elicit.errors import ElicitError, one_line


def main(home: Path) -> int:
    """Fit the policy that the request in `home` names. Returns the exit code."""
    exit_with_parent(os.getppid())
    try:
        _fit_together(json.loads((home / REQUEST).read_text()))
    except Exception as error:
        _report_failure(home, error)
        return 1
    return 0


def _fit_together(request: Mapping[str, Any]) -> None:
    from elicit.training.world import join_world

    spec = check_spec(request["spec"], where="spec")
    cell = next(cell for cell in list_cells(spec) if cell.name == request["cell"])
    run, folder = Path(request["run"]), Path(request["folder"])
    with join_world(request["processes"], spec.device) as world:
        device = "cpu" if world.backend == "gloo" else f"cuda:{os.environ['LOCAL_RANK']}"
        shared = load_cached_model(spec.models[cell.model], spec.dtype, device, spec.cache_gib)
        model = shared.on(read_run_date(run))
        check_weights(cell, run, folder, model)
        started = time.monotonic()
        policy = fit_policy(cell, spec, run, folder, model, build_model_task(model, spec.task, where="task"))
        peaks = world.gather(peak_memory.read_peak_gib())
        if world.is_main:
            known = [peak for peak in peaks if peak is not None]
            facts = {"count": world.size, "backend": world.backend, "peak_gib": max(known, default=None)}
            save_fitted_policy(policy, folder, time.monotonic() - started, processes=facts)
        world.wait_for_all()


def _report_failure(home: Path, error: Exception) -> None:
    """Keep an exception for the process that waits for this training."""
    rank = os.environ.get("RANK", "0")
    classes = (runs.TargetError, OtherWeightsError, ElicitError)
    kind = next((known.__name__ for known in classes if isinstance(error, known)), "fault")
    message = str(error) if kind != "fault" else one_line(f"{type(error).__name__}: {error}")
    report = {"rank": int(rank), "time": time.time(), "kind": kind, "message": message}
    runs.write_json(home / f"error-{rank}.json", report | {"traceback": "".join(traceback.format_exception(error))})
    print(message, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
