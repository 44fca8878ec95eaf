"""Sparsify's folders (EleutherAI's `sparsify`, 1.3): cfg.json and sae.safetensors, one folder per hookpoint.

    pre = relu((x - b_dec) @ encoder.weight.T + encoder.bias)
    f   = the k largest of pre (topk), or the largest of each of k equal groups of latents (groupmax)
    out = f @ W_dec + b_dec

`b_dec` is always taken off first, as `SparseCoder.encode` does; SAELens's own converter does so only where the decoder
was not normalised. The folder's name is the hookpoint (`layers.10`), and config.json beside it names the model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from elicit.errors import ElicitError, one_line
from saes.loading.saelens import check_header, read_object
from saes.loading.validation import LoadedWeights
from saes.manifest import describe_error, parse_hook_layer

WEIGHTS = "sae.safetensors"


class SparsifyConfig(BaseModel):
    """The fields of cfg.json that decide what a sparse coder computes. Defaults are Sparsify's."""

    model_config = ConfigDict(strict=True, extra="forbid")

    d_in: int = Field(gt=0)
    activation: Literal["topk", "groupmax"] = "topk"
    expansion_factor: int = Field(default=32, gt=0)
    num_latents: int = Field(default=0, ge=0)
    k: int = Field(default=32, gt=0)
    signed: bool = False
    skip_connection: bool = False
    transcode: bool = False
    normalize_decoder: bool = True
    """For training only, like the next."""
    multi_topk: bool = False

    @property
    def d_sae(self) -> int:
        return self.num_latents or self.d_in * self.expansion_factor


@dataclass(frozen=True)
class SparseCoder:
    """Encodes to all latents at once, where Sparsify keeps the k active ones and their indices."""

    W_enc: Float[torch.Tensor, "d_sae d_model"]
    b_enc: Float[torch.Tensor, " d_sae"]
    W_dec: Float[torch.Tensor, "d_sae d_model"]
    b_dec: Float[torch.Tensor, " d_model"]
    k: int
    activation: Literal["topk", "groupmax"]

    def encode(self, x: Float[torch.Tensor, "*batch d_model"]) -> Float[torch.Tensor, "*batch d_sae"]:
        pre = torch.relu((x - self.b_dec) @ self.W_enc.T + self.b_enc)
        if self.activation == "topk":
            values, indices = pre.topk(self.k, dim=-1, sorted=False)
        else:
            values, indices = rearrange(pre, "... (group width) -> ... group width", group=self.k).max(dim=-1)
            indices = indices + torch.arange(0, pre.shape[-1], pre.shape[-1] // self.k, device=pre.device)
        return torch.zeros_like(pre).scatter(-1, indices, values)

    def decode(self, feature_acts: Float[torch.Tensor, "*batch d_sae"]) -> Float[torch.Tensor, "*batch d_model"]:
        return feature_acts @ self.W_dec + self.b_dec

    def to(self, *args: Any, **kwargs: Any) -> SparseCoder:
        return replace(
            self,
            W_enc=self.W_enc.to(*args, **kwargs),
            b_enc=self.b_enc.to(*args, **kwargs),
            W_dec=self.W_dec.to(*args, **kwargs),
            b_dec=self.b_dec.to(*args, **kwargs),
        )


def read_sparsify_folder(folder: Path, device: str) -> LoadedWeights:
    """A sparse coder in float32, and what its files say of it.

    Raises:
        ElicitError: damaged files, or a transcoder, a skip connection or another module than a decoder layer.
    """
    config = _read_sparsify_config(folder / "cfg.json")
    shape = [config.d_sae, config.d_in]
    check_header(
        folder / WEIGHTS,
        {"encoder.weight": shape, "encoder.bias": shape[:1], "W_dec": shape, "b_dec": shape[1:]},
        because=f"cfg.json says d_in {one_line(config.d_in, 40)}, {one_line(config.d_sae, 40)} latents",
    )
    from safetensors.torch import load_file

    tensors = {name: part.float() for name, part in load_file(folder / WEIGHTS, device=device).items()}
    if "W_skip" in tensors:
        raise _make_unfit_error(folder, "has a skip connection (W_skip)")
    if more := sorted(set(tensors) - {"encoder.weight", "encoder.bias", "W_dec", "b_dec"}):
        raise _make_unfit_error(folder, f"has a tensor of unknown meaning ({one_line(more[0], 60)})")
    coder = SparseCoder(
        W_enc=tensors["encoder.weight"],
        b_enc=tensors["encoder.bias"],
        W_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        k=config.k,
        activation=config.activation,
    )
    hook = _find_hook(folder)
    return LoadedWeights(
        coder, coder.W_dec, True, _find_model_name(folder), hook, tensors, (config.activation,), k=float(config.k)
    )


def _read_sparsify_config(path: Path) -> SparsifyConfig:
    try:
        config = SparsifyConfig.model_validate(read_object(path))
    except ValueError as error:
        raise ElicitError(f"{path}: {describe_error(error)}.") from None
    if config.transcode:
        raise _make_unfit_error(path, "is a transcoder (transcode: true)")
    if config.skip_connection:
        raise _make_unfit_error(path, "has a skip connection (skip_connection: true)")
    if config.signed:
        raise _make_unfit_error(path, "is of an old kind that keeps negative activations (signed: true)")
    if config.k > config.d_sae or (config.activation == "groupmax" and config.d_sae % config.k):
        raise ElicitError(f"{path}: k is {config.k} of {one_line(config.d_sae, 40)} latents ({config.activation}).")
    return config


def _make_unfit_error(path: Path, what: str) -> ElicitError:
    return ElicitError(f"{path}: this sparse coder {what}. The lab takes SAEs: what they read is what they write.")


def _find_hook(folder: Path) -> str | None:
    """The hook in the folder's name (its parent's for `layers.10/seed1`); None if it is not like a hookpoint's."""
    folder = folder.resolve()
    name = folder.parent.name if re.fullmatch(r"seed\d+", folder.name) else folder.name
    if re.search(r"\.\d+|embed|^wte$", name) is None:
        return None
    return f"blocks.{parse_hook_layer(name, where=str(folder))}.hook_resid_post"


def _find_model_name(folder: Path) -> str:
    """The model's name in config.json of the run, one or two folders up."""
    for parent in list(folder.resolve().parents)[:2]:
        if (parent / "config.json").is_file():
            try:
                model_name = read_object(parent / "config.json").get("model")
            except ElicitError:  # somebody else's file
                continue
            if isinstance(model_name, str):
                return model_name
    return "unknown"
