"""The Jacobian lens: the average Jacobian from a layer's residual to the last one.

    J_l = mean over texts of  1/|V| sum_{t in V} sum_{t' in V, t' >= t}  d h_last,t' / d h_l,t

V are a text's positions less the first `skip_first` (attention sinks) and the last. Effects on later positions are
summed, so the lens reads what the model is disposed to say from here on, not only next.

1. A text runs once, copied `rows_per_pass` times. 2. A backward pass takes one output dimension a copy: a one at every
position of V. Causality leaves only t' >= t. 3. The gradients' mean over V is a row of J_l, for all layers at once.
4. Rows are averaged over texts. With `rows_per_text` each text gives only some rows, in turn: every row is then an
exact average over fewer texts.

The error is stated and not assumed: every row is averaged over two halves of its texts, and half the distance of the
two lenses, relative to the lens, estimates its relative standard error.

Source: Gurnee et al. 2026 (transformer-circuits.pub/2026/workspace), anthropics/jacobian-lens and TransformerLens's
`JacobianLens.fit`, with which it agrees on the same texts. They average all rows over every text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil
import torch
from jaxtyping import Float, Int

from elicit import seeds
from elicit.errors import ElicitError
from elicit.inside.lenses.fitted import FittedLens, check_layers_before_last, describe_fit
from elicit.inside.lenses.passes import encode_texts, watch_outputs
from elicit.loading import architectures
from elicit.model import BaseModel
from elicit.steering import build_padded_frame

SKIP_FIRST = 16
"""Positions left out at the start, as by the source."""


class JacobianLens(FittedLens):
    """The average Jacobian: what the model is disposed to say from a position on."""

    kind = "Jacobian"


def fit_jacobian_lens(
    model: BaseModel,
    texts: Sequence[str],
    *,
    text: str = "texts",
    layers: Sequence[int] | None = None,
    max_tokens: int = 128,
    skip_first: int = SKIP_FIRST,
    rows_per_text: int | None = None,
    rows_per_pass: int | None = None,
    seed: int = 0,
) -> JacobianLens:
    """Fit the lens on plain texts. About 100 texts of 128 tokens are usable, by the source.

    Args:
        text: name of the texts, for the record.
        layers: None: all before the last.
        max_tokens: texts are cut after so many.
        skip_first: positions left out at the start of a text. Texts with nothing left are left out.
        rows_per_text: rows of the Jacobian that each text gives. None: all.
        rows_per_pass: rows of one backward pass. None: by the width of the model.
        seed: seed of the order in which rows are dealt to texts.

    Raises:
        ElicitError: no text is long enough, there are too few texts for every row, or the lens does not fit into
            memory.
    """
    chosen = check_layers_before_last(model, layers)
    ids = [s.prompt for s in encode_texts(model, texts, most=max_tokens) if len(s.prompt) > skip_first + 1]
    if not ids:
        raise ElicitError(f"lens: no text has {skip_first + 2} tokens. Give longer ones, or lower skip_first.")
    d_model, step = model.d_model, min(rows_per_text or model.d_model, model.d_model)
    needed = -(-d_model // step)
    if len(ids) < needed:
        raise ElicitError(
            f"lens: {len(ids)} texts of {step} rows do not give {d_model} rows. Give {needed} texts or more, or "
            f"rows_per_text={-(-d_model // len(ids))}."
        )
    _check_memory(len(chosen), d_model)
    order = torch.from_numpy(seeds.make_generator("jacobian lens", seed).permutation(d_model))
    sums = torch.zeros(2, len(chosen), d_model, d_model)
    counts = torch.zeros(2, d_model)
    for i, tokens in enumerate(ids):
        dealt = torch.arange(i * step, (i + 1) * step)
        rows, halves = order[dealt % d_model], dealt // d_model % 2
        jacobians = compute_jacobian_rows(model, tokens, rows, chosen, skip_first, rows_per_pass)
        for half in (0, 1):
            sums[half][:, rows[halves == half]] += jacobians[:, halves == half]
            counts[half, rows[halves == half]] += 1
    total = sums.sum(0) / counts.sum(0)[:, None]
    settings = {
        "max_tokens": max_tokens,
        "skip_first": skip_first,
        "rows_per_text": rows_per_text,
        "seed": seed,
        "texts_per_row": float(counts.sum(0).min()),
    }
    quality = {"relative standard error": _estimate_error(sums, counts, total)}
    used = sum(len(tokens) - skip_first - 1 for tokens in ids)
    fit = describe_fit(JacobianLens.kind, model, text, ids, used, settings, quality)
    return JacobianLens(model, dict(zip(chosen, total.unbind(), strict=True)), {}, fit)


def compute_jacobian_rows(
    model: BaseModel,
    tokens: Sequence[int],
    rows: Int[torch.Tensor, " row"],
    layers: Sequence[int],
    skip_first: int,
    rows_per_pass: int | None = None,
) -> Float[torch.Tensor, "layer row d_model"]:
    """Rows of one text's Jacobians, by exact backward passes, in float32 on the CPU."""
    copies = min(len(rows), rows_per_pass or max(1, model.engine.pass_tokens // 4 // len(tokens)))
    last = model.n_layers - 1
    ids = torch.tensor([list(tokens)], device=model.device).expand(copies, -1)
    decoder = architectures.get_decoder(model.hf)
    lengths = torch.full((copies,), len(tokens))
    model.clock.explicit = build_padded_frame(torch.ones(copies, len(tokens), dtype=torch.bool), lengths)
    try:
        with torch.enable_grad(), _frozen(model), watch_outputs(model, (*layers, last), root=layers[0]) as caught:
            decoder(input_ids=ids, use_cache=False)
    finally:
        model.clock.explicit = None
    target, sources = caught[last], [caught[layer] for layer in layers]
    where = slice(skip_first, len(tokens) - 1)
    result = torch.empty(len(layers), len(rows), target.shape[-1])
    for start in range(0, len(rows), copies):
        part = rows[start : start + copies]
        cotangent = torch.zeros_like(target)
        for copy, row in enumerate(part.tolist()):
            cotangent[copy, where, row] = 1
        more = start + copies < len(rows)
        for i, gradient in enumerate(torch.autograd.grad(target, sources, cotangent, retain_graph=more)):
            result[i, start : start + len(part)] = gradient[: len(part), where].float().mean(dim=1).cpu()
    return result


def _estimate_error(sums: torch.Tensor, counts: torch.Tensor, total: torch.Tensor) -> list[float]:
    """Relative standard error of every layer's matrix, from two halves of the texts; NaN where a row has only one."""
    if not bool((counts > 0).all()):
        return [float("nan")] * len(total)
    first, second = sums / counts[:, None, :, None]
    return [float(value) for value in (first - second).flatten(1).norm(dim=1) / total.flatten(1).norm(dim=1) / 2]


def _check_memory(layers: int, d_model: int) -> None:
    needed, free = 3 * 4 * layers * d_model**2, psutil.virtual_memory().available
    if needed > free:
        raise ElicitError(
            f"lens: {layers} layers of {d_model} x {d_model} need {needed / 2**30:.1f} GiB while they are fitted; "
            f"{free / 2**30:.1f} GiB are free. Fit fewer at a time: layers=[...]."
        )


@contextmanager
def _frozen(model: BaseModel) -> Iterator[None]:
    """Leave the parameters out of the graph, which then starts at the first layer that is read."""
    trained = [parameter for parameter in model.hf.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
