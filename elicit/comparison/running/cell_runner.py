"""Run one cell: fit or load its policy, then evaluate what is missing. Resumable after a kill at any moment.

Everything is determined by the cell's identity, so that repeating a part gives the same bytes:
1. `policy/` appears whole, by renaming, and is loaded if it exists.
2. Rows are appended a chunk at a time; problems that have rows are skipped.
3. So are the rows of every checkpoint (`checkpoint_eval`).
4. `panel.json`, `prompts.json`, `metrics.jsonl` and then `status.json` are written last, whole.
"""

from __future__ import annotations

import shutil
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit import runs
from elicit.comparison.cell_state import count_test_problems, covers_goal, goal_of, load_test_problems
from elicit.comparison.running import checkpoint_eval, peak_memory
from elicit.comparison.running.cell_policy import (
    SCRATCH,
    OtherWeightsError,
    check_weights,
    load_cached_model,
    load_or_fit_policy,
)
from elicit.comparison.running.steering_preview import write_view
from elicit.comparison.running.torchrun import ProcessDiedError, fit_in_processes, is_fitted_together
from elicit.comparison.spec import Spec, build_model_task
from elicit.comparison.spec.cells import Cell
from elicit.comparison.storage import typed_files
from elicit.comparison.storage.manifest import read_run_date
from elicit.comparison.storage.prompts import write_prompts
from elicit.errors import ElicitError, one_line
from elicit.loading.templates import ChatTemplate
from elicit.tasks import AskedTask

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Problem, Task


def run_cell_in_place(cell: Cell, spec: Spec, run: Path, limit: int | None) -> dict[str, Any]:
    """Run a cell in its place in the run, under the lock of its folder. Returns its status.

    Raises:
        TargetError: as for `run_cell`.
        ElicitError: another process on this machine works on the cell.
    """
    folder = cell.folder_in(run)
    with runs.hold_lock(folder / ".lock", f"cell {cell.name}", patience=20):
        return run_recorded_cell(cell, spec, run, limit, folder)


def run_recorded_cell(cell: Cell, spec: Spec, run: Path, limit: int | None, folder: Path) -> dict[str, Any]:
    """Run a cell of a run that no other process shares: other weights are recorded as its failure. See `run_cell`.

    Raises:
        TargetError: as for `run_cell`.
    """
    try:
        return run_cell(cell, spec, run, limit, folder)
    except OtherWeightsError as error:
        return _record_failure(cell, folder, 0.0, str(error), None)


def run_cell(cell: Cell, spec: Spec, run: Path, limit: int | None, folder: Path) -> dict[str, Any]:
    """Run a cell in `folder`, which no other process writes to. Returns its status.

    A failure is recorded there, not raised. The policies of the arms that it needs are read from their places in `run`.

    Raises:
        TargetError: the disk is full or not writable.
        OtherWeightsError: the model here is another than that of the run's finished cells.
    """
    spec = spec.for_model(cell.model)
    started = time.monotonic()
    runs.remove_scratch(folder)
    earlier = typed_files.read_status(folder)
    if covers_goal(earlier, cell, spec, limit):
        return earlier
    before = float(earlier.get("seconds") or 0.0) if earlier["state"] == "done" else 0.0
    peak_memory.reset_peak_memory()
    try:
        result = _fit_and_evaluate(cell, spec, run, limit, folder)
        seconds = before + time.monotonic() - started
        result["peak_gib"] = peak_memory.read_peak_gib()
        status = {"state": "done", "goal": goal_of(cell, spec, limit), "seconds": seconds, **result}
        runs.write_json(folder / "status.json", status)
    except (runs.TargetError, OtherWeightsError):
        raise
    except ProcessDiedError as error:
        return _record_failure(cell, folder, before + time.monotonic() - started, str(error), None)
    except ElicitError as error:
        shutil.rmtree(folder / SCRATCH, ignore_errors=True)  # a resumed fit would fail again
        return _record_failure(cell, folder, before + time.monotonic() - started, str(error), None)
    except Exception as error:
        message = one_line(f"{type(error).__name__}: {error}")
        trace = traceback.format_exc()
        return _record_failure(cell, folder, before + time.monotonic() - started, message, trace)
    return status


def _record_failure(cell: Cell, folder: Path, seconds: float, message: str, trace: str | None) -> dict[str, Any]:
    earlier = typed_files.read_status(folder)
    status = {
        "state": "failed",
        "error": message,
        "traceback": trace,
        "goal": {"fingerprint": cell.fingerprint},
        "seconds": seconds,
        "fit_seconds": earlier.get("fit_seconds"),
        "devices": earlier.get("devices", []),
    }
    runs.write_json(folder / "status.json", status)
    return status


def _fit_and_evaluate(cell: Cell, spec: Spec, run: Path, limit: int | None, folder: Path) -> dict[str, Any]:
    from elicit.evaluation import evaluate_policy, measure_side_effects, retarget_policy, sample, score_worked_solutions

    if is_fitted_together(cell, spec, folder):
        fit_in_processes(cell, spec, run, folder)
    shared = load_cached_model(spec.models[cell.model], spec.dtype, spec.device, spec.cache_gib, spec.engine)
    model = shared.on(read_run_date(run))
    devices = _record_device(folder, _describe_loaded_model(model)["device"])
    check_weights(cell, run, folder, model)
    task = build_model_task(model, spec.task, where="task")
    policy, fitting = load_or_fit_policy(cell, spec, run, folder, model, task)
    metrics: list[dict[str, Any]] = []
    exact: dict[str, Any] = {}
    problems_asked: list[Problem] = []
    tasks: dict[str, Task] = {}

    for label, description in {spec.task_label: spec.task, **spec.off_target}.items():
        on_target = label == spec.task_label
        label_task = task if on_target else build_model_task(model, description, where=f"off_target {label!r}")
        tasks[label] = label_task
        path = folder / "rows" / f"{label}.jsonl"
        runs.trim_torn_line(path)
        done = frozenset((row.problem, row.sample) for row in runs.read_rows(path))
        problems = load_test_problems(label_task, spec, limit)
        problems_asked += problems

        def append_rows(rows: list[Any], path: Path = path) -> None:
            runs.append_lines(path, [row.to_json() for row in rows])

        kind = "answer" if on_target else "off_target"
        label_policy = policy if on_target else retarget_policy(policy, task, label_task)
        evaluate_policy(
            label_policy,
            label_task,
            problems,
            label=label,
            seed=cell.seed,
            sink=append_rows,
            done=done,
            kind=kind,  # type: ignore[arg-type]
        )
        if on_target and (n := spec.samples.count_for_arm(cell.arm)):
            sampled = problems[: spec.samples.limit_problems(len(problems))]
            sample(policy, label_task, sampled, label=label, seed=cell.seed, n=n, sink=append_rows, done=done)
            if policy.has_distribution:
                exact["worked_logprobs"] = score_worked_solutions(policy, label_task, sampled)
        if on_target:
            metrics.append(measure_side_effects(policy, problems[: spec.kl_problems]))
    checkpoint_eval.evaluate_checkpoints(
        policy, tasks, spec, cell, folder, count_test_problems(spec, limit), metrics[0]
    )
    metrics[0] |= exact
    write_view(policy, task, folder)
    write_prompts(policy, problems_asked, folder)
    runs.write_text(folder / "metrics.jsonl", "".join(_to_json_line(entry) for entry in metrics))
    return {
        "policy_sha256": policy.sha256,
        "fit_seconds": fitting,
        "record": dict(policy.record),
        "model": {**_describe_loaded_model(model), **_describe_thinking(task)},
        "devices": devices,
        **_describe_engine(policy),
        **_describe_processes(folder),
    }


def _describe_processes(folder: Path) -> dict[str, Any]:
    """The processes that fitted the policy together; empty for one."""
    processes = typed_files.read_status(folder).get("processes")
    return {} if processes is None else {"processes": processes}


def _describe_engine(policy: Policy) -> dict[str, str]:
    """Where the cell's completions came from, if an outside engine was asked for."""
    outside = policy.model.outside
    if outside is None:
        return {}
    obstacle = policy.obstacle
    return {"engine": outside.describe() if obstacle is None else f"transformers: {obstacle}"}


def _describe_loaded_model(model: BaseModel) -> dict[str, Any]:
    """The model's weights, precision and device, for the manifest."""
    import torch

    on_gpu = model.device.type == "cuda"
    return {
        "weights_sha256": model.weights_sha256,
        "tokenizer_sha256": model.tokenizer_sha256,
        "parameters": sum(parameter.numel() for parameter in model.hf.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name(model.device) if on_gpu else str(model.device),
        "threads": torch.get_num_threads(),
        **({} if model.prompt_date is None else {"date": model.prompt_date}),
        **{known: model.card.get(known) for known in ("dialect", "families", "capable")},
    }


def _describe_thinking(task: Task) -> dict[str, Any]:
    """State of the chat template's thinking switch; empty where the template has none."""
    if not isinstance(task, AskedTask) or not isinstance(task.template, ChatTemplate):
        return {}
    thinking = task.template.find_thinking_switch(task.asking.system)
    return {} if thinking is None else {"thinking": thinking._asdict()}


def _record_device(folder: Path, device: str) -> list[str]:
    """Record the devices that the cell has run on, this one last, before anything is computed on it."""
    earlier = typed_files.read_status(folder)
    devices = list(dict.fromkeys([*earlier.get("devices", ()), device]))
    if devices != earlier.get("devices"):
        runs.write_json(folder / "status.json", {**earlier, "devices": devices})
    return devices


def _to_json_line(record: dict[str, Any]) -> str:
    import json

    return json.dumps(record, allow_nan=False) + "\n"
