"""The SAEs that come with the lab: found by looking at the disk. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from elicit import documents
from elicit.errors import ElicitError
from saes.manifest import Manifest, read_manifest

#: weights/MODEL/L1, and weights/MODEL/L1-s1 for the same trained with another seed.
WEIGHTS = Path(__file__).resolve().parent / "weights"


class Shipped(NamedTuple):
    """One SAE that comes with the lab."""

    name: str
    """What `saes.load` takes: `cued/L1`."""
    folder: Path
    manifest: Manifest
    d_sae: int


def names(*, weights_sha256: str | None = None) -> list[str]:
    """The shipped SAEs: `cued/L0`, `cued/L1`, `cued/L1-s1`, ...

    Args:
        weights_sha256: only those that were trained on these weights.
    """
    if weights_sha256 is None:
        return sorted(_find_shipped_folders())
    return [entry.name for entry in shipped() if entry.manifest.weights_sha256 == weights_sha256]


def shipped() -> list[Shipped]:
    """Manifests of all shipped SAEs, by name.

    Raises:
        ElicitError: if a folder among them is damaged.
    """
    return [_read_shipped_sae(name, folder) for name, folder in sorted(_find_shipped_folders().items())]


def find_shipped_folder(name: str) -> Path | None:
    """The folder of a shipped SAE, or None if no shipped one is called so."""
    return _find_shipped_folders().get(name)


def _find_shipped_folders() -> dict[str, Path]:
    return {path.parent.relative_to(WEIGHTS).as_posix(): path.parent for path in WEIGHTS.glob("*/*/cfg.json")}


def _read_shipped_sae(name: str, folder: Path) -> Shipped:
    manifest = read_manifest(folder)
    path = folder / "cfg.json"
    d_sae = documents.require_field(documents.read_object(path), "d_sae", path)
    if type(d_sae) is not int:
        raise ElicitError(f"{path}: d_sae is not a whole number. Install the lab again.")
    if manifest is None:
        raise ElicitError(f"{folder}/manifest.json is missing. Install the lab again.")
    return Shipped(name, folder, manifest, d_sae)
