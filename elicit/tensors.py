"""Read tensors from safetensors files: complete, floating point and finite, or an error names file and tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from elicit.errors import ElicitError, did_you_mean, one_line

if TYPE_CHECKING:
    import torch


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a safetensors file, on the CPU.

    Raises:
        ElicitError: the file is missing or damaged, or a tensor is not floating point or contains NaN or infinity.
    """
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise ElicitError(f"{path} is missing.")
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except Exception as error:  # SafetensorError, OSError, or KeyError for a type that torch lacks
        raise ElicitError(f"{path} cannot be read as safetensors: {one_line(error, 160)}.") from error
    usable = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    for name, tensor in tensors.items():
        if tensor.dtype not in usable:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ElicitError(f"{path}: tensor {one_line(name, 100)} is of type {kind}; expected floating point.")
        if not bool(torch.isfinite(tensor).all()):
            raise ElicitError(f"{path}: tensor {one_line(name, 100)} holds NaN or infinity.")
    return tensors


def require_tensor(tensors: Mapping[str, torch.Tensor], name: str, path: Path) -> torch.Tensor:
    """Return the tensor of that name among those read from `path`. Raises ElicitError if it is missing."""
    if name not in tensors:
        raise ElicitError(f"{path} lacks the tensor {name}.{did_you_mean(name, tensors)}")
    return tensors[name]
