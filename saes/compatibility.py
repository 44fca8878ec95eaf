"""Checks that an SAE belongs to a model: by the hash of the weights it was trained on, or by how much it explains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch

from elicit.errors import ElicitError
from saes.activations import find_decoder_layers, stream, unwrap_bridge
from saes.sae import SAE

#: An SAE of the right weights explains most of the variance; one of other weights little, or less than nothing.
AT_LEAST = 0.5


class Match(NamedTuple):
    """Evidence that an SAE belongs to a model."""

    kind: Literal["same weights", "transfer", "unverified"]
    """transfer: of other weights, and asked for by name. unverified: of weights that are not known, judged live."""
    explained_variance: float | None
    """On the given sequences, where it was measured."""


def check(
    sae: SAE,
    model: Any,
    *,
    model_name: str,
    weights_sha256: str | None,
    layer: int | None = None,
    sequences: Iterable[Sequence[int]] = (),
    transfer: bool = False,
    at_least: float = AT_LEAST,
) -> Match:
    """Refuse an SAE that does not belong to a model.

    Args:
        model: a transformers causal LM or a TransformerBridge.
        model_name: how messages call it.
        weights_sha256: the hash of its weights; None if it has none (weights in memory, tuned).
        layer: the layer it is to be used at. None: its own.
        sequences: token ids of running text, for the live check. Needed where either hash is unknown.
        transfer: an SAE of other weights is wanted (a base model's SAE on a tuned one).
        at_least: smallest explained variance of the live check.

    Raises:
        ElicitError: another width, a layer that is not there or not the SAE's, a model without floating point
            residuals, other weights (without `transfer`), or unknown weights of which it explains too little.
    """
    fits(sae, model, model_name=model_name, layer=layer)
    known = sae.manifest.weights_sha256
    if known is not None and known == weights_sha256:
        return Match("same weights", None)
    text = list(sequences)
    if known is not None and weights_sha256 is not None:
        if not transfer:
            raise ElicitError(
                f"SAE {sae.name!r} was trained on {sae.manifest.model} (weights {known[:12]}), but {model_name} has "
                f"weights {weights_sha256[:12]}. To use it all the same (a base model's SAE on a tuned one), ask for "
                "the transfer: transfer=True."
            )
        return Match("transfer", explained_variance(model, sae, text) if text else None)
    if not text:
        raise ElicitError(
            f"SAE {sae.name!r} (of {sae.manifest.model}) and {model_name}: which weights belong together is not known. "
            "Pass sequences= to check it live by its explained variance."
        )
    return Match("unverified", verify_live(model, sae, text, model_name=model_name, at_least=at_least))


def fits(sae: SAE, model: Any, *, model_name: str, layer: int | None = None) -> None:
    """Refuse an SAE of another width or layer than the model has.

    Raises:
        ElicitError: naming both sides.
    """
    hf = unwrap_bridge(model)
    config = hf.config.get_text_config()
    depth = len(find_decoder_layers(model))
    if sae.d_model != config.hidden_size:
        raise ElicitError(
            f"SAE {sae.name!r} reads residuals of width {sae.d_model} (of {sae.manifest.model}), but those of "
            f"{model_name} have width {config.hidden_size}."
        )
    if sae.layer >= depth:
        raise ElicitError(
            f"SAE {sae.name!r} reads layer {sae.layer} (of {sae.manifest.model}), but {model_name} has layers 0 to "
            f"{depth - 1}."
        )
    if layer is not None and layer != sae.layer:
        raise ElicitError(f"SAE {sae.name!r} reads layer {sae.layer}; it cannot be used at layer {layer}.")
    if not hf.dtype.is_floating_point:
        raise ElicitError(f"SAE {sae.name!r} reads floating point residuals, but {model_name} is of {hf.dtype}.")


def verify_live(
    model: Any,
    sae: SAE,
    sequences: Iterable[Sequence[int]],
    *,
    model_name: str = "this model",
    at_least: float = AT_LEAST,
) -> float:
    """The share of the variance of a model's residuals that an SAE explains, if it is enough.

    Raises:
        ElicitError: if it is less than `at_least`: most likely an SAE of other weights or of another layer.
    """
    share = explained_variance(model, sae, sequences)
    if not share >= at_least:
        raise ElicitError(
            f"SAE {sae.name!r} (of {sae.manifest.model}) explains {share:.2f} of the variance at layer {sae.layer} of "
            f"{model_name}, less than {at_least:g}: it is of other weights, of another layer, or a poor one."
        )
    return share


@torch.no_grad()
def explained_variance(model: Any, sae: SAE, sequences: Iterable[Sequence[int]], *, skip: int = 1) -> float:
    """1 - sum |h - decode(encode(h))|^2 / sum |h - mean h|^2 over all tokens but the first `skip` of each sequence.

    Below 0 where the reconstruction is worse than the mean residual.

    Raises:
        ElicitError: fewer than two tokens, or residuals that do not vary.
    """
    tokens, lost = 0, 0.0
    shift: torch.Tensor | None = None  # sums of squares around a point near the mean keep their digits
    total, squares = torch.zeros(()), 0.0
    for harvest in stream(model, sae.layer, sequences, skip=skip):
        if not len(harvest.h):
            continue
        h = harvest.h.to(sae.device, torch.float32)
        lost += float((h - sae.reconstruct(h)).double().square().sum())
        shift = h.double().mean(dim=0) if shift is None else shift
        away = h.double() - shift
        total, squares, tokens = total.to(away) + away.sum(dim=0), squares + float(away.square().sum()), tokens + len(h)
    variance = squares - float(total.square().sum()) / tokens if tokens else 0.0
    if tokens < 2 or not variance > 0:
        raise ElicitError(f"SAE {sae.name!r}: {tokens} tokens are too few to say what it explains. Pass more text.")
    return 1 - lost / variance
