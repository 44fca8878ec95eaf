"""SAEs of models whose weights TransformerLens had centred (`center_writing_weights`; the gpt2-small-res-jb family).

Centring takes from every weight that writes to the residual stream its mean over d_model, which a LayerNorm model does
not feel. The residual is then the model's own less its mean over d_model, exactly: so the mean is taken off before
encoding, and the model keeps its own weights. It stays in `error`, where it belongs: the SAE never saw it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float

from saes.sae import Coder


@dataclass(frozen=True)
class CentredCoder:
    """A coder that reads residuals less their mean over d_model."""

    inner: Coder

    def encode(self, x: Float[torch.Tensor, "*batch d_model"]) -> Float[torch.Tensor, "*batch d_sae"]:
        return self.inner.encode(x - x.mean(dim=-1, keepdim=True))

    def decode(self, feature_acts: Float[torch.Tensor, "*batch d_sae"]) -> Float[torch.Tensor, "*batch d_model"]:
        return self.inner.decode(feature_acts)

    def to(self, *args: Any, **kwargs: Any) -> CentredCoder:
        return CentredCoder(self.inner.to(*args, **kwargs))


def needs_centring(processing: Any) -> bool:
    """True if `model_from_pretrained_kwargs` of an SAE's metadata ask for centring. The others leave the residual
    alone."""
    return isinstance(processing, dict) and processing.get("center_writing_weights") is True
