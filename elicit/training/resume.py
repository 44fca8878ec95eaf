"""Trainer checkpoints in a scratch folder, from which an interrupted training resumes.

The trainer writes a checkpoint file by file. A seal is added last, by renaming: it names the training and the size of
every file. A checkpoint without a matching seal (torn by a kill, or from another configuration) is removed.
transformers reads what it wrote with `weights_only=True`, and weights from safetensors.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from elicit import runs
from elicit.training.world import get_world

_SEAL = "seal.json"


class CheckpointSealCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Seals every checkpoint once it is complete."""

    def __init__(self, identity: str) -> None:
        self._identity = identity

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        world = get_world()
        world.wait_for_all()  # each process writes the state of its random numbers
        if world.is_main:
            seal_folder(Path(args.output_dir) / f"checkpoint-{state.global_step}", self._identity)


def name_training(identity: str) -> str:
    """A training's identity with its number of processes: checkpoints of another number do not fit it."""
    size = get_world().size
    return identity if size == 1 else f"{identity} in {size} processes"


def find_latest_checkpoint(scratch: Path, identity: str, *, before: int | None = None) -> Path | None:
    """Find the last complete checkpoint of this training; torn ones and those of other trainings are removed.

    Args:
        before: a step that must be trained again: checkpoints of it and of later steps are removed too.
    """
    return get_world().share_main(lambda: _find_latest(scratch, identity, before))


def _find_latest(scratch: Path, identity: str, before: int | None) -> Path | None:
    folders = sorted(scratch.glob("checkpoint-*"), key=_parse_step)
    for folder in folders:
        if not is_sealed_for(folder, identity) or (before is not None and _parse_step(folder) >= before):
            shutil.rmtree(folder)
    whole = [folder for folder in folders if folder.exists()]
    return whole[-1] if whole else None


def seal_folder(folder: Path, identity: str) -> None:
    """Mark a folder as complete and as belonging to this training."""
    runs.write_json(folder / _SEAL, {"identity": identity, "files": _measure_file_sizes(folder)})


def is_sealed_for(folder: Path, identity: str) -> bool:
    """True if a folder is complete and belongs to this training."""
    seal_path = folder / _SEAL
    if not seal_path.exists():
        return False
    seal_data = runs.read_run_json(seal_path)
    return bool(seal_data["identity"] == identity and seal_data["files"] == _measure_file_sizes(folder))


def _measure_file_sizes(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _SEAL)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def _parse_step(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
