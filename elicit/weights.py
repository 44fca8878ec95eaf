"""Trained weights: full parameters or an adapter, applied to the shared base while a context is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from elicit import adapters
from elicit.adapters import Adapter, hash_tensors
from elicit.errors import ElicitError
from elicit.loading import rows
from elicit.tensors import read_tensors

__all__ = ["Adapter", "FullWeights", "Weights", "load_weights"]


class Weights(Protocol):
    """Interface of a change of weights that can be applied to the base and undone."""

    @property
    def sha256(self) -> str: ...
    @property
    def parameters(self) -> int:
        """Number of trained values."""
        ...

    def apply(self, hf: Any) -> Any:
        """A context manager in which `hf` runs with these weights."""
        ...

    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True, eq=False)
class FullWeights:
    """New values of named parameters; all others are the base's."""

    tensors: Mapping[str, torch.Tensor]

    @property
    def sha256(self) -> str:
        return hash_tensors(self.tensors, "full")

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.tensors.values())

    @contextmanager
    def apply(self, hf: Any) -> Iterator[None]:
        """Swap the values inside the base's own Parameter objects, so that clones sharing them follow."""
        base_parameters = dict(hf.named_parameters())
        missing = sorted(set(self.tensors) - set(base_parameters))
        if missing:
            raise ElicitError(f"these weights belong to another model: this one lacks the parameter {missing[0]!r}.")
        tensors = {
            name: rows.trim_tensor(tensor, base_parameters[name].shape, hf) for name, tensor in self.tensors.items()
        }
        for name, tensor in tensors.items():
            if tensor.shape != base_parameters[name].shape:
                raise ElicitError(
                    f"these weights belong to another model: {name} has shape {list(tensor.shape)} here and "
                    f"{list(base_parameters[name].shape)} there."
                )
        before = {name: base_parameters[name].data for name in self.tensors}
        try:
            for name, tensor in tensors.items():
                base_parameters[name].data = tensor.to(before[name].device, before[name].dtype)
            yield
        finally:
            for name, data in before.items():
                base_parameters[name].data = data

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        save_file(
            {name: tensor.contiguous().cpu() for name, tensor in self.tensors.items()}, folder / "weights.safetensors"
        )


def load_weights(folder: Path) -> Weights | None:
    """Load the weights from a policy folder; None if the policy uses the base's own. Raises ElicitError."""
    if (folder / "adapter_config.json").exists():
        return adapters.read_adapter(folder)
    if (folder / "weights.safetensors").exists():
        return FullWeights(read_tensors(folder / "weights.safetensors"))
    return None
