"""`Outline`: a base model without its weights. Whatever asks for them ends there, and whatever does not runs.

A method's `fit` gathers its problems and checks them before it runs the model. On an outline it comes as far as its
first forward pass: so a plan refuses what the fit would refuse, by the fit's own code.
"""

from __future__ import annotations

from typing import Any

import torch

from elicit.loading.load import LoadedModel
from elicit.loading.outline import load_without_weights
from elicit.model import BaseModel


class WeightsNeeded(Exception):
    """An outline was to be run, copied or trained."""


class HashNeeded(WeightsNeeded):
    """An outline was asked which weights it has: an SAE is checked against them."""

    def __init__(self, outline: Outline) -> None:
        super().__init__(outline.name)
        self.outline = outline


class Outline(BaseModel):
    """Layers, shapes, tokenizer, card and chat template of a model."""

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__(loaded, cache_bytes=1 << 30)
        for module in (self.hf, self.hf.base_model):
            module.register_forward_pre_hook(_refuse_forward)

    @property
    def device(self) -> torch.device:
        """The CPU: where what is put beside it (SAEs) is read."""
        return torch.device("cpu")

    @property
    def weights_sha256(self) -> str:
        """The hash, once `know` has told it.

        Raises:
            HashNeeded: before that.
        """
        if not self._weights_sha256:
            raise HashNeeded(self)
        return self._weights_sha256

    def set_weights_hash(self, weights_sha256: str) -> None:
        """Tell it the hash of the weights that it stands for."""
        self._weights_sha256 = weights_sha256

    def require_weights(self) -> None:
        """Raises WeightsNeeded."""
        raise WeightsNeeded(self.name)

    def another(self, name: str) -> BaseModel:
        """The outline of another model.

        Raises:
            ElicitError: as `elicit.load`, as far as the files besides the weights show it.
            WeightsNeeded: a model whose files are not here.
        """
        other = find_outline(name, dtype=str(self.dtype).removeprefix("torch."))
        if other is None:
            raise WeightsNeeded(name)
        return other


def find_outline(name: str, *, dtype: str = "auto") -> Outline | None:
    """A model by name, as `elicit.load` takes it; None where its config and tokenizer are not on this machine.

    Raises:
        ElicitError: no such model, or files that cannot be read.
    """
    loaded = load_without_weights(name, dtype=dtype)
    return None if loaded is None else Outline(loaded)


def _refuse_forward(module: Any, *_: Any) -> None:
    raise WeightsNeeded(type(module).__name__)
