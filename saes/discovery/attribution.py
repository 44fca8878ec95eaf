"""A feature's effect on a logit difference at the last position of a prompt: by gradient, and directly.

With a, b two tokens, l the logits at a span's last position P - 1, h the residual of the SAE's layer there,
f = encode(h) and D the decoder rows, one pass over a sample of spans gives

    attribution_i = f_i * (D_i . d(l_a - l_b)/dh)           through all that follows (Marks et al., 2403.19647)
    dla_i         = f_i * (D_i . (g * (u_a - u_b))) / s     straight to the unembedding u (direct logit attribution)

where g is the final norm's gain and s its scale, frozen at the clean run (for LayerNorm D_i is centred first, as the
norm does). The attribution is linear in f_i: the effect of taking the feature away, if the model were linear between
here and there. Direct attribution leaves out biases and a soft cap on logits. Both columns are the mean under the
positive condition minus the mean under the negative one. What adding a feature *where it is not active* would do is a
third question, answered to first order by attribution patching (Nanda 2023; Syed et al., 2310.10348),

    patching_i = (mean_+ f_i - mean_- f_i) * mean_- (D_i . d(l_a - l_b)/dh),

whose gradient is taken under the negative condition: the one that steering starts from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import nn

from elicit.errors import ElicitError
from saes import activations
from saes.discovery.conditions import Span
from saes.sae import SAE

#: Token ids (a, b), or a function that gives them for a span.
LogitDifference = tuple[int, int] | Callable[[Span], tuple[int, int]]


class PromptTrace(NamedTuple):
    """One batch of prompts, at their last positions."""

    h: Float[torch.Tensor, "prompt d_model"]
    gradient: Float[torch.Tensor, "prompt d_model"]
    """Of l_a - l_b with respect to h."""
    direct: Float[torch.Tensor, "prompt d_model"]
    """What the final norm, its scale frozen, and the unembedding make of a unit of residual."""
    difference: Float[torch.Tensor, " prompt"]
    """l_a - l_b itself."""


class MeanAttribution(NamedTuple):
    """Means over the spans of one condition."""

    attribution: Float64[np.ndarray, " d_sae"]
    dla: Float64[np.ndarray, " d_sae"]
    slope: Float64[np.ndarray, " d_sae"]
    """D_i . d(l_a - l_b)/dh: the logit difference per unit of activation."""
    difference: float
    """l_a - l_b."""
    spans: int


def attribute_spans(
    model: Any, sae: SAE, spans: Sequence[Span], difference: LogitDifference, *, batch_tokens: int
) -> MeanAttribution:
    """Mean attribution and direct attribution over the last counted position of each span.

    Raises:
        ElicitError: a token that is not in the vocabulary; a model whose final norm cannot be told.
    """
    sums = torch.zeros(3, sae.d_sae, dtype=torch.float64)
    total = 0.0
    for traced in trace_prompts(model, sae.layer, spans, difference, batch_tokens=batch_tokens):
        with torch.no_grad():
            f = sae.encode(traced.h)
            slope, direct = (
                part.to(sae.device, torch.float32) @ sae.directions.T for part in (traced.gradient, traced.direct)
            )
            sums += torch.stack([f * slope, f * direct, slope]).sum(1).double().cpu()
        total += float(traced.difference.double().sum())
    attribution, dla, mean_slope = (sums / len(spans)).numpy()
    return MeanAttribution(attribution, dla, mean_slope, total / len(spans), len(spans))


def trace_prompts(
    model: Any, layer: int, spans: Sequence[Span], difference: LogitDifference, *, batch_tokens: int
) -> Iterator[PromptTrace]:
    """Run prompts through the whole model, and keep what the two attributions need. Gradients stop at `layer`."""
    hf = activations.unwrap_bridge(model)
    block, norm = activations.find_decoder_layers(model)[layer], find_norm_before_unembedding(model)
    prompts = [span.ids[: span.stop] for span in spans]
    pairs = torch.tensor(
        [resolve_token_pair(difference, span, hf.get_output_embeddings().weight.shape[0]) for span in spans]
    )
    for numbers, ids, real in activations.batch_sequences(prompts, batch_tokens=batch_tokens, model=hf):
        last = (real.sum(1) - 1).to(hf.device)
        yield _trace_batch(hf, block, norm, ids.to(hf.device), last, pairs[numbers].to(hf.device))


def _trace_batch(
    hf: Any, block: nn.Module, norm: nn.Module, ids: torch.Tensor, last: torch.Tensor, pairs: torch.Tensor
) -> PromptTrace:
    captured: dict[str, torch.Tensor] = {}
    rows = torch.arange(len(ids), device=ids.device)

    def start_graph(module: nn.Module, args: Any, output: Any) -> Any:
        """The layers below need no gradient: the graph starts here."""
        h = output[0] if isinstance(output, tuple) else output
        captured["h"] = h.detach().requires_grad_()
        return (captured["h"], *output[1:]) if isinstance(output, tuple) else captured["h"]

    def capture_final(module: nn.Module, args: Any) -> None:
        captured["final"] = args[0].detach()[rows, last]

    # `leaf` goes last among the block's hooks, behind edits that are in force.
    handles = [block.register_forward_hook(start_graph), norm.register_forward_pre_hook(capture_final)]
    try:
        with torch.enable_grad():
            # Right padding is invisible to a causal model: no mask is needed. Logits at other positions are not made:
            # over a whole batch they would be the largest tensor by far.
            positions, inverse = torch.unique(last, return_inverse=True)
            logits = hf(input_ids=ids, use_cache=False, logits_to_keep=positions).logits[rows, inverse].float()
            difference = (logits.gather(1, pairs[:, :1]) - logits.gather(1, pairs[:, 1:]))[:, 0]
            (gradient,) = torch.autograd.grad(difference.sum(), captured["h"])
    finally:
        for handle in handles:
            handle.remove()
    with torch.no_grad():
        unembedding = hf.get_output_embeddings().weight
        slope = (unembedding[pairs[:, 0]] - unembedding[pairs[:, 1]]).float()
        direct = _apply_frozen_norm(norm, captured["final"], slope)
    return PromptTrace(captured["h"].detach()[rows, last], gradient[rows, last], direct, difference.detach())


def _apply_frozen_norm(
    norm: nn.Module, final: Float[torch.Tensor, "prompt d_model"], slope: Float[torch.Tensor, "prompt d_model"]
) -> Float[torch.Tensor, "prompt d_model"]:
    """The gradient of slope . norm(x) with the norm's scale held at its value for x = final.

    What kind of norm it is, is read off what it does and not off its class: norms are spelled in many ways (a gain of w
    or of 1 + w, wrapped by a bridge). Its epsilon, of the order of 1e-6, is neglected in reading the gain.
    """
    ones = torch.ones_like(final[:1])
    plus, minus = norm(ones)[0].float(), norm(-ones)[0].float()
    gain, bias = (plus - minus) / 2, (plus + minus) / 2
    x, layer_norm = final.float(), bool((gain.abs() < 1e-6 + 1e-3 * bias.abs()).all())
    if layer_norm:  # it takes the mean away: a vector of ones leaves the bias, one of mean 0 and variance 1 the gain
        signs = torch.where(torch.arange(final.shape[1], device=final.device) % 2 == 0, 1.0, -1.0)
        gain = (norm(signs.to(final.dtype)[None])[0].float() - bias) * signs
        x = x - x.mean(-1, keepdim=True)
    scale = (gain * x).norm(dim=-1, keepdim=True) / (norm(final).float() - bias).norm(dim=-1, keepdim=True)
    weighted: torch.Tensor = slope * gain / scale
    return weighted - weighted.mean(-1, keepdim=True) if layer_norm else weighted


def find_norm_before_unembedding(model: Any) -> nn.Module:
    """The norm before the unembedding: the last norm beside the decoder layers.

    Raises:
        ElicitError: if there is none.
    """
    layers = activations.find_decoder_layers(model)
    parents: list[nn.Module] = list(activations.unwrap_bridge(model).base_model.modules())
    for parent in parents:
        children = list(parent.children())
        if any(child is layers for child in children):
            norms = [child for child in children if "Norm" in type(child).__name__]
            if norms:
                return norms[-1]
    raise ElicitError(
        f"saes.discover: {type(activations.unwrap_bridge(model)).__name__} has no norm beside its decoder layers; "
        "leave the "
        "scorers attribution, patching and dla out."
    )


def resolve_token_pair(difference: LogitDifference, span: Span, vocabulary: int) -> tuple[int, int]:
    """The two token ids of a span's logit difference.

    Raises:
        ElicitError: unless they are two different ids of the vocabulary.
    """
    pair = difference(span) if callable(difference) else difference
    if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= token < vocabulary for token in pair):
        raise ElicitError(
            f"saes.discover: logit_difference is {tuple(pair)}; expected two different token ids (a, b) from 0 to "
            f"{vocabulary - 1}, such as the trace-opening and the answer-opening token."
        )
    return int(pair[0]), int(pair[1])
