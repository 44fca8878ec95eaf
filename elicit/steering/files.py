"""Files of edits: `steering.json` has their options, `steering.safetensors` their tensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from elicit import documents
from elicit.errors import ElicitError
from elicit.steering.function_edit import FunctionEdit
from elicit.steering.gated import GatedEdit
from elicit.steering.hooks import AnyEdit
from elicit.steering.spec import Mode, Steering
from elicit.tensors import read_tensors, require_tensor

if TYPE_CHECKING:
    from saes.sae import Feature

_MEANING, _TENSORS = "steering.json", "steering.safetensors"


@dataclass(frozen=True)
class FeatureEntry:
    """Reference to the SAE feature that an edit reads."""

    sae: str
    sha256: str
    index: int


@dataclass(frozen=True)
class EditEntry:
    """An edit in `steering.json`, without its direction."""

    layer: int
    strength: float
    mode: Mode
    positions: str
    unit: float
    label: str
    absolute: float | None = None
    feature: FeatureEntry | None = None


@dataclass(frozen=True)
class GatedEntry:
    """A gated edit in `steering.json`, without its tensors."""

    kind: Literal["gated"]
    layer: int
    strength: float
    positions: str
    unit: float
    label: str
    absolute: float | None = None


@dataclass(frozen=True)
class FunctionEntry:
    """An edit by a function in `steering.json`; its code is not copied."""

    kind: Literal["function"]
    function: str
    code_sha256: str
    d_model: int
    layer: int
    strength: float
    positions: str
    label: str


def save_edits(steering: Sequence[AnyEdit], folder: Path) -> None:
    """Write `steering.json` (options) and `steering.safetensors` (tensors) into an existing folder.

    An edit that reads an SAE's encoder keeps the SAE's name and hash; the SAE itself is not copied.
    """
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    for i, edit in enumerate(steering):
        if isinstance(edit, GatedEdit):
            tensors |= {f"{i}.{name}": tensor for name, tensor in edit.to_tensors().items()}
        elif isinstance(edit, Steering):
            tensors[str(i)] = edit.direction
    save_file(tensors, folder / _TENSORS)
    (folder / _MEANING).write_text(json.dumps([_edit_to_json(edit) for edit in steering], indent=1) + "\n")


def _edit_to_json(edit: AnyEdit) -> dict[str, Any]:
    if isinstance(edit, GatedEdit | FunctionEdit):
        return edit.to_json()
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


def load_edits(folder: Path) -> tuple[AnyEdit, ...]:
    """Load the edits that `save_edits` wrote; none from a folder without steering.

    Raises:
        ElicitError: the two files do not belong together, or an SAE that an edit reads is missing or has changed.
    """
    path = folder / _MEANING
    if not path.exists():
        return ()
    entries = documents.read_json(path)
    if not isinstance(entries, list):
        raise ElicitError(f"{path} holds {documents.describe_json_type(entries)}; expected a list of edits.")
    vectors = read_tensors(folder / _TENSORS)
    vector_count = len({name.partition(".")[0] for name in vectors})
    with_tensors = sum(not _is_function(entry) for entry in entries)
    if vector_count != with_tensors:
        raise ElicitError(
            f"{folder}: {_MEANING} has {with_tensors} edits with vectors, its vectors are {vector_count}."
        )
    return tuple(_edit_from_json(entry, i, vectors, folder) for i, entry in enumerate(entries))


def _is_function(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("kind") == "function"


def _edit_from_json(entry: Any, i: int, vectors: dict[str, torch.Tensor], folder: Path) -> AnyEdit:
    where = f"{folder / _MEANING}, edit {i}"
    plain, tensors = documents.as_object(entry, where), folder / _TENSORS
    if _is_function(plain):
        documents.as_record(plain, FunctionEntry, where)
        with documents.prefix_errors(where):
            return FunctionEdit(**{name: value for name, value in plain.items() if name != "kind"})
    gated = "kind" in plain
    documents.as_record(plain, GatedEntry if gated else EditEntry, where)
    # Numbers are not converted: 1 and 1.0 hash differently.
    fields = {name: value for name, value in plain.items() if name not in ("kind", "absolute", "feature")}
    if gated:
        parts = {name: require_tensor(vectors, f"{i}.{name}", tensors) for name in GatedEdit.TENSORS}
        with documents.prefix_errors(where):
            return GatedEdit.from_json(fields, parts)
    feature = None
    if plain.get("feature") is not None:
        feature = load_feature(documents.as_record(plain["feature"], FeatureEntry, where), folder)
    direction = require_tensor(vectors, str(i), tensors)
    with documents.prefix_errors(where):
        return Steering(direction=direction, **fields, feature=feature)


def load_feature(entry: FeatureEntry, folder: Path) -> Feature:
    """Load the SAE feature that an edit reads. Raises ElicitError if the SAE of that name has changed."""
    import saes

    sae = saes.load(entry.sae)
    if sae.sha256 != entry.sha256:
        raise ElicitError(
            f"the policy in {folder} reads SAE {entry.sae!r} of hash {entry.sha256[:12]}, but the one of that "
            f"name now has {sae.sha256[:12]}. Bring the old one back, or fit the policy again."
        )
    return sae.feature(entry.index)
