"""Reading of the lab's own vector files, format "elicit-vectors", version 1; `elicit.interop.vectors` documents it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elicit import documents
from elicit.errors import ElicitError
from elicit.tensors import read_tensors, require_tensor

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.steering import Steering

FORMAT, VERSION = "elicit-vectors", 1


@dataclass(frozen=True)
class VectorEntry:
    """One vector in a file. `hook`, `absolute`, `offsets` and `decays` tell others what the rest means."""

    tensor: str
    layer: int
    mode: Literal["add", "clamp", "scale", "ablate"]
    strength: float
    unit: float
    positions: str
    label: str
    hook: dict[str, str | int | None] | None = None
    absolute: float | None = None
    offsets: tuple[int | None, int | None] | None = None
    decays: bool | None = None
    feature: dict[str, Any] | None = None


@dataclass(frozen=True)
class VectorModel:
    """The model that vectors were made for."""

    name: str | None = None
    weights_sha256: str | None = None
    model_type: str | None = None
    d_model: int | None = None
    n_layers: int | None = None


@dataclass(frozen=True)
class VectorDocument:
    """The content of a file of vectors."""

    format: str
    version: int
    model: VectorModel
    vectors: tuple[VectorEntry, ...]
    provenance: dict[str, Any] = field(default_factory=dict)


def read_elicit_vectors(
    json_path: Path, tensors_path: Path, model: BaseModel | None, *, any_base: bool = False
) -> tuple[Steering, ...]:
    """Read the edits of `NAME.json` and `NAME.safetensors`.

    Args:
        model: refuses vectors that were made for other weights, unless `any_base`.

    Raises:
        ElicitError: another format or version, damaged files, or vectors of other weights.
    """
    from elicit.steering import Steering
    from elicit.steering.files import FeatureEntry, load_feature

    json_object = documents.read_object(json_path)
    if (json_object.get("format"), json_object.get("version")) != (FORMAT, VERSION):
        raise ElicitError(
            f"{json_path} is not in the format {FORMAT!r}, version {VERSION}, which is what can be read here."
        )
    document = documents.as_record(json_object, VectorDocument, json_path)
    sha256 = document.model.weights_sha256
    if model is not None and not any_base and sha256 not in (None, model.weights_sha256):
        raise ElicitError(
            f"{json_path}: its vectors were made for {document.model.name} (weights {str(sha256)[:12]}), "
            f"but the model given is {model.name} (weights {model.weights_sha256[:12]})."
        )
    vectors = read_tensors(tensors_path)
    edits = []
    names = ("layer", "strength", "mode", "positions", "unit", "label")
    for i, entry in enumerate(document.vectors):
        where = f"{json_path}, vector {i}"
        direction = require_tensor(vectors, entry.tensor, tensors_path)
        feature = None
        if entry.feature is not None:
            feature = load_feature(documents.as_record(entry.feature, FeatureEntry, where), json_path)
        # Numbers stay as they were written: 1 is not 1.0 in a hash.
        fields = {name: json_object["vectors"][i][name] for name in names}
        with documents.prefix_errors(where):
            edits.append(Steering(direction, **fields, feature=feature))
    return tuple(edits)
