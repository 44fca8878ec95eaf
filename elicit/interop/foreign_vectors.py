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


def read_foreign(path: str | Path, stem: Path, *, layer: int | None) -> tuple[Steering, ...]:
    """The edits of a foreign file: mode add, at all positions.

    Args:
        path: as it was given; `stem` is it without the ending of our own files.
        layer: for a file that does not say it.

    Raises:
        ElicitError: no such file, or one that is neither of the two kinds.
    """
    given = Path(path)
    for place in (given, Path(f"{stem}.safetensors"), Path(f"{stem}.gguf")):
        if place.is_file() and place.suffix in (".safetensors", ".gguf"):
            return _gguf(place) if place.suffix == ".gguf" else (_bare(place, layer),)
    raise ElicitError(f"no vectors at {path}. Expected NAME.json with NAME.safetensors, NAME.safetensors or NAME.gguf.")


def _bare(place: Path, layer: int | None) -> Steering:
    tensors = read_tensors(place)
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    if len(tensors) != 1 or len(next(iter(shapes.values()))) != 1:
        raise ElicitError(
            f"{place} holds {one_line(shapes, 120)}; expected one tensor of shape [d_model], or a {place.stem}.json "
            "beside it that says what the tensors are."
        )
    if layer is None:
        raise ElicitError(f"{place} does not say which layer its vector is for. Pass layer=.")
    return _as_it_is(next(iter(tensors.values())), layer, place.stem)


def _gguf(place: Path) -> tuple[Steering, ...]:
    """`direction.N` is added to the output of block N, counted from 0 (repeng; llama.cpp's control vectors)."""
    import torch

    gguf: Any = require_extra("gguf", "gguf", f"reading {place}")
    try:
        tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(place).tensors}
    except Exception as error:
        raise ElicitError(f"{place} cannot be read: {one_line(error, 120)}.") from None
    found = {int(match[1]): tensors[name] for name in tensors if (match := _DIRECTION.fullmatch(name))}
    if not found:
        raise ElicitError(
            f"{place} holds no tensor direction.LAYER: it is no control vector. (A model in GGUF is loaded with "
            "elicit.load.)"
        )
    values = {layer: torch.from_numpy(tensor.data.astype("float32").copy()) for layer, tensor in sorted(found.items())}
    return tuple(_as_it_is(value, layer, f"{place.stem}@{layer}") for layer, value in values.items())


def _as_it_is(vector: Any, layer: int, label: str) -> Steering:
    from elicit.steering import Steering

    vector = vector.float()
    return Steering(vector, layer, 1.0, "add", "all", float(vector.norm()) or 1.0, label)
