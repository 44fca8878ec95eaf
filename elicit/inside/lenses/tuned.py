"""The tuned lens: an affine map a layer, from its residual to the last one.

    h_last  ~  (I + W_l) h_l + b_l

The paper trains the maps by gradient descent on KL. Here W_l is the ridge regression of h_last - h_l on h_l, in closed
form from sums that are streamed over the text, in float64:

    W_l = C_yx (C_xx + lambda mean(diag C_xx) I)^-1        C: covariances, y = h_last - h_l, x = h_l

With a large lambda it is the logit lens (with a bias). Lambda is chosen for every layer by the KL on texts that were
not fitted on, and the KL beside that of the logit lens is measured on others again.

Source: Belrose et al. 2023 (2303.08112).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64

from elicit import seeds
from elicit.errors import ElicitError
from elicit.inside.lenses.fitted import FittedLens, check_layers_before_last, describe_fit
from elicit.inside.lenses.lens import Lens, LogitLens
from elicit.inside.lenses.passes import encode_texts, iterate_residuals
from elicit.model import BaseModel
from elicit.sampling import Scored

RIDGES = (1e-6, 1e-4, 1e-2, 1e-1, 1.0, 1e2)


class TunedLens(FittedLens):
    """An affine translator a layer."""

    kind = "tuned"


@dataclass(frozen=True, eq=False)
class _Regression:
    """Sums of one layer's regression, in units of its mean variance."""

    scale: float
    values: Float64[torch.Tensor, " d_model"]
    vectors: Float64[torch.Tensor, "d_model d_model"]
    """Eigenvalues and eigenvectors of the covariance of h_l."""
    cross: Float64[torch.Tensor, "d_model d_model"]
    """Covariance of h_last - h_l with h_l."""
    mean: Float64[torch.Tensor, " d_model"]
    target_mean: Float64[torch.Tensor, " d_model"]

    def solve(self, ridge: float) -> tuple[torch.Tensor, torch.Tensor]:
        """(I + W, b) in float32."""
        inverse = self.vectors / (self.values.clamp(min=0) + ridge * self.scale) @ self.vectors.T
        matrix = self.cross @ inverse + torch.eye(len(self.mean), dtype=torch.float64)
        return matrix.float(), (self.target_mean + self.mean - matrix @ self.mean).float()


def fit_tuned_lens(
    model: BaseModel,
    texts: Sequence[str],
    *,
    text: str = "texts",
    layers: Sequence[int] | None = None,
    max_tokens: int = 128,
    skip_first: int = 1,
    ridges: Sequence[float] = RIDGES,
    measured_tokens: int = 2048,
    seed: int = 0,
) -> TunedLens:
    """Fit the lens on plain texts: 80 % to fit, 10 % to choose the ridge, 10 % to measure.

    Args:
        text: name of the texts, for the record.
        layers: None: all before the last.
        max_tokens: texts are cut after so many.
        skip_first: positions left out at the start (attention sinks).
        ridges: lambdas to choose from, in mean variances of the residual.
        measured_tokens: most positions on which KL is measured, for the choice and for the report each.
        seed: seed of the split of the texts.

    Raises:
        ElicitError: fewer than 10 texts that are long enough, or fewer positions than dimensions.
    """
    chosen = check_layers_before_last(model, layers)
    sequences = [s for s in encode_texts(model, texts, most=max_tokens) if len(s.prompt) > skip_first]
    if len(sequences) < 10:
        raise ElicitError(f"lens: {len(sequences)} texts have more than {skip_first} tokens. Give 10 or more.")
    order = seeds.make_generator("tuned lens", seed).permutation(len(sequences))
    tenth = max(1, len(sequences) // 10)
    parts = order[2 * tenth :], order[tenth : 2 * tenth], order[:tenth]
    fitted, select, test = ([sequences[int(i)] for i in part] for part in parts)
    regressions, tokens = _accumulate(model, fitted, chosen, skip_first)
    plain = LogitLens(model)
    provisional = describe_fit(TunedLens.kind, model, text, [s.prompt for s in sequences], tokens, {}, {})
    maps, biases, chosen_ridges = {}, {}, []
    held = _collect(model, select, chosen, skip_first, measured_tokens)
    for layer in chosen:
        candidates = []
        for ridge in ridges:
            matrix, bias = regressions[layer].solve(ridge)
            lens = TunedLens(model, {layer: matrix}, {layer: bias}, provisional)
            candidates.append((_measure_kl(lens, held, layer), ridge, matrix, bias))
        _, ridge, maps[layer], biases[layer] = min(candidates, key=lambda candidate: candidate[:2])
        chosen_ridges.append(ridge)
    held = _collect(model, test, chosen, skip_first, measured_tokens)
    lens = TunedLens(model, maps, biases, provisional)
    quality = {
        "held-out KL (nats)": [_measure_kl(lens, held, layer) for layer in chosen],
        "held-out KL of the logit lens (nats)": [_measure_kl(plain, held, layer) for layer in chosen],
        "ridge": chosen_ridges,
    }
    settings = {"max_tokens": max_tokens, "skip_first": skip_first, "ridges": list(ridges), "seed": seed}
    settings |= {"held_out_tokens": len(held[chosen[0]])}
    fit = describe_fit(TunedLens.kind, model, text, [s.prompt for s in sequences], tokens, settings, quality)
    return TunedLens(model, maps, biases, fit)


def _accumulate(
    model: BaseModel, sequences: Sequence[Scored], layers: tuple[int, ...], skip_first: int
) -> tuple[dict[int, _Regression], int]:
    """Regressions of every layer, and the number of positions."""
    d, last = model.d_model, model.n_layers - 1
    moments = torch.zeros(len(layers), 2 * d + 1, d + 1, dtype=torch.float64)
    for batch, residuals in iterate_residuals(model, sequences, (*layers, last)):
        real = batch.real.clone()
        real[:, :skip_first] = False
        rows = residuals[:, real.to(residuals.device)].double().cpu()
        one = torch.ones(rows.shape[1], 1, dtype=torch.float64)
        for i in range(len(layers)):
            x = torch.cat([rows[i], one], dim=1)
            moments[i] += torch.cat([rows[-1] - rows[i], x], dim=1).T @ x
    n = int(moments[0, -1, -1])
    if n <= d:
        raise ElicitError(f"lens: {n} positions for {d} dimensions. Give more or longer texts.")
    return {layer: _build_regression(moments[i], d, n) for i, layer in enumerate(layers)}, n


def _build_regression(moments: torch.Tensor, d: int, n: int) -> _Regression:
    mean, target_mean = moments[d : 2 * d, d] / n, moments[:d, d] / n
    covariance = moments[d : 2 * d, :d] / n - torch.outer(mean, mean)
    cross = moments[:d, :d] / n - torch.outer(target_mean, mean)
    values, vectors = torch.linalg.eigh(covariance)
    return _Regression(float(covariance.diagonal().mean()), values, vectors, cross, mean, target_mean)


def _collect(
    model: BaseModel, sequences: Sequence[Scored], layers: tuple[int, ...], skip_first: int, most: int
) -> dict[int, torch.Tensor]:
    """Layer -> residuals [token, d_model] at the same positions, those after the last layer included."""
    read_layers, parts, count = (*layers, model.n_layers - 1), [], 0
    for batch, residuals in iterate_residuals(model, sequences, read_layers):
        real = batch.real.clone()
        real[:, :skip_first] = False
        parts.append(residuals[:, real.to(residuals.device)])
        count += parts[-1].shape[1]
        if count >= most:
            break
    whole = torch.cat(parts, dim=1)[:, :most]
    return dict(zip(read_layers, whole.unbind(), strict=True))


def _measure_kl(lens: Lens, held: dict[int, torch.Tensor], layer: int) -> float:
    """Mean KL(model's output || lens), in nats."""
    last, total, size = lens.model.n_layers - 1, 0.0, lens.positions_at_once
    with torch.inference_mode():
        for final, here in zip(torch.split(held[last], size), torch.split(held[layer], size), strict=True):
            p = lens.compute_logits(final, last).log_softmax(-1)
            q = lens.compute_logits(here, layer).log_softmax(-1)
            total += float((p.exp() * (p - q)).sum(dtype=torch.float64))
    return total / len(held[last])
