"""What training changed: full parameters or an adapter, applied to the shared base while a context is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from elicit import adapters
from elicit.adapters import Adapter, hashed
from elicit.errors import ElicitError
from elicit.loading import rows
from elicit.tensors import read_tensors

__all__ = ["Adapter", "FullWeights", "Weights", "load"]


class Weights(Protocol):
    """A change of weights that can be applied to the base and taken back."""

    @property
    def sha256(self) -> str: ...
    @property
    def parameters(self) -> int:
        """Number of values that training could change."""
        ...

    def applied(self, hf: Any) -> Any:
        """A context manager in which `hf` runs with these weights."""
        ...

    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True, eq=False)
class FullWeights:
    """New values of named parameters; the others are the base's."""

    tensors: Mapping[str, torch.Tensor]

    @property
    def sha256(self) -> str:
        return hashed(self.tensors, "full")

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.tensors.values())

    @contextmanager
    def applied(self, hf: Any) -> Iterator[None]:
        """Swap the values inside the base's own Parameter objects, so that clones sharing them follow."""
        own = dict(hf.named_parameters())
        missing = sorted(set(self.tensors) - set(own))
        if missing:
            raise ElicitError(f"these weights belong to another model: it has no parameter {missing[0]!r}.")
        tensors = {name: rows.as_cut(tensor, own[name].shape, hf) for name, tensor in self.tensors.items()}
        for name, tensor in tensors.items():
            if tensor.shape != own[name].shape:
                raise ElicitError(
                    f"these weights belong to another model: {name} has shape {list(tensor.shape)} here and "
                    f"{list(own[name].shape)} there."
                )
        before = {name: own[name].data for name in self.tensors}
        try:
            for name, tensor in tensors.items():
                own[name].data = tensor.to(before[name].device, before[name].dtype)
            yield
        finally:
            for name, data in before.items():
                own[name].data = data

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        save_file(
            {name: tensor.contiguous().cpu() for name, tensor in self.tensors.items()}, folder / "weights.safetensors"
        )


def load(folder: Path) -> Weights | None:
    """The weights saved in a policy folder, or None if the policy uses the base's own. Raises ElicitError."""
    if (folder / "adapter_config.json").exists():
        return adapters.read(folder)
    if (folder / "weights.safetensors").exists():
        return FullWeights(read_tensors(folder / "weights.safetensors"))
    return None
