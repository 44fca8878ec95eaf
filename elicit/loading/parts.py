"""The attention and the MLP of a decoder layer, found by structure and proven by arithmetic.

What a layer adds to the residual stream is the output of two of its modules,

    resid_post = resid_pre + attn_out + mlp_out

The modules differ between families: the attention itself, or the norm behind it (Gemma 2 and 3, OLMo 2); for OPT a
linear layer. Candidates are tried on a few tokens, and the first pair for which the equation holds is taken. Where it
holds for none (Granite scales what it adds; a layer of a state-space model has no attention), the layer's sites are
refused: a guess would steer or patch the wrong thing without a word.
"""

from __future__ import annotations

import itertools
import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from elicit.errors import ElicitError
from elicit.loading import architectures

_Tensors = dict[nn.Module, torch.Tensor]
_ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)
_NORM = re.compile(r"norm|ln_?\d|layer_?norm", re.IGNORECASE)
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}


@dataclass(frozen=True)
class LayerParts:
    """Paths of a layer's modules, from the layer."""

    attention: str
    """The attention module: takes the normalised residual, returns its output and, in eager mode, its pattern."""
    attention_output: str
    """Module whose output is added to the residual: the attention itself, or the norm behind it."""
    projection: str
    """The attention's output projection, whose input are the heads' outputs side by side (`z`)."""
    mlp: str
    """The MLP: takes the normalised residual."""
    mlp_output: str
    """Module whose output is added to the residual."""
    parallel: bool
    """True if the MLP reads the residual before the attention's output is added (GPT-NeoX, Phi)."""


_PARTS: weakref.WeakKeyDictionary[Any, tuple[LayerParts | None, ...]] = weakref.WeakKeyDictionary()


def find_layer_parts(hf: Any, layer: int) -> LayerParts:
    """Parts of one decoder layer, found and tested once for every model object.

    Raises:
        ElicitError: the layer does not exist, or what it adds to the residual is not the sum of two module outputs.
    """
    architectures.check_layer(hf, layer)
    model = architectures.unwrap_model(hf)
    if model not in _PARTS:
        _PARTS[model] = _find_all_parts(model)
    parts = _PARTS[model][layer]
    if parts is None:
        raise ElicitError(
            f"layer {layer} of this {model.config.model_type} model: what it adds to the residual is not the sum of "
            "an attention's and an MLP's output, so these sites are not known. Take resid_pre or resid_post."
        )
    return parts


def first_tensor(output: Any) -> torch.Tensor:
    """The tensor that a module returned, alone or first in a tuple."""
    tensor = output[0] if isinstance(output, tuple) else output
    assert isinstance(tensor, torch.Tensor)
    return tensor


def _find_all_parts(model: Any) -> tuple[LayerParts | None, ...]:
    """Run a few tokens, keep what every candidate module got and gave, and choose each layer's parts."""
    layers = list(architectures.get_decoder_layers(model))
    inputs: _Tensors = {}
    outputs: _Tensors = {}

    def keep(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        given = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None))
        result = output[0] if isinstance(output, tuple) and output else output
        if isinstance(given, torch.Tensor) and isinstance(result, torch.Tensor):
            inputs[module], outputs[module] = given.detach(), result.detach()

    watched = [module for layer in layers for module in layer.modules()]
    handles = [module.register_forward_hook(keep, with_kwargs=True, prepend=True) for module in watched]
    rows = model.get_input_embeddings().weight.shape[0]
    ids = torch.tensor([[(37 * i + 11) % rows for i in range(6)]], device=model.device)
    training = model.training
    try:
        with torch.no_grad():
            architectures.get_decoder(model.eval())(input_ids=ids, use_cache=False)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return tuple(_choose_parts(layer, inputs, outputs) for layer in layers)


def _choose_parts(layer: nn.Module, inputs: _Tensors, outputs: _Tensors) -> LayerParts | None:
    if layer not in outputs:
        return None
    before, after = inputs[layer], outputs[layer]
    shape = before.shape
    children = [(name, part) for name, part in layer.named_children() if part in outputs]
    attentions = [(n, m) for n, m in children if _ATTENTION.search(type(m).__name__) and not _NORM.search(n)]
    # A module behind another comes after it in its family's forward, as a norm; the plain outputs are tried first.
    whole = [(n, m) for n, m in children if outputs[m].shape == shape]
    others = [pair for pair in whole if pair not in attentions]
    norms_last = sorted(others, key=lambda pair: bool(_NORM.search(pair[0])))
    norms = [pair for pair in others if _NORM.search(pair[0])]
    for name, attention in attentions:
        sources = [(name, attention), *norms]
        for (out_name, out), (mlp_name, mlp) in itertools.product(sources, norms_last):
            if out is mlp or not _are_close(before + outputs[out] + outputs[mlp], after):
                continue
            projection = _find_projection(attention, inputs, outputs)
            body = _find_source(mlp, others, inputs, outputs) or mlp_name
            if projection is None:
                return None
            parallel = _reads_residual(layer.get_submodule(body), before, inputs, outputs, others)
            return LayerParts(name, out_name, f"{name}.{projection}", body, mlp_name, parallel)
    return None


def _find_projection(attention: nn.Module, inputs: _Tensors, outputs: _Tensors) -> str | None:
    """Path of the last linear module in the attention, whose output is the attention's."""
    whole = outputs[attention]
    for name, part in reversed(list(attention.named_modules())):
        is_projection = part is not attention and getattr(part, "weight", None) is not None and part in outputs
        if is_projection and outputs[part].shape == whole.shape and _are_close(outputs[part], whole):
            return str(name)
    return None


def _find_source(
    part: nn.Module, others: Sequence[tuple[str, nn.Module]], inputs: _Tensors, outputs: _Tensors
) -> str | None:
    """Name of the module whose output `part` takes: the MLP in front of a norm; None for a part that stands alone."""
    for name, other in others:
        if (
            other is not part
            and inputs[part].shape == outputs[other].shape
            and torch.equal(inputs[part], outputs[other])
        ):
            return None if _NORM.search(name) else name
    return None


def _reads_residual(
    mlp: nn.Module, before: torch.Tensor, inputs: _Tensors, outputs: _Tensors, others: Sequence[tuple[str, nn.Module]]
) -> bool:
    """True if the MLP's input is the layer's own input, with or without a norm."""
    given = inputs[mlp]
    if torch.equal(given, before):
        return True
    return any(torch.equal(inputs[other], before) and torch.equal(outputs[other], given) for _, other in others)


def _are_close(left: Float[torch.Tensor, "*shape"], right: Float[torch.Tensor, "*shape"]) -> bool:
    if left.shape != right.shape:
        return False
    tolerance = _TOLERANCE.get(right.dtype, 2e-2)
    return bool((left.float() - right.float()).norm() <= tolerance * right.float().norm().clamp(min=1e-30))
