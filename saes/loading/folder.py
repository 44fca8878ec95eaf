"""An SAE from a folder in a format of `formats`, with our manifest in it or without."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from elicit.errors import ElicitError, one_line
from saes.loading import saelens, sparsify
from saes.loading.formats import CFG, list_readers
from saes.loading.validation import LoadedWeights, build_manifest, build_validated_sae
from saes.manifest import MANIFEST, Manifest, parse_hook_layer, read_manifest
from saes.sae import SAE

_PICKLES = ("*.pt", "*.pth", "*.bin", "*.pkl", "*.ckpt")


def load_from_folder(folder: Path, name: str, *, device: str, layer: int | None = None) -> SAE:
    """Read a folder.

    Raises:
        ElicitError: files that are missing, damaged or contradict each other, or a kind that does not fit.
    """
    form = next((form for form in list_readers() if form.recognises(folder)), None)
    if form is None:
        if not (folder / CFG).is_file():
            raise ElicitError(f"{one_line(folder)} holds no SAE: {CFG} is missing.{_mention_sae_folders(folder)}")
        raise ElicitError(
            f"{one_line(folder)} holds {CFG} but no weights: {saelens.WEIGHTS} (SAELens) or {sparsify.WEIGHTS} "
            f"(Sparsify) is missing.{_mention_pickles(folder)}"
        )
    loaded = form.read(folder, device)
    manifest = _resolve_manifest(folder, form.files[0], loaded, layer)
    sha256 = hash_files([folder / file for file in form.files])
    return build_validated_sae(loaded, manifest, name, sha256, where=str(folder))


def hash_files(paths: Iterable[Path]) -> str:
    """One hash of several files' bytes."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def resolve_hook(where: str, hook: str | None, layer: int | None, *, how: str) -> tuple[str, int]:
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
    hook_layer = parse_hook_layer(hook, where=where)
    if layer is not None and layer != hook_layer:
        raise ElicitError(f"{where} holds an SAE of layer {hook_layer}, but layer={layer} was asked for.")
    return hook, hook_layer


def _resolve_manifest(folder: Path, source: str, loaded: LoadedWeights, layer: int | None) -> Manifest:
    """Our manifest if there is one, else one of what the files say; the two must not contradict each other."""
    ours = read_manifest(folder)
    hook = loaded.hook if loaded.hook is not None or ours is None else ours.hook
    hook, hook_layer = resolve_hook(str(folder), hook, layer, how=f"saes.load({str(folder)!r}, layer=L)")
    if ours is None:
        return build_manifest(loaded, hook_layer, hook)
    if ours.layer != hook_layer:
        raise ElicitError(
            f"{folder}: {MANIFEST} says layer {ours.layer}, but {source} says {hook_layer}. One of them is wrong."
        )
    if ours.architecture not in loaded.kinds:
        raise ElicitError(
            f"{folder}: {MANIFEST} says architecture {one_line(ours.architecture, 40)!r}, but {source} is of "
            f"{' trained as '.join(map(repr, loaded.kinds))}. One of them is wrong."
        )
    return ours


def _mention_sae_folders(folder: Path) -> str:
    names = sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob(f"*/{CFG}"))
    return f" It holds folders of SAEs: type one of {one_line(', '.join(names), 200)}." if names else ""


def _mention_pickles(folder: Path) -> str:
    names = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    return f" {one_line(names[0], 60)} may be a pickle, which could run code: it is not read." if names else ""
