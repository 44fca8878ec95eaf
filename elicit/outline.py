"""`Outline`: a base model without weights. Code that needs weights raises `WeightsNeeded`, all other code runs.

A method's `fit` collects and checks its problems before it runs the model. On an outline it runs up to its first
forward pass, so a plan refuses invalid options with the method's own code.
"""

from __future__ import annotations

from typing import Any

import torch

from elicit.loading.load import LoadedModel
from elicit.loading.outline import load_without_weights
from elicit.model import BaseModel


class WeightsNeeded(Exception):
    """An outline cannot be run, copied or trained."""


class HashNeeded(WeightsNeeded):
    """The hash of an outline's weights is needed, against which an SAE is checked."""

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
        """The CPU, on which its SAEs are loaded."""
        return torch.device("cpu")

    @property
    def weights_sha256(self) -> str:
        """The hash of the weights, after `set_weights_hash`.

        Raises:
            HashNeeded: before that.
        """
        if not self._weights_sha256:
            raise HashNeeded(self)
        return self._weights_sha256

    def set_weights_hash(self, weights_sha256: str) -> None:
        """Set the hash of the weights that the outline represents."""
        self._weights_sha256 = weights_sha256

    def require_weights(self) -> None:
        """Raise WeightsNeeded."""
        raise WeightsNeeded(self.name)

    def another(self, name: str) -> BaseModel:
        """The outline of another model.

        Raises:
            ElicitError: as for `elicit.load`, except for faults of the weights.
            WeightsNeeded: the model's files are not here.
        """
        other = find_outline(name, dtype=str(self.dtype).removeprefix("torch."))
        if other is None:
            raise WeightsNeeded(name)
        return other


def find_outline(name: str, *, dtype: str = "auto") -> Outline | None:
    """Load the outline of a model, named as for `elicit.load`; None if its config and tokenizer are not here.

    Raises:
        ElicitError: the model does not exist, or its files cannot be read.
    """
    loaded = load_without_weights(name, dtype=dtype)
    return None if loaded is None else Outline(loaded)


def _refuse_forward(module: Any, *_: Any) -> None:
    raise WeightsNeeded(type(module).__name__)
