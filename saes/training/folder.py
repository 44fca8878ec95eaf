"""The folder of a training: its spec, its checkpoints while it runs, and SAELens's files with our manifest at the end.

    OUT/  spec.json  checkpoint-000300/     then  sae_weights.safetensors  manifest.json  cfg.json

Every part is renamed into place when it is whole, cfg.json last: a folder with cfg.json holds a finished SAE.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from elicit import runs
from elicit.errors import ElicitError, one_line
from saes.manifest import MANIFEST, Manifest

SPEC = "spec.json"
CFG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
_STATE = "trainer_state.pt"
_CHECKPOINT = "checkpoint-"


@contextmanager
def claim_folder(out: Path, spec: dict[str, Any]) -> Iterator[None]:
    """Hold `out` for the training of `spec`: a new or empty folder, or one that was begun with the same spec.

    Raises:
        ElicitError: a folder of another training, of something else, in use, or that cannot be written.
    """
    with runs.writing_to(out):
        foreign = (
            out.is_dir()
            and not (out / SPEC).exists()
            and any(not runs.is_lock_or_scratch(path) for path in out.iterdir())
        )
    if foreign:
        raise ElicitError(f"{out} holds files that are not of an SAE's training. Name a new folder with --out.")
    with runs.hold_lock(out / ".lock", str(out)):
        runs.remove_scratch(out)
        if (out / SPEC).exists():
            _check_same_spec(out, runs.read_run_json(out / SPEC), json.loads(json.dumps(spec)))
        else:
            runs.write_json(out / SPEC, spec)
        yield


def _check_same_spec(out: Path, saved_spec: Any, spec: dict[str, Any]) -> None:
    if not isinstance(saved_spec, dict):
        raise ElicitError(f"{out / SPEC} is not the spec of a training. Remove {out}, or name another folder.")
    names = sorted(name for name in {*saved_spec, *spec} if saved_spec.get(name) != spec.get(name))
    if names:
        changes = ", ".join(
            f"{n} {one_line(saved_spec.get(n), 60)} there, {one_line(spec.get(n), 60)} now" for n in names
        )
        raise ElicitError(f"{out} holds another training: {changes}. Name another folder with --out, or remove it.")


def is_finished(out: Path) -> bool:
    return (out / CFG).exists()


# --- checkpoints ----------------------------------------------------------------------------------------------------


def save_checkpoint(out: Path, trainer: Any, norm: float) -> None:
    """Write the trainer's state and the SAE's; older checkpoints go once this one is in place."""
    older = _list_checkpoints(out)
    target = out / f"{_CHECKPOINT}{trainer.n_training_steps:08d}"
    with runs.writing_to(target), runs.fresh_folder(target) as scratch:
        # SAELens writes the weights through safetensors, and the optimiser through torch.save.
        trainer.sae.save_model(scratch)
        trainer.save_trainer_state(scratch)
        runs.write_json(scratch / "norm.json", norm)
    for path in older:
        if path != target:
            shutil.rmtree(path, ignore_errors=True)


def load_checkpoint(out: Path, trainer: Any, norm: float) -> None:
    """Take up the newest checkpoint, if there is one.

    Raises:
        ElicitError: a damaged one, or one of other weights (another residual norm).
    """
    checkpoints = _list_checkpoints(out)
    if not checkpoints:
        return
    newest = checkpoints[-1]
    try:
        saved_norm = float(runs.read_run_json(newest / "norm.json"))
        # SAELens leaves `weights_only` to torch's default, which the environment can change: a file that can be read
        # in the safe way holds nothing but tensors and plain data, and is safe in the other way too.
        torch.load(newest / _STATE, map_location="cpu", weights_only=True)
        trainer.sae.load_weights_from_checkpoint(newest)
        trainer.load_trainer_state(newest)
    except Exception as error:
        raise ElicitError(
            f"{newest} is damaged ({one_line(error, 120)}). Remove it and type the same command again."
        ) from error
    check_norm(newest, saved_norm, norm)


def check_norm(path: Path, saved_norm: float | None, current_norm: float) -> None:
    """Raises ElicitError if a folder's residual norm says that it was made with other weights."""
    if saved_norm is None or abs(saved_norm - current_norm) > 1e-3 * current_norm:
        raise ElicitError(
            f"{path} was made with other weights: the median residual norm was {saved_norm}, and is "
            f"{current_norm:.6g} now. Name "
            "another folder with --out."
        )


def _list_checkpoints(out: Path) -> list[Path]:
    return sorted(path for path in out.glob(f"{_CHECKPOINT}*") if path.name.removeprefix(_CHECKPOINT).isdigit())


# --- the finished SAE -----------------------------------------------------------------------------------------------


def write_sae(folder: Path, sae: Any, *, stored_as: str, metadata: dict[str, Any]) -> None:
    """Write SAELens's two files: cfg.json with metadata that is true, weights in the dtype they are stored as."""
    from safetensors.torch import load_file, save_file

    with runs.writing_to(folder):
        sae.save_inference_model(folder)
        path = folder / WEIGHTS
        dtype = getattr(torch, stored_as)
        weights = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in load_file(path).items()}
        save_file(weights, path)
        cfg = json.loads((folder / CFG).read_text(encoding="utf-8"))
        # What is trained here never uses these two fields' other values; a device is not a property of an SAE.
        cfg |= {"device": "cpu", "dtype": "float32"}
        cfg["metadata"] |= metadata
        runs.write_json(folder / CFG, cfg)


def publish_files(scratch: Path, out: Path, manifest: Manifest) -> None:
    """Move a finished SAE into its folder, cfg.json last, and remove the checkpoints."""
    runs.write_json(scratch / MANIFEST, manifest.model_dump())
    with runs.writing_to(out):
        for name in (WEIGHTS, MANIFEST, CFG):
            (scratch / name).chmod(0o644)
            os.replace(scratch / name, out / name)
    for path in _list_checkpoints(out):
        shutil.rmtree(path, ignore_errors=True)
