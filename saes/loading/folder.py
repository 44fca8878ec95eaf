"""An SAE from a folder: SAELens's format (with our manifest beside it or without) or Sparsify's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from elicit.errors import ElicitError, one_line
from saes.loading import saelens, sparsify
from saes.loading.validation import Read, described, prove
from saes.manifest import MANIFEST, Manifest, layer_of, read_manifest
from saes.sae import SAE

CFG = "cfg.json"
_PICKLES = ("*.pt", "*.pth", "*.bin", "*.pkl", "*.ckpt")


def from_folder(folder: Path, name: str, *, device: str, layer: int | None = None) -> SAE:
    """Read a folder.

    Raises:
        ElicitError: files that are missing, damaged or contradict each other, or a kind that does not fit.
    """
    if not (folder / CFG).is_file():
        raise ElicitError(f"{one_line(folder)} holds no SAE: {CFG} is missing.{_inside(folder)}")
    sparsifies = (folder / sparsify.WEIGHTS).is_file()
    weights = folder / (sparsify.WEIGHTS if sparsifies else saelens.WEIGHTS)
    if not weights.is_file():
        raise ElicitError(
            f"{one_line(folder)} holds {CFG} but no weights: {saelens.WEIGHTS} (SAELens) or {sparsify.WEIGHTS} "
            f"(Sparsify) is missing.{_pickles(folder)}"
        )
    read = sparsify.read(folder, device) if sparsifies else saelens.read(folder, device)
    manifest = _manifest(folder, read, layer)
    return prove(read, manifest, name, hash_files([folder / CFG, weights]), where=str(folder))


def hash_files(paths: Iterable[Path]) -> str:
    """One hash of several files' bytes."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def place(where: str, hook: str | None, layer: int | None, *, how: str) -> tuple[str, int]:
    """(hook, layer) of an SAE from what its files say and what was asked for.

    Args:
        how: what to type where neither says.

    Raises:
        ElicitError: neither says, both say and disagree, or the hook is another than the residual stream.
    """
    if hook is None and layer is None:
        raise ElicitError(f"{where} does not say which layer this SAE reads. Type {how}.")
    if hook is None:
        hook = f"blocks.{layer}.hook_resid_post"
    told = layer_of(hook, where=where)
    if layer is not None and layer != told:
        raise ElicitError(f"{where} holds an SAE of layer {told}, but layer={layer} was asked for.")
    return hook, told


def _manifest(folder: Path, read: Read, layer: int | None) -> Manifest:
    """Our manifest if there is one, else one of what the files say; the two must not contradict each other."""
    ours = read_manifest(folder)
    hook = read.hook if read.hook is not None or ours is None else ours.hook
    hook, told = place(str(folder), hook, layer, how=f"saes.load({str(folder)!r}, layer=L)")
    if ours is None:
        return described(read, told, hook)
    if ours.layer != told:
        raise ElicitError(f"{folder}: {MANIFEST} says layer {ours.layer}, but {CFG} says {told}. One of them is wrong.")
    if ours.architecture not in read.kinds:
        raise ElicitError(
            f"{folder}: {MANIFEST} says architecture {one_line(ours.architecture, 40)!r}, but {CFG} is of "
            f"{' trained as '.join(map(repr, read.kinds))}. One of them is wrong."
        )
    return ours


def _inside(folder: Path) -> str:
    found = sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob(f"*/{CFG}"))
    return f" It holds folders of SAEs: type one of {one_line(', '.join(found), 200)}." if found else ""


def _pickles(folder: Path) -> str:
    found = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    return f" {one_line(found[0], 60)} may be a pickle, which could run code: it is not read." if found else ""
