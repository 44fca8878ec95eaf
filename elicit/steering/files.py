"""Edits in files: `steering.json` says what they mean, `steering.safetensors` holds their tensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from elicit.errors import ElicitError
from elicit.steering.gated import Gated
from elicit.steering.spec import Steering

if TYPE_CHECKING:
    from saes.sae import Feature


def save(steering: Sequence[Steering | Gated], folder: Path) -> None:
    """Write `steering.json` (meaning) and `steering.safetensors` (tensors) into an existing folder.

    An edit that reads an SAE's encoder keeps the SAE's name and hash; the SAE itself is not copied.
    """
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    for i, edit in enumerate(steering):
        if isinstance(edit, Gated):
            tensors |= {f"{i}.{name}": tensor for name, tensor in edit.tensors().items()}
        else:
            tensors[str(i)] = edit.direction
    save_file(tensors, folder / "steering.safetensors")
    (folder / "steering.json").write_text(json.dumps([_meaning(edit) for edit in steering], indent=1) + "\n")


def _meaning(edit: Steering | Gated) -> dict[str, Any]:
    if isinstance(edit, Gated):
        return edit.meaning()
    meaning: dict[str, Any] = {
        "layer": edit.layer,
        "strength": edit.strength,
        "mode": edit.mode,
        "positions": edit.positions,
        "unit": edit.unit,
        "absolute": edit.absolute,
        "label": edit.label,
    }
    if edit.feature is not None and edit.reads:
        sae = edit.feature.sae
        meaning["feature"] = {"sae": sae.name, "sha256": sae.sha256, "index": edit.feature.index}
    return meaning


def load(folder: Path) -> tuple[Steering | Gated, ...]:
    """Read what `save` wrote; a folder without steering gives none.

    Raises:
        ElicitError: if the two files do not belong together, or an SAE that an edit reads is not there any more.
    """
    from safetensors.torch import load_file

    meaning_file = folder / "steering.json"
    if not meaning_file.exists():
        return ()
    meaning: list[dict[str, Any]] = json.loads(meaning_file.read_text())
    vectors = load_file(folder / "steering.safetensors")
    held = len({name.partition(".")[0] for name in vectors})
    if held != len(meaning):
        raise ElicitError(f"{folder}: steering.json has {len(meaning)} edits, its vectors are {held}.")
    edits: list[Steering | Gated] = []
    for i, entry in enumerate(meaning):
        if entry.get("kind") == "gated":
            own = {name.removeprefix(f"{i}."): tensor for name, tensor in vectors.items() if name.startswith(f"{i}.")}
            edits.append(Gated.read(entry, own))
            continue
        entry.pop("absolute", None)
        wanted = entry.pop("feature", None)
        feature = None if wanted is None else feature_of(wanted, folder)
        edits.append(Steering(direction=vectors[str(i)], **entry, feature=feature))
    return tuple(edits)


def feature_of(wanted: dict[str, Any], folder: Path) -> Feature:
    """The SAE feature that an edit reads. Raises ElicitError if the SAE of that name is another one by now."""
    import saes

    sae = saes.load(wanted["sae"])
    if sae.sha256 != wanted["sha256"]:
        raise ElicitError(
            f"the policy in {folder} reads SAE {wanted['sae']!r} of hash {wanted['sha256'][:12]}, but the one of that "
            f"name now has {sae.sha256[:12]}. Bring the old one back, or fit the policy again."
        )
    return sae.feature(wanted["index"])
