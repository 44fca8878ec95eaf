"""A small SAE without training: random directions, a threshold, the k strongest latents of a token."""

from __future__ import annotations

from typing import Any

import torch

from saes.manifest import Manifest
from saes.sae import SAE


class TopK:
    """f = the k largest of relu((h - b) W^T), the others 0; decode is its transpose plus b."""

    def __init__(self, rows: torch.Tensor, b: torch.Tensor, k: int) -> None:
        self.rows, self.b, self.k = rows, b, k

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        f = torch.relu((x - self.b) @ self.rows.T)
        kept = f.topk(self.k, dim=-1)
        return torch.zeros_like(f).scatter(-1, kept.indices, kept.values)

    def decode(self, feature_acts: torch.Tensor) -> torch.Tensor:
        return feature_acts @ self.rows + self.b

    def to(self, *args: Any, **kwargs: Any) -> TopK:
        return self


def tiny_sae(d_model: int = 32, *, d_sae: int = 24, k: int = 4, layer: int = 1, seed: int = 0) -> SAE:
    """An SAE of these shapes; its rows have lengths from 0.5 to 2, and the last one never fires."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(d_sae, d_model, generator=generator)
    rows = rows / rows.norm(dim=-1, keepdim=True) * torch.linspace(0.5, 2, d_sae)[:, None]
    encoder = rows.clone()
    encoder[-1] = 0
    coder = TopK(encoder, torch.zeros(d_model), k)
    manifest = Manifest(
        model="tiny", layer=layer, hook=f"blocks.{layer}.hook_resid_post", architecture="topk", k=k, norm=3.0
    )
    return SAE(coder, rows, manifest, "tiny/L1", "0" * 64)
