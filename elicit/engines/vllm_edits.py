"""Edits as files for a vLLM server: safetensors with the edit's JSON in their metadata; the name is the file's hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

import torch

from elicit.errors import ElicitError
from elicit.steering import AnyEdit, FunctionEdit, GatedEdit, Positions, parse
from saes import SAE

#: Architectures of SAEs whose encoders the server computes.
READABLE = ("standard", "jumprelu", "topk")


class EditFile(NamedTuple):
    """An edit as the server takes it."""

    name: str
    content: bytes
    layer: int
    positions: Positions
    gates: bool


def write_edit(edit: AnyEdit) -> EditFile:
    """Serialise an edit.

    Raises:
        ElicitError: it reads an SAE whose encoder the server cannot compute, is a Python function, or its positions are
            not a window.
    """
    from safetensors.torch import save

    if isinstance(edit, FunctionEdit):
        raise ElicitError(f"{edit.label} is a Python function, which runs in this process alone")
    where = parse(edit.positions)
    if not isinstance(where, Positions):
        raise ElicitError(
            f"positions {edit.positions} are located in this process alone; elsewhere run: all, prompt, generated, "
            "first, first:k, decay:k."
        )
    entry: dict[str, Any] = {
        "layer": edit.layer,
        "strength": edit.strength,
        "positions": edit.positions,
        "unit": edit.unit,
    }
    if isinstance(edit, GatedEdit):
        entry["kind"] = "gated"
        tensors = edit.to_tensors()
    else:
        entry["mode"] = edit.mode
        tensors = {"direction": edit.direction}
        if edit.feature is not None and edit.reads:
            entry["encoder"], more = _describe_encoder(edit.feature.sae, edit.feature.index, edit.feature.norm)
            tensors |= more
    tensors = {name: tensor.detach().cpu().float().contiguous() for name, tensor in tensors.items()}
    content = save(tensors, metadata={"edit": json.dumps(entry, sort_keys=True)})
    name = hashlib.sha256(content).hexdigest()
    return EditFile(name, content, edit.layer, where, isinstance(edit, GatedEdit))


def _describe_encoder(sae: SAE, index: int, norm: float) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(its kind and options, its tensors) of an SAE's encoder, for one feature's activation."""
    coder: Any = sae.coder
    config: Any = getattr(coder, "cfg", None)
    kind = None if config is None else config.architecture()
    if (
        config is None
        or kind not in READABLE
        or config.normalize_activations != "none"
        or config.reshape_activations != "none"
    ):
        raise ElicitError(
            f"SAE {sae.name!r} ({sae.manifest.architecture}) is of a kind whose encoder runs in this process alone; "
            f"elsewhere run: {', '.join(READABLE)}."
        )
    bias = coder.b_dec if config.apply_b_dec_to_input else torch.zeros_like(coder.b_dec)
    tensors = {"w_enc": coder.W_enc, "b_enc": coder.b_enc, "b_dec": bias}
    described: dict[str, Any] = {"kind": kind, "index": index, "norm": norm}
    if kind == "topk":
        described["k"] = int(config.k)
        if config.rescale_acts_by_decoder_norm:  # latents then compete by activation times decoder norm
            described["rescaled"] = True
            tensors["norms"] = coder.W_dec.norm(dim=-1)
    if kind == "jumprelu":
        tensors["threshold"] = coder.threshold
    return described, tensors
