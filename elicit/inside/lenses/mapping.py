"""A lens: a map from the residual after a layer to the residual after the last, read with the model's own output.

    lens(h) = logits(norm(transport(h, layer)))

with the model's final norm, unembedding, scale and cap. The logit lens transports nothing; the tuned lens has an affine
map a layer, the Jacobian lens the average Jacobian. After the last layer each is the model itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float

from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.model import BaseModel
from elicit.sampling.score import project_to_logits

#: Logits that are computed at a time, in float32.
_PIECE = 1 << 23


@dataclass(frozen=True, eq=False)
class LensMap(ABC):
    """A lens of one model. Layer L is read after block L (`resid_post`), as in TransformerLens."""

    model: BaseModel

    kind: ClassVar[str]

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that can be read; the last layer is always among them."""
        return tuple(range(self.model.n_layers))

    @abstractmethod
    def transport(self, hidden: Float[torch.Tensor, "pos d_model"], layer: int) -> Float[torch.Tensor, "pos d_model"]:
        """Residuals after `layer` as residuals after the last layer. In float32."""

    def compute_logits(
        self, hidden: Float[torch.Tensor, "pos d_model"], layer: int
    ) -> Float[torch.Tensor, "pos vocab"]:
        """The lens's logits for residuals after `layer`: float32, tokens that are never sampled at -1e9.

        Raises:
            ElicitError: the lens has no map for this layer.
        """
        last = layer == self.model.n_layers - 1
        if not last and layer not in self.layers:
            raise ElicitError(f"this {self.kind} lens has no map for layer {layer}. Its layers: {list(self.layers)}")
        moved = hidden if last else self.transport(hidden, layer)
        norm = architectures.get_final_norm(self.model.hf)
        moved = moved.to(device=self.model.device, dtype=self.model.dtype)
        return project_to_logits(self.model.engine, norm(moved))

    def choose_layers(self, layers: Sequence[int] | None) -> tuple[int, ...]:
        """Layers to read, in order: None for all of the lens.

        Raises:
            ElicitError: the lens has no map for one of them.
        """
        chosen = self.layers if layers is None else tuple(sorted(set(layers)))
        unknown = [layer for layer in chosen if layer not in self.layers]
        if unknown or not chosen:
            raise ElicitError(f"this {self.kind} lens has no map for layers {unknown}. Its layers: {list(self.layers)}")
        return chosen

    @property
    def positions_at_once(self) -> int:
        """Most positions whose logits are computed together."""
        return max(1, _PIECE // int(self.model.hf.config.get_text_config(decoder=True).vocab_size))
