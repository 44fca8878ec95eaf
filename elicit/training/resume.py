"""Checkpoints in a scratch folder, so that an interrupted training goes on.

The trainer writes a checkpoint file by file. A seal is put into it last, by renaming: it names the training it belongs
to and the size of every file. What has no fitting seal (torn by a kill, or left by another configuration) is removed.
transformers reads what it wrote with `weights_only=True`, and weights from safetensors.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from elicit import runs

_SEAL = "seal.json"


class Sealer(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Seals every checkpoint once it is whole."""

    def __init__(self, identity: str) -> None:
        self._identity = identity

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        seal(Path(args.output_dir) / f"checkpoint-{state.global_step}", self._identity)


def latest(scratch: Path, identity: str, *, before: int | None = None) -> Path | None:
    """The last whole checkpoint of this training; torn ones and those of other trainings are removed.

    Args:
        before: a step that has to be trained (again): checkpoints of it and of later ones are removed too.
    """
    found = sorted(scratch.glob("checkpoint-*"), key=_step)
    for folder in found:
        if not fits(folder, identity) or (before is not None and _step(folder) >= before):
            shutil.rmtree(folder)
    whole = [folder for folder in found if folder.exists()]
    return whole[-1] if whole else None


def seal(folder: Path, identity: str) -> None:
    """Say that a folder is whole, and which training it belongs to."""
    runs.write_json(folder / _SEAL, {"identity": identity, "files": _sizes(folder)})


def fits(folder: Path, identity: str) -> bool:
    """Whether a folder is whole and belongs to this training."""
    seal = folder / _SEAL
    if not seal.exists():
        return False
    said = runs.read_json(seal)
    return bool(said["identity"] == identity and said["files"] == _sizes(folder))


def _sizes(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _SEAL)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def _step(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
