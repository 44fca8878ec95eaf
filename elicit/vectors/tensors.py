"""Steering vectors that other tools wrote: a tensor a layer, at their own length, and nothing about how they are used.

NAME.gguf          a control vector as repeng, EasySteer and llama.cpp have it: a tensor `direction.LAYER` a layer
NAME.safetensors   tensors by name
NAME.pt, NAME.pth  torch.save of a tensor, or of a dict of tensors; read as data, code in it is refused
NAME.npy           a NumPy array

A tensor [d_model] is one vector; its layer is asked for. A tensor [layer, d_model] has a row for every layer, in order.
Tensors by name are one a layer where the names have numbers (`12`, `layer_12`, `model.layers.12`,
`blocks.12.hook_resid_post`), and else vectors of which one is taken by its name.

In all of them layer L is the output of decoder block L, counted from 0 (transformers' `hidden_states` has it at L + 1):
repeng's `read_representations` takes `hidden_states[layer + 1]` and its `ControlModule` adds to `layers[layer]`'s
output; llama.cpp leaves block 0 out and adds `direction.L` after block L; nnterp's `steer(layers, vector)` adds to
`layers_output[L]`, and its `get_token_activations` has a row for each block's output.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float

from elicit.errors import ElicitError, one_line, require_extra, unknown_name_error
from elicit.tensors import read_tensors

#: Layer -> its vector; None: the file does not say for which layer its one vector is.
LayerVectors = dict[int | None, Float[torch.Tensor, " d_model"]]

SUFFIXES = (".safetensors", ".gguf", ".pt", ".pth", ".npy")
_DIRECTION = re.compile(r"direction\.([0-9]{1,4})")
_LAYER_NAME = re.compile(
    r"(?:[a-z]+[._])*(?:layers?|blocks?|h|direction|resid_post|l)?[._ -]?([0-9]{1,4})"
    r"(?:[._](?:hook_)?(?:resid_post|output))?",
    re.IGNORECASE,
)
_OTHER_SITE = re.compile(r"attn|attention|mlp|resid_pre|resid_mid|hidden_state|head|embed|hook_z", re.IGNORECASE)


def read_layer_vectors(path: Path, *, n_layers: int | None = None, name: str | None = None) -> LayerVectors:
    """Read the vectors of a file, in float32.

    Args:
        n_layers: layers of the model they are for, which a tensor [layer, d_model] has to have.
        name: the tensor that is meant, in a file with several.

    Raises:
        ElicitError: a file of another kind, or one whose vectors could be meant in more than one way.
    """
    if path.suffix == ".gguf":
        tensors: Any = _read_control_vectors(path)
    elif path.suffix == ".safetensors":
        tensors = read_tensors(path)
    elif path.suffix == ".npy":
        tensors = _read_array(path)
    elif path.suffix in (".pt", ".pth"):
        tensors = read_torch_data(path)
    else:
        raise ElicitError(
            f"{path}: expected a file of vectors that ends in one of {', '.join(SUFFIXES)} or .csv, .json."
        )
    if isinstance(tensors, Mapping):
        tensors = _select_named_tensors(tensors, path, name)
    elif name is not None:
        raise ElicitError(f"{path} holds a single tensor without a name; leave name out.")
    vectors = tensors if isinstance(tensors, dict) else _split_rows(tensors, path, n_layers)
    return {layer: _check_vector(vector, path) for layer, vector in vectors.items()}


def read_torch_data(path: Path) -> Any:
    """What torch.save wrote, as data. Raises ElicitError for a damaged file, or one that would run code."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ElicitError(
            f"{path} cannot be read as data: it holds more than tensors, numbers and names, which could run code. "
            "Save the tensor alone: torch.save(vector, path)."
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ElicitError(f"{path} cannot be read: {one_line(error, 160)}") from None


def _read_array(path: Path) -> torch.Tensor:
    import numpy as np

    try:
        return torch.from_numpy(np.load(path, allow_pickle=False).astype("float32"))
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise ElicitError(f"{path} cannot be read as an array of numbers: {one_line(error, 160)}") from None


def _read_control_vectors(path: Path) -> dict[int, torch.Tensor]:
    gguf: Any = require_extra("gguf", "gguf", f"reading {path}")
    try:
        tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    except Exception as error:
        raise ElicitError(f"{path} cannot be read: {one_line(error, 120)}.") from None
    by_layer = {int(match[1]): tensors[name] for name in tensors if (match := _DIRECTION.fullmatch(name))}
    if not by_layer:
        raise ElicitError(
            f"{path} holds no tensor direction.LAYER: it is not a control vector. (A model in GGUF is loaded with "
            "elicit.load.)"
        )
    return {layer: torch.from_numpy(tensor.data.astype("float32").copy()) for layer, tensor in sorted(by_layer.items())}


def _select_named_tensors(tensors: Mapping[Any, Any], path: Path, name: str | None) -> Any:
    """The tensors by layer, or the one that is meant."""
    for key, value in tensors.items():
        if not isinstance(value, torch.Tensor):
            raise ElicitError(
                f"{path}: {one_line(key, 60)} is {type(value).__name__}; expected tensors. Save the vector alone: "
                "torch.save(vector, path)."
            )
    if name is not None:
        named = {str(key): value for key, value in tensors.items()}
        if name not in named:
            raise unknown_name_error("tensor", name, named, where=str(path))
        return named[name]
    if len(tensors) == 1 and _find_layer(next(iter(tensors))) is None:
        return next(iter(tensors.values()))
    layers = [_find_layer(key) for key in tensors]
    if None in layers or len(set(layers)) < len(layers):
        names = one_line(", ".join(map(str, tensors)), 160)
        raise ElicitError(
            f"{path} holds several tensors, {names}: which is meant is not clear. Name one: name: {next(iter(tensors))}"
        )
    return dict(sorted(zip(layers, tensors.values(), strict=True)))


def _find_layer(key: Any) -> int | None:
    """The layer that a name stands for; None where it is not a residual after a block."""
    if isinstance(key, int):
        return key if key >= 0 else None
    match = None if _OTHER_SITE.search(str(key)) else _LAYER_NAME.fullmatch(str(key))
    return None if match is None else int(match[1])


def _split_rows(tensor: torch.Tensor, path: Path, n_layers: int | None) -> LayerVectors:
    shape = list(tensor.shape)
    while tensor.ndim > 1 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim == 1:
        return {None: tensor}
    if tensor.ndim != 2:
        raise ElicitError(f"{path}: a tensor of shape {shape}; expected [d_model] or [layer, d_model].")
    rows = len(tensor)
    if n_layers is not None and rows == n_layers + 1:
        raise ElicitError(
            f"{path}: {rows} rows for a model of {n_layers} layers. If they are transformers' hidden_states, the first "
            "is the embedding: save vectors[1:], whose row L is the output of block L."
        )
    if n_layers is not None and rows != n_layers:
        raise ElicitError(
            f"{path}: {rows} rows for a model of {n_layers} layers; expected one a layer, or a single vector [d_model]."
        )
    return dict(enumerate(tensor))


def _check_vector(vector: torch.Tensor, path: Path) -> torch.Tensor:
    while vector.ndim > 1 and vector.shape[0] == 1:
        vector = vector[0]
    if vector.ndim != 1 or not vector.is_floating_point():
        raise ElicitError(
            f"{path}: a tensor of shape {list(vector.shape)} and {vector.dtype}; expected floats [d_model]."
        )
    vector = vector.detach().float().cpu()
    if not bool(torch.isfinite(vector).all()):
        raise ElicitError(f"{path}: a vector holds NaN or infinity.")
    return vector
