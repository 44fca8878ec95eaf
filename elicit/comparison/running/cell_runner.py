"""The work of one cell: fit its policy, or load it, and evaluate what is missing. Killed anywhere, it resumes.

Everything is decided by the cell's identity, so that doing a part twice gives the same bytes:
1. `policy/` appears whole, by renaming, and is loaded if it is there.
2. Rows are appended a chunk at a time; problems that have rows are skipped.
3. So are the rows of every checkpoint (`along`).
4. `panel.json`, `prompts.json`, `metrics.jsonl` and then `status.json` are written last, whole.
"""

from __future__ import annotations

import shutil
import time
import traceback
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit import runs
from elicit.comparison.running import checkpoint_eval, peak_memory
from elicit.comparison.running.steering_preview import write_view
from elicit.comparison.spec import Spec, checkpoints, task_for
from elicit.comparison.spec.cells import Cell, parent_seed
from elicit.comparison.storage import typed_files
from elicit.comparison.storage.manifest import date_of
from elicit.comparison.storage.prompts import write_prompts
from elicit.errors import ElicitError, one_line
from elicit.loading.templates import ChatTemplate
from elicit.tasks import AskedTask

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Problem, Task


@lru_cache(maxsize=2)
def _model(name: str, dtype: str, device: str, cache_gib: float | None) -> BaseModel:
    """Models stay loaded in a worker: consecutive cells mostly share one."""
    from elicit.model import load

    return load(name, dtype=dtype, device=device, cache_gib=cache_gib)


def forget_models() -> None:
    """Give up the models that this process holds."""
    _model.cache_clear()


def weights_sha256(name: str, spec: Spec) -> str:
    """The hash of a model's weights, which are loaded for it as the cells load them; on the CPU without its device.

    Raises:
        ElicitError: as `elicit.load`.
    """
    from elicit.loading import devices

    device = spec.device
    try:
        devices.choose(device)
    except ElicitError:
        device = "cpu"
    return _model(name, spec.dtype, device, spec.cache_gib).weights_sha256


def tested(spec: Spec, limit: int | None) -> int:
    """Test problems of every task."""
    return spec.test if limit is None else min(limit, spec.test)


def problems_of(task: Task, spec: Spec, limit: int | None) -> list[Problem]:
    """The test problems of a task: a seeded sequence, of which a limit takes the first ones.

    Prompts are those of a task that was bound to a model; else no model is asked, and they do not matter.
    """
    asked = task.unasked() if isinstance(task, AskedTask) and not task.bound else task
    return asked.problems("test", tested(spec, limit))


def state_of(cell: Cell, run: Path) -> dict[str, Any]:
    """The cell's status, `{"state": "pending"}` before it ran."""
    return typed_files.read_status(cell.folder(run))


def goal_of(cell: Cell, spec: Spec, limit: int | None) -> dict[str, Any]:
    """What a finished cell has covered. A status with an equal goal is not worked on again."""
    spec = spec.of(cell.model)
    return {
        "fingerprint": cell.fingerprint,
        "tasks": [spec.task_label, *spec.off_target],
        "test": tested(spec, limit),
        "samples": _sampling_goal(cell, spec, limit),
        "kl_problems": spec.kl_problems,
        **_checkpoint_goal(cell, spec, limit),
    }


def _sampling_goal(cell: Cell, spec: Spec, limit: int | None) -> Any:
    """The cell's own demand, so that more samples for one arm leave the others finished."""
    n, problems = spec.samples.of(cell.arm), spec.samples.among(tested(spec, limit))
    return n if n == 0 or problems == tested(spec, limit) else {"n": n, "problems": problems}


def _checkpoint_goal(cell: Cell, spec: Spec, limit: int | None) -> dict[str, Any]:
    """Nothing for arms without checkpoints: they stay finished whatever is asked of the others."""
    if not checkpoints.asked(spec.arms[cell.arm]):
        return {}
    return {"trajectory": {"problems": spec.along.among(tested(spec, limit)), "probe": spec.along.probe}}


def is_done(cell: Cell, spec: Spec, run: Path, limit: int | None) -> bool:
    status = state_of(cell, run)
    return bool(status["state"] == "done" and status.get("goal") == goal_of(cell, spec, limit))


def work(cell: Cell, spec: Spec, run: Path, limit: int | None) -> dict[str, Any]:
    """Do a cell. Returns its status; a failure is recorded there, not raised.

    Raises:
        TargetError: no space, or not writable.
    """
    spec = spec.of(cell.model)
    folder = cell.folder(run)
    started = time.monotonic()
    with runs.locked(folder / ".lock", f"cell {cell.name}", patience=20):
        runs.sweep(folder)
        if is_done(cell, spec, run, limit):
            return state_of(cell, run)
        earlier = state_of(cell, run)
        before = float(earlier.get("seconds") or 0.0) if earlier["state"] == "done" else 0.0
        peak_memory.start()
        try:
            found = _do(cell, spec, run, limit)
            seconds = before + time.monotonic() - started
            found["peak_gib"] = peak_memory.gib()
            status = {"state": "done", "goal": goal_of(cell, spec, limit), "seconds": seconds, **found}
            runs.write_json(folder / "status.json", status)
        except runs.TargetError:
            raise
        except ElicitError as error:
            shutil.rmtree(_scratch(cell, run), ignore_errors=True)  # what failed once would go on to fail again
            return _failed(cell, run, before + time.monotonic() - started, str(error), None)
        except Exception as error:
            message = one_line(f"{type(error).__name__}: {error}")
            return _failed(cell, run, before + time.monotonic() - started, message, traceback.format_exc())
        return status


def _failed(cell: Cell, run: Path, seconds: float, message: str, trace: str | None) -> dict[str, Any]:
    status = {
        "state": "failed",
        "error": message,
        "traceback": trace,
        "goal": {"fingerprint": cell.fingerprint},
        "seconds": seconds,
        "fit_seconds": state_of(cell, run).get("fit_seconds"),
        "devices": state_of(cell, run).get("devices", []),
    }
    runs.write_json(cell.folder(run) / "status.json", status)
    return status


def _scratch(cell: Cell, run: Path) -> Path:
    """Where a fit keeps its checkpoints, so that it goes on from them when it was killed."""
    return cell.folder(run) / "scratch"


def _do(cell: Cell, spec: Spec, run: Path, limit: int | None) -> dict[str, Any]:
    from elicit.evaluation import asked, evaluate, sample, side_effects

    folder = cell.folder(run)
    model = _model(spec.models[cell.model], spec.dtype, spec.device, spec.cache_gib).on(date_of(run))
    devices = _on_device(cell, run, _ran_on(model)["device"])
    _check_weights(cell, run, model)
    task = task_for(model, spec.task, where="task")
    policy, fitting = _policy(cell, spec, run, model, task)
    metrics: list[dict[str, Any]] = []
    problems_asked: list[Problem] = []
    tasks: dict[str, Task] = {}

    for label, description in {spec.task_label: spec.task, **spec.off_target}.items():
        on_target = label == spec.task_label
        this = task if on_target else task_for(model, description, where=f"off_target {label!r}")
        tasks[label] = this
        path = folder / "rows" / f"{label}.jsonl"
        runs.mend(path)
        done = frozenset((row.problem, row.sample) for row in runs.read_rows(path))
        problems = problems_of(this, spec, limit)
        problems_asked += problems

        def sink(rows: list[Any], path: Path = path) -> None:
            runs.append_lines(path, [row.to_json() for row in rows])

        kind = "answer" if on_target else "off_target"
        then = policy if on_target else asked(policy, task, this)
        evaluate(then, this, problems, label=label, seed=cell.seed, sink=sink, done=done, kind=kind)  # type: ignore[arg-type]
        if on_target and (n := spec.samples.of(cell.arm)):
            sampled = problems[: spec.samples.among(len(problems))]
            sample(policy, this, sampled, label=label, seed=cell.seed, n=n, sink=sink, done=done)
        if on_target:
            metrics.append(side_effects(policy, problems[: spec.kl_problems]))
    checkpoint_eval.follow(policy, tasks, spec, cell, folder, tested(spec, limit), metrics[0])
    write_view(policy, task, folder)
    write_prompts(policy, problems_asked, folder)
    runs.write_text(folder / "metrics.jsonl", "".join(_line(entry) for entry in metrics))
    return {
        "policy_sha256": policy.sha256,
        "fit_seconds": fitting,
        "record": dict(policy.record),
        "model": {**_ran_on(model), **_thinking(task)},
        "devices": devices,
    }


def _ran_on(model: BaseModel) -> dict[str, Any]:
    """Which weights, in which precision, on what: goes into the manifest."""
    import torch

    on_gpu = model.device.type == "cuda"
    return {
        "weights_sha256": model.weights_sha256,
        "tokenizer_sha256": model.tokenizer_sha256,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name(model.device) if on_gpu else str(model.device),
        "threads": torch.get_num_threads(),
        **({} if model.prompt_date is None else {"date": model.prompt_date}),
        **{known: model.card.get(known) for known in ("dialect", "families", "capable")},
    }


def _thinking(task: Task) -> dict[str, Any]:
    """How the chat template's switch for thinking stands, where it has one."""
    if not isinstance(task, AskedTask) or not isinstance(task.template, ChatTemplate):
        return {}
    thinking = task.template.thinking(task.asking.system)
    return {} if thinking is None else {"thinking": thinking._asdict()}


def _on_device(cell: Cell, run: Path, device: str) -> list[str]:
    """Devices that the cell was worked on, this one last: noted before anything is made on it."""
    earlier = state_of(cell, run)
    devices = list(dict.fromkeys([*earlier.get("devices", ()), device]))
    if devices != earlier.get("devices"):
        runs.write_json(cell.folder(run) / "status.json", {**earlier, "devices": devices})
    return devices


def _check_weights(cell: Cell, run: Path, model: BaseModel) -> None:
    """A model trained anew under the same name must not share a run with rows of the old one."""
    for path in (run / "cells" / cell.model).rglob("status.json"):
        before = (typed_files.read_status(path.parent).get("model") or {}).get("weights_sha256", model.weights_sha256)
        if before != model.weights_sha256:
            raise ElicitError(
                f"the weights of {cell.model} ({model.weights_sha256[:12]}) are not those that this run began with "
                f"({before[:12]}). Name another folder with --out, or bring the old weights back."
            )


def _line(record: dict[str, Any]) -> str:
    import json

    return json.dumps(record, allow_nan=False) + "\n"


def _policy(cell: Cell, spec: Spec, run: Path, model: BaseModel, task: Task) -> tuple[Policy, float | None]:
    """The cell's fitted policy, and the seconds fitting took (None where that is not known)."""
    from elicit.policy import Policy

    place, scratch = cell.folder(run) / "policy", _scratch(cell, run)
    if place.exists():
        shutil.rmtree(scratch, ignore_errors=True)
        return Policy.load(place, model), state_of(cell, run).get("fit_seconds")
    started = time.monotonic()
    methods = spec.methods()
    needs = {}
    for arm in cell.needs:
        home = run / "cells" / cell.model / Path(arm) / str(parent_seed(methods[arm], cell.seed)) / "policy"
        if not home.exists():
            raise ElicitError(f"arm {cell.arm!r} needs {arm!r}, which failed on {cell.model}.")
        needs[arm] = Policy.load(home, model)
    with runs.writing_to(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
    policy = methods[cell.arm].fit(model, task, seed=cell.seed, needs=needs, scratch=scratch)
    with runs.fresh_folder(place) as new:
        policy.save(new)
    if policy.checkpoints:  # they lie in the scratch folder until then
        policy = Policy.load(place, model)
    seconds = time.monotonic() - started
    # Evaluation may be interrupted: the next attempt finds the policy, and must know what it took.
    status = {"state": "pending", "fit_seconds": seconds, "devices": state_of(cell, run).get("devices", [])}
    runs.write_json(cell.folder(run) / "status.json", status)
    shutil.rmtree(scratch, ignore_errors=True)
    return policy, seconds
