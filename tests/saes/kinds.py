"""SAEs of every kind with random weights, written to disk by SAELens's own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sae_lens
import torch

#: name -> (training config, training SAE, fields). All of them are what `save_inference_model` makes of them on disk.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "topk": ("TopK", {"k": 8, "rescale_acts_by_decoder_norm": True}),
    "topk_plain": ("TopK", {"k": 8, "rescale_acts_by_decoder_norm": False}),
    "batchtopk": ("BatchTopK", {"k": 8.0, "rescale_acts_by_decoder_norm": True}),
    "jumprelu": ("JumpReLU", {}),
    "matryoshka": ("MatryoshkaBatchTopK", {"k": 8.0, "matryoshka_widths": [16, 96]}),
    "gated": ("Gated", {}),
    "standard": ("Standard", {}),
    "abstopk": ("AbsTopK", {"k": 8, "rescale_acts_by_decoder_norm": True}),
}


def write(
    folder: Path,
    kind: str,
    *,
    d_in: int,
    d_sae: int = 96,
    layer: int = 1,
    scale: float = 1.0,
    seed: int = 0,
    **fields: Any,
) -> Path:
    """Save one kind, untrained, with decoder rows of lengths 0.3 to 2 and biases that matter.

    Args:
        scale: rough size of a residual's entries, so that some latents fire and others do not.
        fields: more of SAELens's configuration, over those of the kind.
    """
    name, own = KINDS[kind]
    config = getattr(sae_lens, f"{name}TrainingSAEConfig")(d_in=d_in, d_sae=d_sae, **{**own, **fields})
    config.metadata.hook_name = f"blocks.{layer}.hook_resid_post"
    config.metadata.model_name = "some-model"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sae = getattr(sae_lens, f"{name}TrainingSAE")(config)
        with torch.no_grad():
            rows = torch.nn.functional.normalize(torch.randn(d_sae, d_in), dim=-1)
            sae.W_dec.copy_(rows * torch.linspace(0.3, 2, d_sae)[torch.randperm(d_sae), None])
            sae.W_enc.copy_(rows.T)
            for part, tensor in sae.named_parameters():
                if part.startswith("b_") or part == "r_mag":
                    tensor.copy_(0.3 * scale ** (part != "r_mag") * torch.randn_like(tensor))
            if hasattr(sae, "topk_threshold"):
                sae.topk_threshold.fill_(0.7 * scale)
            if hasattr(sae, "log_threshold"):
                sae.log_threshold.copy_((0.7 * scale * torch.rand(d_sae)).log())
    sae.save_inference_model(folder)
    return folder
