"""`evaluate(model, sae, sequences)`: the card of an SAE.

Over all tokens of the text but the first of each sequence, which no SAE of the lab sees:

    explained variance   1 - sum |x - x_hat|^2 / sum |x - mean x|^2
    L0                   latents above 0 per token, by the SAE as it is used (not as it was trained)
    dead fraction        latents that are 0 at every token of this text: it falls with more text
    density              share of tokens at which a latent is above 0, as a histogram of its log10
    cross-entropy        nats per next token: of the model, with the reconstruction in the residual's place, and with
                         the text's mean residual in its place (mean ablation); the first token keeps its own residual
    CE recovered         (mean ablation - reconstruction) / (mean ablation - model): Gao et al. 2406.04093, appendix

Intervals are 95 %, by a bootstrap over sequences, whose tokens are not independent. `n` counts tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float64, Int
from torch import nn

from elicit import seeds
from elicit.errors import ElicitError
from elicit.schema import Estimate, finite_or_none
from saes.activations import Harvest, batch_sequences, find_decoder_layers, stream, unwrap_bridge
from saes.sae import SAE

_DRAWS = 1000
_CHUNK = 2048
"""Tokens encoded at a time."""
_LOGITS = 1 << 26
"""Logits computed at a time: 256 MB."""
_BINS = [-6.0 + 0.5 * i for i in range(13)]

#: Columns of the sums per sequence.
_TOKENS, _ERROR, _SPREAD, _ACTIVE, _PREDICTED, _CLEAN, _SPLICED, _ABLATED = range(8)


def evaluate(model: Any, sae: SAE, sequences: Sequence[Sequence[int]], *, skip: int = 1) -> dict[str, Any]:
    """Judge an SAE on text, which should be text that it was not trained on.

    Args:
        model: the transformers causal LM or TransformerBridge whose residuals it reads.
        sequences: token ids. Memory is one batch, but d_model numbers per sequence are kept.
        skip: leading tokens of each sequence that are left out, and left as they are.

    Returns:
        Plain data. An estimate is {"value", "n", "ci"}; what cannot be told is null.

    Raises:
        ElicitError: another width than the model's, a layer that does not exist, or no tokens.
    """
    width = unwrap_bridge(model).config.get_text_config().hidden_size
    if width != sae.d_model:
        raise ElicitError(f"SAE {sae.name!r} reads residuals of width {sae.d_model}, but the model's are {width} wide.")
    mean, norm = _measure_residuals(model, sae.layer, sequences, skip)
    sums = np.zeros((len(sequences), 8))
    fired = np.zeros(sae.d_sae)
    for harvest in stream(model, sae.layer, sequences, skip=skip):
        _add_reconstruction(sums, fired, harvest, sae, mean)
    for numbers, losses in _compute_losses(model, sae, sequences, mean, skip):
        for column, values in zip((_CLEAN, _SPLICED, _ABLATED), losses, strict=True):
            np.add.at(sums[:, column], numbers, values)
        np.add.at(sums[:, _PREDICTED], numbers, 1)
    return _build_card(sums, fired, sae, norm, sequences)


def _measure_residuals(
    model: Any, layer: int, sequences: Sequence[Sequence[int]], skip: int
) -> tuple[Float[torch.Tensor, " d_model"], float]:
    """(mean residual, median residual norm)."""
    total: Any = 0.0
    norms = []
    for harvest in stream(model, layer, sequences, skip=skip):
        total = total + harvest.h.double().sum(0)
        norms.append(harvest.h.float().norm(dim=-1).cpu())
    n = sum(map(len, norms))
    if n == 0:
        raise ElicitError(f"evaluate: the text has no sequence of more than {skip} tokens.")
    return (total / n).float(), float(torch.cat(norms).median())


@torch.no_grad()
def _add_reconstruction(
    sums: Float64[np.ndarray, "sequence 8"],
    fired: Float64[np.ndarray, " d_sae"],
    harvest: Harvest,
    sae: SAE,
    mean: Float[torch.Tensor, " d_model"],
) -> None:
    for h, where in zip(torch.split(harvest.h, _CHUNK), torch.split(harvest.sequence, _CHUNK), strict=True):
        x = h.to(sae.device, torch.float32)
        f = sae.encode(x)
        columns = {
            _TOKENS: torch.ones(len(x)),
            _ERROR: (x - sae.decode(f)).square().sum(-1),
            _SPREAD: (x - mean.to(x.device)).square().sum(-1),
            _ACTIVE: (f != 0).sum(-1),
        }
        for column, values in columns.items():
            np.add.at(sums[:, column], where.numpy(), values.double().cpu().numpy())
        fired += (f != 0).sum(0).double().cpu().numpy()


# --- what the model makes of a reconstruction -----------------------------------------------------------------------

Rewrite = Callable[[Float[torch.Tensor, "batch pos d_model"]], Float[torch.Tensor, "batch pos d_model"]]


class Losses(NamedTuple):
    """Cross-entropy in nats of every next token that is predicted from behind a replaced residual."""

    clean: Float64[np.ndarray, " token"]
    spliced: Float64[np.ndarray, " token"]
    ablated: Float64[np.ndarray, " token"]


@torch.no_grad()
def _compute_losses(
    model: Any, sae: SAE, sequences: Sequence[Sequence[int]], mean: Float[torch.Tensor, " d_model"], skip: int
) -> Iterator[tuple[Int[np.ndarray, " token"], Losses]]:
    """(sequence of each token, its losses), batch by batch."""
    hf = unwrap_bridge(model)
    block = find_decoder_layers(model)[sae.layer]

    def replace_with_reconstruction(h: torch.Tensor) -> torch.Tensor:
        tokens = rearrange(h, "batch pos d_model -> (batch pos) d_model")
        rows = [sae.reconstruct(part) for part in torch.split(tokens, _CHUNK)]
        return rearrange(torch.cat(rows), "(batch pos) d_model -> batch pos d_model", batch=len(h))

    def replace_with_mean(h: torch.Tensor) -> torch.Tensor:
        return mean.expand_as(h)

    vocabulary = hf.get_output_embeddings().weight.shape[0]
    for numbers, ids, real in batch_sequences(
        sequences, batch_tokens=min(8192, max(1, _LOGITS // vocabulary)), model=hf
    ):
        predicted = real[:, 1:].clone()
        predicted[:, :skip] = False
        losses = []
        for rewrite in (None, replace_with_reconstruction, replace_with_mean):
            with replace_layer_output(block, rewrite, skip):
                logits = hf(input_ids=ids.to(hf.device), use_cache=False).logits[:, :-1]
            chosen = logits[predicted.to(logits.device)].float()
            targets = ids[:, 1:][predicted].to(logits.device)
            losses.append(nn.functional.cross_entropy(chosen, targets, reduction="none").double().cpu().numpy())
        rows = predicted.nonzero(as_tuple=True)[0]
        yield np.asarray(numbers)[rows.numpy()], Losses(*losses)


@contextmanager
def replace_layer_output(block: nn.Module, rewrite: Rewrite | None, skip: int) -> Iterator[None]:
    """Put `rewrite(h)` in the place of a decoder layer's output, from position `skip` on; None leaves it alone."""

    def swap_output(module: nn.Module, args: Any, output: Any) -> Any:
        assert rewrite is not None
        h = output[0] if isinstance(output, tuple) else output
        new = torch.cat([h[:, :skip], rewrite(h)[:, skip:].to(h.device, h.dtype)], dim=1)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    handle = block.register_forward_hook(swap_output) if rewrite is not None else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


# --- the card -------------------------------------------------------------------------------------------------------


def _build_card(
    sums: Float64[np.ndarray, "sequence 8"],
    fired: Float64[np.ndarray, " d_sae"],
    sae: SAE,
    norm: float,
    sequences: Sequence[Sequence[int]],
) -> dict[str, Any]:
    n, predicted = int(sums[:, _TOKENS].sum()), int(sums[:, _PREDICTED].sum())

    def estimate_figure(figure: Callable[[Any], Any], count: int) -> dict[str, Any]:
        return _bootstrap_figure(sums, figure, count).to_json()

    def average_per_token(column: int, of: int) -> Callable[[Any], Any]:
        return lambda s: s[..., column] / s[..., of]

    digest = hashlib.sha256()
    for sequence in sequences:
        ids = np.asarray(sequence, dtype="<i4").tobytes()
        digest.update(len(ids).to_bytes(8, "little") + ids)
    return {
        "tokens": n,
        "sequences": int((sums[:, _TOKENS] > 0).sum()),
        "text_sha256": digest.hexdigest(),
        "interval": "95 %, bootstrap over sequences",
        "norm": norm,
        "explained_variance": estimate_figure(lambda s: 1 - s[..., _ERROR] / s[..., _SPREAD], n),
        "l0": estimate_figure(average_per_token(_ACTIVE, _TOKENS), n),
        "k": sae.manifest.k,
        "dead": {"value": float((fired == 0).mean()), "n": n, "ci": None},
        "cross_entropy": {
            "clean": estimate_figure(average_per_token(_CLEAN, _PREDICTED), predicted),
            "reconstruction": estimate_figure(average_per_token(_SPLICED, _PREDICTED), predicted),
            "mean_ablation": estimate_figure(average_per_token(_ABLATED, _PREDICTED), predicted),
            "recovered": estimate_figure(_compute_recovered_loss, predicted),
        },
        "density": _build_density_histogram(fired / n),
    }


def _compute_recovered_loss(s: Any) -> Any:
    """NaN where replacing everything does no harm: then there is nothing to recover."""
    harm = s[..., _ABLATED] - s[..., _CLEAN]
    return np.where(harm > 0, (s[..., _ABLATED] - s[..., _SPLICED]) / np.where(harm > 0, harm, 1.0), np.nan)


def _bootstrap_figure(sums: Float64[np.ndarray, "sequence 8"], figure: Callable[[Any], Any], n: int) -> Estimate:
    """A figure of the sums, with a percentile interval over resampled sequences; none for one sequence."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(figure(sums.sum(0)))
        clusters = sums[sums[:, _TOKENS] > 0]
        if len(clusters) < 2 or not np.isfinite(value):
            return Estimate(value, n, None)
        random = seeds.make_generator("sae card")
        weights = random.multinomial(len(clusters), np.full(len(clusters), 1 / len(clusters)), size=_DRAWS)
        draws = np.asarray(figure(weights @ clusters))
    draws = draws[np.isfinite(draws)]
    if len(draws) < _DRAWS * 0.95 or float(np.ptp(draws)) == 0.0:
        return Estimate(value, n, None)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, n, (float(low), float(high)))


def _build_density_histogram(densities: Float64[np.ndarray, " d_sae"]) -> dict[str, Any]:
    """Latents by the log10 of their density; those below the lowest edge count in the first bin, dead ones apart."""
    alive = densities[densities > 0]
    counts, _ = np.histogram(np.clip(np.log10(alive), _BINS[0], _BINS[-1]), bins=_BINS)
    return {
        "log10_edges": _BINS,
        "counts": counts.tolist(),
        "dead": int((densities == 0).sum()),
        "median": finite_or_none(float(np.median(alive))) if len(alive) else None,
    }
