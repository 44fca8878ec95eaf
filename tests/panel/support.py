"""A small SAE made by hand, so that the panel's tests need no trained one."""

from __future__ import annotations

from typing import NamedTuple

import torch

from elicit import seeds
from elicit.model import BaseModel
from saes.manifest import Manifest
from saes.sae import SAE


class ReluCoder(NamedTuple):
    """f = relu(x E), x' = f D: the plainest coder there is."""

    encoder: torch.Tensor
    decoder: torch.Tensor

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.encoder).relu()

    def decode(self, f: torch.Tensor) -> torch.Tensor:
        return f @ self.decoder

    def to(self, *args: object, **kwargs: object) -> ReluCoder:
        return self


def small_sae(
    model: BaseModel, *, layer: int = 1, d_sae: int = 12, linear: bool = True, weights: str | None = None
) -> SAE:
    """Random directions at one layer of `model`; the same for the same arguments."""
    draw = seeds.make_generator("small sae", layer, d_sae)
    encoder = torch.from_numpy(draw.standard_normal((model.d_model, d_sae))).float()
    decoder = torch.from_numpy(draw.standard_normal((d_sae, model.d_model))).float()
    manifest = Manifest(
        model=model.name,
        weights_sha256=weights if weights is not None else model.weights_sha256,
        layer=layer,
        hook=f"blocks.{layer}.hook_resid_post",
        architecture="standard",
    )
    return SAE(ReluCoder(encoder, decoder), decoder, manifest, f"small/L{layer}", f"hash of small/L{layer}", linear)
