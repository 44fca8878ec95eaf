"""`load(name)`: an SAE by the name of a shipped one, a folder, or a SAELens release."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from elicit.errors import ElicitError, unknown
from saes.manifest import Manifest, layer_of
from saes.sae import SAE

#: Where the shipped SAEs lie: weights/MODEL/L1, and L1-s1 for the same trained with another seed.
WEIGHTS = Path(__file__).resolve().parent / "weights"
MANIFEST = "manifest.json"


def names() -> list[str]:
    """The shipped SAEs: `cued/L1`, ..."""
    return sorted(str(path.parent.relative_to(WEIGHTS)) for path in WEIGHTS.glob("*/*/cfg.json"))


def load(name: str, *, device: str = "cpu") -> SAE:
    """Load an SAE.

    Args:
        name: a shipped one (`cued/L1`), or a folder of ours or of SAELens.

    Raises:
        ElicitError: an unknown name, or files that cannot be read.
    """
    folder = WEIGHTS / name if name in names() else Path(name).expanduser()
    if not (folder / "cfg.json").is_file():
        raise unknown("SAE", name, names(), hint="Or type a folder that holds cfg.json and sae_weights.safetensors.")
    return from_folder(folder, name, device)


def from_folder(folder: Path, name: str, device: str) -> SAE:
    """Read a folder in SAELens's format, with our manifest beside it or without."""
    from sae_lens import SAE as SAELensSAE

    coder = SAELensSAE.load_from_disk(folder, device=device, dtype="float32")
    coder.requires_grad_(False)
    manifest = _manifest(folder, coder)
    digest = hashlib.sha256()
    for part in ("cfg.json", "sae_weights.safetensors"):
        digest.update((folder / part).read_bytes())
    linear = coder.cfg.normalize_activations not in ("layer_norm", "constant_norm_rescale")
    return SAE(coder, directions_of(coder), manifest, name, digest.hexdigest(), linear)


def directions_of(coder: Any) -> torch.Tensor:
    """Decoder rows as `decode` uses them."""
    rows: torch.Tensor = coder.W_dec.detach().float()
    if getattr(coder.cfg, "rescale_acts_by_decoder_norm", False):
        rows = rows / rows.norm(dim=-1, keepdim=True)
    return rows


def _manifest(folder: Path, coder: Any) -> Manifest:
    path = folder / MANIFEST
    if path.is_file():
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    metadata = coder.cfg.metadata
    if metadata.hook_name is None:
        raise ElicitError(f"{folder}: cfg.json does not say which hook this SAE reads (metadata.hook_name).")
    return Manifest(
        model=metadata.model_name or "unknown",
        layer=layer_of(metadata.hook_name),
        hook=metadata.hook_name,
        architecture=coder.cfg.architecture(),
        k=getattr(coder.cfg, "k", None),
    )
