"""`load(name)`: an SAE by what a person types. Imports no torch until it has found one.

A name is, in this order: a shipped SAE (`cued/L1`), a folder in SAELens's or Sparsify's format (or another that an
installed package reads, see `formats`), a SAELens release
`RELEASE:ID` (or a repository of either format on the hub, `ORG/NAME:FOLDER`). To load a folder that is called like a
shipped one, type `./cued/L1`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from elicit.errors import ElicitError, one_line, unknown_name_error
from saes import catalog

if TYPE_CHECKING:
    from saes.sae import SAE

__all__ = ["load"]


def load(name: str | os.PathLike[str], *, device: str = "cpu", download: bool = False, layer: int | None = None) -> SAE:
    """Load an SAE, in float32.

    Args:
        name: a shipped SAE, a folder, or RELEASE:ID (see the module's docstring).
        device: where it computes: "cpu", "cuda", ...
        download: whether a release that is not in the local cache may be fetched. Nothing else touches the network.
        layer: the decoder layer whose output it reads, for a folder that does not say. Must agree with one that does.

    Raises:
        ElicitError: an unknown name, damaged files, or a kind that the lab does not read, edit or trust (transcoders,
            other hooks than the residual stream, pickles that are read as code).
    """
    text = os.fspath(name)
    where = _check_device(device)
    folder = catalog.find_shipped_folder(text) or _find_existing_folder(text)
    if folder is not None:
        from saes.loading.folder import load_from_folder

        return load_from_folder(folder, text, device=where, layer=layer)
    release, colon, sae_id = text.partition(":")
    if colon and release and sae_id:
        from saes.loading.releases import load_from_release

        return load_from_release(release, sae_id, device=where, download=download, layer=layer)
    if text.startswith(("/", ".", "~")):
        raise ElicitError(f"SAE folder {one_line(text)} does not exist.")
    raise unknown_name_error(
        "SAE", text, catalog.names(), hint="Or type a folder with cfg.json and weights, or a SAELens RELEASE:ID."
    )


def _find_existing_folder(text: str) -> Path | None:
    try:
        folder = Path(text).expanduser()
        return folder if text and folder.is_dir() else None
    except (OSError, RuntimeError):  # a name too long for a file, or a home that is nobody's
        return None


def _check_device(device: str) -> str:
    import torch

    try:
        torch.zeros(1, device=device).item()  # `meta` holds no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ElicitError(f"device {one_line(device, 40)!r} cannot be used here: {one_line(error, 120)}") from None
    return device
