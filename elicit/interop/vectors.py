"""Steering vectors in files that need no lab: `NAME.safetensors` (directions) and `NAME.json` (what they mean).

The JSON, format "elicit-vectors", version 1; a reader must refuse a version it does not know:

    {"format": "elicit-vectors", "version": 1,
     "model": {"name", "weights_sha256", "model_type", "d_model", "n_layers"},     what the vectors were made for
     "provenance": {...},                                                          where they come from, free form
     "vectors": [{
       "tensor": "0",                      name in the safetensors file: float32 [d_model], of length 1
       "layer": 1,                         the output of decoder block 1
       "hook": {"transformer_lens": "blocks.1.hook_resid_post", "transformers": "model.layers.1", "hidden_states": 2},
       "mode": "add", "strength": 2.0, "unit": 221.6, "absolute": 443.2,           strength in units; what is done is
       "positions": "first", "offsets": [0, 1], "decays": false, "label": "..."}]}   `absolute`

With v the tensor, c = h . v and A = `absolute`: add h + A v, clamp h + (A - c) v, scale h + (A - 1) c v, ablate
h - c v, at every token whose offset o is in `offsets` (low <= o < high, null for no bound), o = 0 being the last prompt
token; where `decays`, what is added is multiplied by 1 - o / high. Both are null where `positions` is not one window of
offsets (`token:"Wait"`): the text then says where (`elicit.positions.grammar`).

In plain PyTorch, for a prompt of P tokens:

    meta = json.load(open("v.json"))["vectors"][0]
    v = safetensors.torch.load_file("v.safetensors")[meta["tensor"]]
    def hook(module, args, out):          # mode add, positions "first"
        (out[0] if isinstance(out, tuple) else out)[:, P - 1] += meta["absolute"] * v
    model.get_submodule(meta["hook"]["transformers"]).register_forward_hook(hook)

An edit that reads an SAE's encoder (clamp, scale or ablate of a feature) names it under "feature" and needs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError
from elicit.runs import write_json, writing_to
from elicit.vectors.elicit_format import FORMAT, VERSION, read_elicit_vectors

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.steering import Steering


def save_vectors(
    edits: Policy | Steering | Sequence[Steering],
    path: str | Path,
    *,
    model: BaseModel | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write `path`.safetensors and `path`.json (an ending of `path` is taken off). Returns the JSON file.

    Args:
        edits: a policy, whose model and record are then known, or its edits.
        model: what they were made for; needed unless `edits` is a policy.
        provenance: where they come from; by default what the policy's fit recorded of them.

    Raises:
        ElicitError: edits behind a gate, none at all, or no model.
    """
    from elicit.policy import Policy
    from elicit.steering import Steering

    if isinstance(edits, Policy):
        model = edits.model
        provenance = provenance or {"policy_sha256": edits.sha256, **select_provenance(edits.record)}
    steering_edits = (
        edits.edits if isinstance(edits, Policy) else [edits] if isinstance(edits, Steering) else list(edits)
    )
    if model is None:
        raise ElicitError("vectors.save: edits alone do not say which model they are for. Pass model=.")
    facts = {
        "name": model.name,
        "weights_sha256": model.weights_sha256,
        "model_type": model.hf.config.model_type,
        "d_model": model.d_model,
        "n_layers": model.n_layers,
    }
    return write_vector_files(steering_edits, path, model=facts, provenance=provenance or {})


def write_vector_files(
    edits: Sequence[Steering], path: str | Path, *, model: Mapping[str, Any], provenance: Mapping[str, Any]
) -> Path:
    """`save` for callers that know the model's facts and have not loaded it.

    Raises:
        ElicitError: no edits, or an architecture that the lab does not know.
    """
    from safetensors.torch import save_file

    from elicit.loading.architectures import find_layers_path

    if not edits:
        raise ElicitError("save_vectors: nothing to save: this policy does not steer.")
    stem = _strip_vector_suffix(path)
    layers = None if model["model_type"] is None else find_layers_path(model["model_type"])
    entries = [_build_vector_entry(edit, str(i), layers) for i, edit in enumerate(edits)]
    with writing_to(stem):
        stem.parent.mkdir(parents=True, exist_ok=True)
        save_file({str(i): edit.direction.contiguous() for i, edit in enumerate(edits)}, f"{stem}.safetensors")
    document = {"format": FORMAT, "version": VERSION, "model": dict(model), "provenance": dict(provenance)}
    write_json(Path(f"{stem}.json"), {**document, "vectors": entries})
    return Path(f"{stem}.json")


def load_vectors(
    path: str | Path,
    *,
    model: BaseModel | None = None,
    layer: int | None = None,
    strength: float | None = None,
    positions: str | None = None,
    name: str | None = None,
) -> tuple[Steering, ...]:
    """Read vectors: what `save` wrote, or another tool's file (`elicit.vectors.tensors` lists them).

    Args:
        path: with or without its ending. A foreign file's vectors keep their length: strength 1 adds them as they are.
        model: checks that they fit it. Vectors that `save` wrote for other weights are refused.
        layer: the layer of a foreign vector whose file does not say it.
        strength: in place of the file's; a foreign file has 1, as the tools that write them do.
        positions: in place of the file's; a foreign file has "all".
        name: the tensor that is meant, in a foreign file with several.

    Raises:
        ElicitError: no such file, one that cannot be read, a missing layer, or vectors of another model.
    """
    stem = _strip_vector_suffix(path)
    json_path = Path(f"{stem}.json")
    if Path(path).suffix in ("", ".json", ".safetensors") and json_path.exists():
        edits = read_elicit_vectors(json_path, Path(f"{stem}.safetensors"), model)
        if layer is not None and [edit.layer for edit in edits] != [layer]:
            raise ElicitError(f"{json_path} says which layer its vectors are for; leave layer= out.")
    else:
        edits = _read_foreign_vectors(Path(path), stem, layer, model, name)
    changes = {key: value for key, value in (("strength", strength), ("positions", positions)) if value is not None}
    edits = tuple(_replace_fields(edit, changes) for edit in edits)
    for edit in edits:
        if model is not None and not (edit.d_model == model.d_model and 0 <= edit.layer < model.n_layers):
            held = f"a vector of {edit.d_model} entries at layer {edit.layer}"
            raise ElicitError(f"{path}: {held} does not fit {model!r}.")
    return edits


def _read_foreign_vectors(
    path: Path, stem: Path, layer: int | None, model: BaseModel | None, name: str | None
) -> tuple[Steering, ...]:
    """Edits that add the vectors as they are, at all positions."""
    from elicit.steering import Steering
    from elicit.vectors.tensors import SUFFIXES, read_layer_vectors

    candidates = (path, *(Path(f"{stem}{suffix}") for suffix in SUFFIXES))
    source = next((file for file in candidates if file.is_file() and file.suffix in SUFFIXES), None)
    if source is None:
        raise ElicitError(
            f"no vectors at {path}. Expected NAME.json with NAME.safetensors, or NAME with one of "
            f"{', '.join(SUFFIXES)}."
        )
    vectors = read_layer_vectors(source, n_layers=None if model is None else model.n_layers, name=name)
    if None in vectors and layer is None:
        raise ElicitError(f"{source} does not say which layer its vector is for. Pass layer=.")
    if None not in vectors and layer is not None:
        if layer not in vectors:
            raise ElicitError(f"{source} holds no vector for layer {layer}; it has layers {sorted(vectors)}.")  # type: ignore[type-var]
        vectors = {layer: vectors[layer]}
    edits = []
    for file_layer, vector in vectors.items():
        at = layer if file_layer is None else file_layer
        assert at is not None
        label = source.stem if file_layer is None else f"{source.stem}@{file_layer}"
        edits.append(Steering(vector, at, 1.0, "add", "all", float(vector.norm()) or 1.0, label))
    return tuple(edits)


def _build_vector_entry(edit: Steering, tensor: str, layers: str | None) -> dict[str, Any]:
    """One vector's meaning. `layers`: where transformers keeps the decoder's layers, None if that is not known."""
    from elicit.steering.positions import Positions, parse

    where = parse(edit.positions)
    bounds = None
    if isinstance(where, Positions):
        bounds = [None if math.isinf(bound) else int(bound) for bound in (where.low, where.high)]
    entry: dict[str, Any] = {
        "tensor": tensor,
        "layer": edit.layer,
        "hook": {
            "transformer_lens": f"blocks.{edit.layer}.hook_resid_post",
            "transformers": None if layers is None else f"{layers}.{edit.layer}",
            "hidden_states": edit.layer + 1,
        },
        "mode": edit.mode,
        "strength": edit.strength,
        "unit": edit.unit,
        "absolute": edit.absolute,
        "positions": edit.positions,
        "offsets": bounds,
        "decays": where.decays if isinstance(where, Positions) else None,
        "label": edit.label,
    }
    if edit.feature is not None and edit.reads:
        sae = edit.feature.sae
        entry["feature"] = {"sae": sae.name, "sha256": sae.sha256, "index": edit.feature.index}
    return entry


def select_provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    """Select the entries of a fit's record that say where its vectors come from."""
    names = ("steering", "chosen", "chosen_on", "recipe", "start", "features", "saes", "tuning", "train")
    return {name: record[name] for name in names if record.get(name)}


def _replace_fields(edit: Steering, changes: Mapping[str, Any]) -> Steering:
    import dataclasses

    return dataclasses.replace(edit, **changes) if changes else edit


def _strip_vector_suffix(path: str | Path) -> Path:
    """The path without an ending that one of the two files has."""
    file_path = Path(path)
    return file_path.with_suffix("") if file_path.suffix in (".json", ".safetensors") else file_path
