"""The policy of a cell: loaded if it is there, else fitted. The model that it is made of, and the weights of a run."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit import runs
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell, parent_seed
from elicit.comparison.storage import typed_files
from elicit.engines.choice import EngineChoice
from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task

#: Folder in a cell with the state of its fit, from which it continues after a kill.
SCRATCH = "scratch"


class OtherWeightsError(ElicitError):
    """A model under this name is another here than in the run's finished cells: a fault of no arm."""


@lru_cache(maxsize=2)
def load_cached_model(
    name: str, dtype: str, device: str, cache_gib: float | None, engine: EngineChoice = "transformers"
) -> BaseModel:
    """Load a model, or reuse the one that this worker already has: consecutive cells mostly share it."""
    from elicit.model import load

    model = load(name, dtype=dtype, device=device, cache_gib=cache_gib)
    if engine != "transformers":
        from elicit.engines.connect import connect

        connect(model, engine.vllm)
    return model


def forget_models() -> None:
    """Release the models that this process holds."""
    load_cached_model.cache_clear()


def weights_sha256(name: str, spec: Spec) -> str:
    """Hash a model's weights, loaded as the cells load them; on the CPU if its device is missing.

    Raises:
        ElicitError: as `elicit.load`.
    """
    from elicit.loading import devices

    device = spec.device
    try:
        devices.choose_device(device)
    except ElicitError:
        device = "cpu"
    return load_cached_model(name, spec.dtype, device, spec.cache_gib).weights_sha256


def check_weights(cell: Cell, run: Path, folder: Path, model: BaseModel) -> None:
    """Check the weights: a model retrained under the same name must not share a run with rows of the old one.

    Other workers make and remove scratch folders meanwhile: `os.walk` leaves out what is gone when it comes to it.
    """
    for place, _, files in itertools.chain(os.walk(run / "cells" / cell.model), os.walk(folder)):
        if "status.json" not in files:
            continue
        before = (typed_files.read_status(Path(place)).get("model") or {}).get("weights_sha256", model.weights_sha256)
        if before != model.weights_sha256:
            raise OtherWeightsError(
                f"the weights of {cell.model} ({model.weights_sha256[:12]}) are not those that this run began with "
                f"({before[:12]}). Name another folder with --out, or bring the old weights back."
            )


def load_or_fit_policy(
    cell: Cell, spec: Spec, run: Path, folder: Path, model: BaseModel, task: Task
) -> tuple[Policy, float | None]:
    """The cell's fitted policy, and the seconds fitting took (None where that is not known)."""
    from elicit.policy import Policy

    policy_folder, scratch = folder / "policy", folder / SCRATCH
    if policy_folder.exists():
        shutil.rmtree(scratch, ignore_errors=True)
        return Policy.load(policy_folder, model), typed_files.read_status(folder).get("fit_seconds")
    started = time.monotonic()
    policy = fit_policy(cell, spec, run, folder, model, task)
    save_fitted_policy(policy, folder, time.monotonic() - started)
    if policy.checkpoints:  # until now they are in the scratch folder
        policy = Policy.load(policy_folder, model)
    shutil.rmtree(scratch, ignore_errors=True)
    return policy, typed_files.read_status(folder).get("fit_seconds")


def fit_policy(cell: Cell, spec: Spec, run: Path, folder: Path, model: BaseModel, task: Task) -> Policy:
    """Fit a cell's policy, resuming from what its scratch folder holds; in each of several processes, or in one.

    Raises:
        ElicitError: an arm that it needs has failed, or what the method's `fit` raises.
    """
    from elicit.policy import Policy

    methods = spec.build_methods()
    needs = {}
    for arm in cell.needs:
        home = run / "cells" / cell.model / Path(arm) / str(parent_seed(methods[arm], cell.seed)) / "policy"
        if not home.exists():
            raise ElicitError(f"arm {cell.arm!r} needs {arm!r}, which failed on {cell.model}.")
        needs[arm] = Policy.load(home, model)
    scratch = folder / SCRATCH
    with runs.writing_to(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
    return methods[cell.arm].fit(model, task, seed=cell.seed, needs=needs, scratch=scratch)


def save_fitted_policy(policy: Policy, folder: Path, seconds: float, **facts: Any) -> None:
    """Put a policy into its cell, whole, and the seconds that fitting took, which a later attempt needs."""
    with runs.fresh_folder(folder / "policy") as new:
        policy.save(new)
    devices = typed_files.read_status(folder).get("devices", [])
    status = {"state": "pending", "fit_seconds": seconds, "devices": devices, **facts}
    runs.write_json(folder / "status.json", status)
