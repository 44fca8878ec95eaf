"""An SAE of ours as a folder of Sparsify's, which lm-eval's `steered` loads from disk by hookpoint.

lm-eval takes SAELens's SAEs from the hub alone, Sparsify's from a folder too. A TopK SAE of SAELens says the same in
Sparsify's terms; other kinds (JumpReLU, gated, ...) do not, and are refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from elicit import runs, seeds
from elicit.errors import ElicitError
from saes.sae import SAE


def write_sparsify(sae: SAE, folder: Path, hookpoint: str) -> Path:
    """Write `sae` to `folder/hookpoint` in Sparsify's format. Returns `folder`.

    Raises:
        ElicitError: an SAE that does not say the same there, or a folder that cannot be written.
    """
    from safetensors.torch import save_file

    from saes.loading import load

    module: Any = sae.coder
    kind = module.cfg.architecture() if hasattr(module, "cfg") else type(module).__name__
    if kind != "topk" or not sae.linear or not module.cfg.apply_b_dec_to_input:
        raise ElicitError(
            f"lm-eval steering: SAE {sae.name!r} ({kind}) says something else in Sparsify's format, which has TopK "
            "SAEs that take b_dec off first. lm-eval loads no others from a folder; a .pt file needs no SAE."
        )
    lengths = module.W_dec.norm(dim=-1) if module.cfg.rescale_acts_by_decoder_norm else torch.ones(sae.d_sae)
    tensors = {
        "encoder.weight": (module.W_enc * lengths).T,
        "encoder.bias": module.b_enc * lengths,
        "W_dec": sae.directions,
        "b_dec": module.b_dec,
    }
    config = {
        "activation": "topk",
        "expansion_factor": max(1, sae.d_sae // sae.d_model),
        "normalize_decoder": bool(module.cfg.rescale_acts_by_decoder_norm),
        "num_latents": sae.d_sae,
        "k": int(module.cfg.k),
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": sae.d_model,
    }
    sae_folder = folder / hookpoint
    with runs.writing_to(sae_folder):
        sae_folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: part.detach().float().cpu().contiguous() for name, part in tensors.items()},
            sae_folder / "sae.safetensors",
        )
        runs.write_text(sae_folder / "cfg.json", json.dumps(config, indent=1) + "\n")
        runs.write_text(folder / "config.json", json.dumps({"model": sae.manifest.model}) + "\n")
    _check_same(sae, load(sae_folder, layer=sae.layer))
    return folder


def _check_same(sae: SAE, written: SAE) -> None:
    """Check that the written SAE activates as the original does."""
    draws = seeds.make_generator("sparsify probe", sae.d_model).standard_normal((16, sae.d_model))
    size = float(sae.manifest.norm or 1.0) / sae.d_model**0.5
    probe = torch.as_tensor(draws * size, dtype=torch.float32)
    left, right = sae.encode(probe).cpu(), written.encode(probe).cpu()
    if float((left - right).abs().max()) > 1e-3 * float(left.abs().max().clamp_min(1e-6)):
        raise ElicitError(f"lm-eval steering: SAE {sae.name!r} activates otherwise in Sparsify's format; not exported.")
