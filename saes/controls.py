"""Norm-matched control directions for a chosen feature: as large, and expected to do nothing.

A result about one feature is only as good as its controls: other features of the same density and norm, random
directions as the model's own residuals would draw them, what the SAE fails to explain, and the same feature in an SAE
trained with another seed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike

from elicit import seeds
from elicit.errors import ElicitError
from saes.sae import SAE, Feature

if TYPE_CHECKING:
    import pandas as pd

#: Where matching starts: density and norm within this factor of the feature's. Widened by its square root steps.
CALIPER = 1.25
_CHUNK = 1024


class Matched(NamedTuple):
    """Random features of matched density and decoder norm."""

    features: tuple[int, ...]
    caliper: float
    """Every candidate's density and norm lay within this factor of the feature's."""
    widened: bool
    """Whether `CALIPER` was too narrow to hold enough candidates."""
    candidates: int
    """Features within the caliper, of which these were drawn."""
    density: float
    norm: float
    densities: tuple[float, ...]
    norms: tuple[float, ...]

    def __str__(self) -> str:
        state = f"widened from {CALIPER:g}" if self.widened else "not widened"
        return (
            f"{len(self.features)} features drawn of {self.candidates} whose density and decoder norm are within a "
            f"factor of {self.caliper:.3g} ({state}) of {self.density:.3g} and {self.norm:.3g}"
        )


def matched_features(
    densities: pd.DataFrame | ArrayLike,
    sae: SAE,
    index: int,
    n: int,
    *,
    seed: int,
    exclude: Collection[int] = (),
    pool: int = 16,
) -> Matched:
    """`n` random live features whose density and decoder norm are those of feature `index`.

    A candidate's distance is the larger of |log density ratio| and |log norm ratio|. The caliper starts at a factor of
    `CALIPER` and widens in steps of a square root (1.25, 1.40, 1.65, ...: each factor to the power 1.5) until it holds
    max(n, pool) candidates, or all live features. From those, `n` are drawn without replacement in an order that
    belongs to the identity (seed, SAE, index): so for n up to `pool`, more draws only add to fewer.

    Args:
        densities: a table of `saes.discover` (its column `density`), or one density per feature.
        exclude: features that may not be drawn, such as the other top candidates.
        seed: of the draw.

    Raises:
        ElicitError: a feature that does not exist or is not alive; fewer than `n` live features left.
    """
    density = _read_densities(densities, sae)
    norm = sae.directions.norm(dim=1).cpu().numpy().astype(np.float64)
    feature = sae.feature(index)
    if not density[index] > 0:
        raise ElicitError(
            f"feature {feature.label} is never active in the text of these densities, so none matches it. Give "
            "densities over more text."
        )
    if n < 1:
        raise ElicitError(f"matched features: n is {n}; expected at least 1.")
    live = (density > 0) & (norm > 0)
    live[[index, *exclude]] = False
    if live.sum() < n:
        raise ElicitError(
            f"matched features: {n} were asked for, but SAE {sae.name!r} has only {int(live.sum())} other live "
            "features here. Ask for fewer, or give densities over more text."
        )
    with np.errstate(divide="ignore"):
        distance = np.maximum(np.abs(np.log(density / density[index])), np.abs(np.log(norm / norm[index])))
    distance = np.where(live, distance, np.inf)
    min_candidates = min(max(n, pool), int(live.sum()))
    caliper = math.log(CALIPER)
    while (distance <= caliper).sum() < min_candidates:
        caliper *= 1.5
    candidates = np.flatnonzero(distance <= caliper)
    # Numbers by feature, not by place: a candidate more or less leaves the order of the others as it is.
    numbers = seeds.make_generator("matched features", seed, sae.sha256, index).random(sae.d_sae)
    indices = candidates[np.argsort(numbers[candidates])][:n]
    return Matched(
        tuple(int(i) for i in indices),
        math.exp(caliper),
        caliper > math.log(CALIPER),
        len(candidates),
        float(density[index]),
        float(norm[index]),
        tuple(float(density[i]) for i in indices),
        tuple(float(norm[i]) for i in indices),
    )


def covariance(residuals: Iterable[Float[torch.Tensor, "token d_model"]]) -> Float[torch.Tensor, "d_model d_model"]:
    """The covariance of residuals that come in batches, in float64; memory is d_model squared.

    Raises:
        ElicitError: fewer than two rows.
    """
    n, mean, scatter = 0, None, None
    for batch in residuals:
        x = batch.detach().double().cpu()
        if len(x) == 0:
            continue
        m = len(x)
        centre = x.mean(0)
        within = (x - centre).T @ (x - centre)
        if mean is None or scatter is None:
            n, mean, scatter = m, centre, within
            continue
        shift = centre - mean  # Chan, Golub and LeVeque (1979): exact whatever the size of the mean
        scatter += within + torch.outer(shift, shift) * (n * m / (n + m))
        mean = mean + shift * (m / (n + m))
        n += m
    if scatter is None or n < 2:
        raise ElicitError(f"covariance: {n} residuals were given; expected at least 2 rows [token, d_model].")
    return scatter / (n - 1)


def covariance_vector(
    source: Float[torch.Tensor, "rows d_model"], *, seed: int, is_covariance: bool = False
) -> Float[torch.Tensor, " d_model"]:
    """A random direction as the residuals would draw it: one draw from N(0, Sigma), Sigma their covariance.

    A direction of white noise lies almost wholly where the model's residuals never go; this one lies where they do. It
    is Sigma^(1/2) z with the symmetric root, so that it depends on Sigma and the seed alone. Not of length 1.

    Args:
        source: residuals, one row per token; or with `is_covariance` their covariance (from `covariance`).

    Raises:
        ElicitError: fewer than two residuals, NaN, or a matrix that is no covariance.
    """
    sigma = source.detach().double().cpu() if is_covariance else covariance([source])
    if sigma.ndim != 2 or sigma.shape[0] != sigma.shape[1] or not torch.allclose(sigma, sigma.T, rtol=1e-4):
        raise ElicitError(
            f"covariance vector: a matrix of shape {tuple(sigma.shape)} is not a covariance (finite, square, "
            "symmetric)."
        )
    values, vectors = torch.linalg.eigh(sigma)
    z = torch.from_numpy(seeds.make_generator("covariance vector", seed).standard_normal(len(sigma)))
    draw: torch.Tensor = vectors @ (values.clamp_min(0).sqrt() * (vectors.T @ z))
    return draw.float()


def error_direction(
    sae: SAE,
    residuals: Float[torch.Tensor, "token d_model"],
    negative: Float[torch.Tensor, "token d_model"] | None = None,
) -> Float[torch.Tensor, " d_model"]:
    """The SAE's mean reconstruction error over residuals, minus that over `negative` ones where given.

    What a difference of means holds and the SAE's features do not. Not of length 1.

    Raises:
        ElicitError: no residuals, or of another width.
    """
    sides = [residuals] if negative is None else [residuals, negative]
    means: list[torch.Tensor] = []
    for side in sides:
        if side.ndim != 2 or len(side) == 0 or side.shape[1] != sae.d_model:
            raise ElicitError(
                f"error direction: residuals have shape {tuple(side.shape)}; expected [token, {sae.d_model}] with at "
                "least one token."
            )
        total = torch.zeros(sae.d_model, dtype=torch.float64, device=sae.device)
        with torch.no_grad():
            for first in range(0, len(side), _CHUNK):
                total += sae.error(side[first : first + _CHUNK]).double().sum(0)
        means.append(total / len(side))
    return (means[0] if negative is None else means[0] - means[1]).float()


class Twin(NamedTuple):
    """The feature of another SAE whose decoder row is nearest in angle."""

    feature: Feature
    cosine: float
    typical: Float[np.ndarray, " live"]
    """For context: the largest cosine of every live feature of the first SAE, sorted."""
    share_below: float
    """Share of those that have a smaller one: near 1, the feature is more stable than most."""

    def __str__(self) -> str:
        return (
            f"{self.feature.label}: cosine {self.cosine:.3f} (of {len(self.typical)} live features, median "
            f"{float(np.median(self.typical)):.3f}; {self.share_below:.0%} have a smaller one)"
        )


def twin(feature: Feature, other: SAE, *, live: Sequence[bool] | np.ndarray | None = None) -> Twin:
    """The same feature in an SAE of the same place trained with another seed (stability: Paulo and Belrose 2501.16615).

    Args:
        live: which features of the first SAE are alive, for the context (such as densities > 0). Default: all whose
            decoder row is not zero.

    Raises:
        ElicitError: SAEs of different widths, or of different layers.
    """
    sae = feature.sae
    if (sae.d_model, sae.layer) != (other.d_model, other.layer):
        raise ElicitError(
            f"twin: {sae.name!r} reads layer {sae.layer} of width {sae.d_model}, but {other.name!r} layer "
            f"{other.layer} of width {other.d_model}. Expected two SAEs of one place."
        )
    alive = sae.directions.norm(dim=1) > 0
    if live is not None:
        alive &= torch.as_tensor(np.asarray(live, dtype=bool), device=alive.device)
    alive[feature.index] = True
    theirs = torch.nn.functional.normalize(other.directions, dim=1)
    ours = torch.nn.functional.normalize(sae.directions, dim=1)[alive]
    parts = [(ours[first : first + _CHUNK] @ theirs.T).amax(1) for first in range(0, len(ours), _CHUNK)]
    best = torch.cat(parts).cpu().numpy()
    cosines = theirs @ feature.direction
    index = int(cosines.argmax())
    cosine = float(cosines[index])
    return Twin(other.feature(index), cosine, np.sort(best), float((best < cosine - 1e-6).mean()))


def _read_densities(densities: Any, sae: SAE) -> Float[np.ndarray, " d_sae"]:
    import pandas as pd

    if isinstance(densities, pd.DataFrame):
        densities = densities["density"].sort_index().to_numpy()
    array = np.asarray(densities, dtype=np.float64)
    if array.shape != (sae.d_sae,):
        raise ElicitError(
            f"matched features: densities have shape {array.shape}; expected one per feature of SAE {sae.name!r} "
            f"({sae.d_sae})."
        )
    return array
