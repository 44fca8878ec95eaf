"""A file of steering vectors, whatever wrote it: its vectors by layer, or the edits that it spells out.

The lab's own files and lm-eval's say what is done with a vector (layer, size, mode, positions): they hold edits. The
others hold vectors alone, at their own length (`elicit.vectors.tensors`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.steering import Steering
    from elicit.vectors.tensors import LayerVectors


@dataclass(frozen=True)
class VectorFile:
    """The content of a file."""

    path: Path
    form: str
    """What wrote it, in a few words."""
    sha256: str
    """Hash of the bytes of its files."""
    vectors: LayerVectors
    """Layer -> vector at its own length; None for a vector whose file does not say the layer. Empty where `edits` are
    spelled out."""
    edits: tuple[Steering, ...] = ()

    def to_record(self) -> Mapping[str, str]:
        """Plain data for a policy's record."""
        return {"file": self.path.name, "format": self.form, "sha256": self.sha256}


def list_companions(path: Path) -> list[Path]:
    """The files that vectors consist of: the one named, and the JSON or safetensors beside it of the lab's format."""
    if path.suffix not in (".json", ".safetensors"):
        return [path]
    json_path, tensors_path = path.with_suffix(".json"), path.with_suffix(".safetensors")
    return [json_path, tensors_path] if json_path.is_file() and tensors_path.is_file() else [path]


def read_vector_file(
    path: str | Path, model: BaseModel, *, name: str | None = None, any_base: bool = False
) -> VectorFile:
    """Read a file of vectors for a model.

    Args:
        name: the tensor that is meant, in a file with several.
        any_base: accept the lab's vectors for other weights.

    Raises:
        ElicitError: no such file, one of an unknown kind or whose content is not clear, or vectors for another model.
    """
    source = Path(path)
    if not source.is_file():
        raise ElicitError(
            f"{source} does not exist. Name a file of vectors: .json, .safetensors, .gguf, .pt, .npy or .csv."
        )
    companions = list_companions(source)
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in companions)).hexdigest()
    if len(companions) == 2 or source.suffix == ".json":
        from elicit.vectors.elicit_format import read_elicit_vectors

        json_path = source.with_suffix(".json")
        edits = read_elicit_vectors(json_path, source.with_suffix(".safetensors"), model, any_base=any_base)
        file = VectorFile(source, "elicit-vectors", digest, {}, edits)
    elif source.suffix == ".csv":
        from elicit.vectors.lm_eval_csv import read_csv

        file = VectorFile(source, "lm-eval's CSV", digest, {}, read_csv(source, model))
    elif _is_lm_eval_pt(source):
        from elicit.vectors.lm_eval import read_pt

        file = VectorFile(source, "lm-eval's .pt", digest, {}, read_pt(source, model))
    else:
        from elicit.vectors.tensors import read_layer_vectors

        vectors = read_layer_vectors(source, n_layers=model.n_layers, name=name)
        file = VectorFile(source, f"vectors in {source.suffix}", digest, vectors)
    if file.edits and name is not None:
        raise ElicitError(f"{source} says what its vectors are; leave name out.")
    _check_model(file, model)
    return file


def _is_lm_eval_pt(path: Path) -> bool:
    if path.suffix not in (".pt", ".pth"):
        return False
    from elicit.vectors.tensors import read_torch_data

    content = read_torch_data(path)
    return isinstance(content, Mapping) and any(
        isinstance(entry, Mapping) and "steering_vector" in entry for entry in content.values()
    )


def _check_model(file: VectorFile, model: BaseModel) -> None:
    sizes = [(layer, len(vector)) for layer, vector in file.vectors.items()]
    sizes += [(edit.layer, edit.d_model) for edit in file.edits]
    for layer, size in sizes:
        if size != model.d_model:
            raise ElicitError(
                f"{file.path}: a vector of {size} entries; residuals of {model.name} have {model.d_model}."
            )
        if layer is not None and not 0 <= layer < model.n_layers:
            raise ElicitError(
                f"{file.path}: a vector for layer {layer}; {model.name} has layers 0 to {model.n_layers - 1}."
            )
