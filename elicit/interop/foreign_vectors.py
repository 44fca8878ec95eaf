"""Steering vectors that other tools wrote, as edits. They keep their length: strength 1 adds them as they are.

NAME.safetensors   one tensor [d_model]; the layer is asked for
NAME.gguf          a control vector as repeng and llama.cpp have it: one tensor `direction.LAYER` a layer
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError, one_line, require_extra
from elicit.tensors import read_tensors

if TYPE_CHECKING:
    from elicit.steering import Steering

_DIRECTION = re.compile(r"direction\.([0-9]{1,4})")


def read_foreign_vectors(path: str | Path, stem: Path, *, layer: int | None) -> tuple[Steering, ...]:
    """The edits of a foreign file: mode add, at all positions.

    Args:
        path: as it was given; `stem` is it without the ending of our own files.
        layer: for a file that does not say it.

    Raises:
        ElicitError: no such file, or one that is neither of the two kinds.
    """
    foreign_path = Path(path)
    for candidate in (foreign_path, Path(f"{stem}.safetensors"), Path(f"{stem}.gguf")):
        if candidate.is_file() and candidate.suffix in (".safetensors", ".gguf"):
            return (
                _read_control_vectors(candidate)
                if candidate.suffix == ".gguf"
                else (_read_safetensors_vector(candidate, layer),)
            )
    raise ElicitError(f"no vectors at {path}. Expected NAME.json with NAME.safetensors, NAME.safetensors or NAME.gguf.")


def _read_safetensors_vector(path: Path, layer: int | None) -> Steering:
    tensors = read_tensors(path)
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    if len(tensors) != 1 or len(next(iter(shapes.values()))) != 1:
        raise ElicitError(
            f"{path} holds {one_line(shapes, 120)}; expected one tensor of shape [d_model], or a {path.stem}.json "
            "beside it that says what the tensors are."
        )
    if layer is None:
        raise ElicitError(f"{path} does not say which layer its vector is for. Pass layer=.")
    return _make_steering(next(iter(tensors.values())), layer, path.stem)


def _read_control_vectors(path: Path) -> tuple[Steering, ...]:
    """`direction.N` is added to the output of block N, counted from 0 (repeng; llama.cpp's control vectors)."""
    import torch

    gguf: Any = require_extra("gguf", "gguf", f"reading {path}")
    try:
        tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    except Exception as error:
        raise ElicitError(f"{path} cannot be read: {one_line(error, 120)}.") from None
    tensors_by_layer = {int(match[1]): tensors[name] for name in tensors if (match := _DIRECTION.fullmatch(name))}
    if not tensors_by_layer:
        raise ElicitError(
            f"{path} holds no tensor direction.LAYER: it is not a control vector. (A model in GGUF is loaded with "
            "elicit.load.)"
        )
    values = {
        layer: torch.from_numpy(tensor.data.astype("float32").copy())
        for layer, tensor in sorted(tensors_by_layer.items())
    }
    return tuple(_make_steering(value, layer, f"{path.stem}@{layer}") for layer, value in values.items())


def _make_steering(vector: Any, layer: int, label: str) -> Steering:
    from elicit.steering import Steering

    vector = vector.float()
    return Steering(vector, layer, 1.0, "add", "all", float(vector.norm()) or 1.0, label)
