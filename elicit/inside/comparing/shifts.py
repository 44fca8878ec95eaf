"""Residual shifts: what a policy changes in the residual stream, on the same texts as the base.

    shift = h_policy - h_base        after every layer, at every position

Of every layer and position: its norm in norms of the base's residual, the share of the shifts' sum of squares that one
direction explains (the first singular vector's, over texts, uncentred), and its cosine with given vectors. Of every
position also KL(base || policy) of the next token. A policy that changes nothing has norms and KL of 0, and no share.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from elicit.activations import ActivationCache
from elicit.activations.heat_map import render_heat_map
from elicit.activations.methods import Applies
from elicit.errors import ElicitError
from elicit.inside.lenses.lens import LogitLens
from elicit.model import BaseModel
from elicit.schema import Estimate, finite_or_none
from elicit.statistics import estimate_mean

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Shift:
    """One policy's shift."""

    norms: np.ndarray
    """[text, layer, offset]: its norm over that of the base's residual; NaN where a text has no such position."""
    shares: np.ndarray
    """[layer, offset]: share of the sum of squares explained by one direction; NaN without a shift or with one text."""
    means: Float[torch.Tensor, "layer offset d_model"]
    """The mean shift over texts: a direction to steer with."""
    cosines: Mapping[str, np.ndarray]
    """Name of a given vector -> [layer, offset]: cosine of the mean shift with it; NaN without a shift."""
    kl: np.ndarray
    """[text, offset]: KL(base || policy) of the token that follows, in nats."""


@dataclass(frozen=True, eq=False)
class ShiftComparison:
    """Policies against the base, inside."""

    layers: tuple[int, ...]
    offsets: tuple[int, ...]
    """Positions, from the last prompt token (0); later ones are in the continuation."""
    shifts: Mapping[str, Shift]

    def get_direction(self, policy: str, layer: int, offset: int = 0) -> Float[torch.Tensor, " d_model"]:
        """The mean shift at one place, for `model.steer`."""
        return self.shifts[policy].means[self.layers.index(layer), self.offsets.index(offset)]

    def estimate_norm(self, policy: str, layer: int, offset: int = 0) -> Estimate:
        """Mean norm over texts, in residual norms, with a 95 % t interval."""
        return estimate_mean(self.shifts[policy].norms[:, self.layers.index(layer), self.offsets.index(offset)])

    def estimate_kl(self, policy: str, offset: int = 0) -> Estimate:
        """Mean KL(base || policy) over texts, in nats, with a 95 % t interval."""
        return estimate_mean(self.shifts[policy].kl[:, self.offsets.index(offset)])

    def frame(self) -> pd.DataFrame:
        """One row for every policy, layer and offset: norm [low, high], share, cosines, KL of the offset, n."""
        import pandas as pd

        return pd.DataFrame(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for policy, shift in self.shifts.items():
            for i, layer in enumerate(self.layers):
                for j, offset in enumerate(self.offsets):
                    norm = self.estimate_norm(policy, layer, offset)
                    low, high = norm.ci or (None, None)
                    row = {"policy": policy, "layer": layer, "offset": offset, "n": norm.n}
                    row |= {"norm": finite_or_none(norm.value), "norm_low": low, "norm_high": high}
                    row |= {"share": finite_or_none(float(shift.shares[i, j]))}
                    row |= {f"cosine {k}": finite_or_none(float(v[i, j])) for k, v in shift.cosines.items()}
                    rows.append({**row, "kl": finite_or_none(self.estimate_kl(policy, offset).value)})
        return rows

    def __repr__(self) -> str:
        n = len(next(iter(self.shifts.values())).kl)
        lines = [f"ShiftComparison({n} texts, layers {self.layers[0]} to {self.layers[-1]}; at offset 0)"]
        for policy in self.shifts:
            norms = " ".join(f"{self.estimate_norm(policy, layer).value:.2f}" for layer in self.layers)
            lines.append(f"  {policy}: shift in residual norms {norms}; KL {self.estimate_kl(policy).value:.3f} nats")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For every policy: heat maps of norm and share, and KL by position."""
        columns = [str(offset) for offset in self.offsets]
        names = [f"layer {layer}" for layer in reversed(self.layers)]
        parts = []
        for policy, shift in self.shifts.items():
            norms = [[self.estimate_norm(policy, layer, o).value for o in self.offsets] for layer in self.layers]
            parts.append(render_heat_map(norms[::-1], names, columns, f"{policy}: shift, in residual norms"))
            title = f"{policy}: share of the shift explained by one vector"
            parts.append(render_heat_map(shift.shares[::-1].tolist(), names, columns, title, most=1.0))
            kl = [[self.estimate_kl(policy, o).value for o in self.offsets]]
            parts.append(render_heat_map(kl, ["KL"], columns, f"{policy}: KL(base || policy), nats", number=".3f"))
        return "".join(parts)

    def save(self, path: str | Path) -> Path:
        """Write the rows of `frame` as JSON."""
        file = Path(path)
        file.write_text(json.dumps({"rows": self._rows()}, indent=1, allow_nan=False) + "\n")
        return file


def compare_shifts(
    model: BaseModel,
    policies: Mapping[str, Applies],
    prompts: Sequence[str],
    completions: Sequence[str] | None = None,
    *,
    layers: Sequence[int] | None = None,
    positions: Sequence[int] = tuple(range(-7, 1)),
    vectors: Mapping[str, Float[torch.Tensor, " d_model"]] | None = None,
) -> ShiftComparison:
    """Compare the residual streams of policies with the base's on the same texts.

    Args:
        policies: name -> policy.
        prompts: the texts, rendered.
        completions: forced continuations, one for each prompt. None: the prompts alone.
        layers: None for all.
        positions: offsets from the last prompt token (0); those above 0 are in the continuation.
        vectors: directions with which the mean shifts are compared.

    Raises:
        ElicitError: there is no policy, no prompt or no such position, or a vector has another width.
    """
    if not policies:
        raise ElicitError("compare_shifts: no policy is given. Type: {'steered': policy}")
    directions = {name: vector.detach().float().cpu() for name, vector in (vectors or {}).items()}
    for name, vector in directions.items():
        if tuple(vector.shape) != (model.d_model,):
            raise ElicitError(f"compare_shifts: vector {name!r} is {list(vector.shape)}; expected [{model.d_model}].")
    chosen = sorted({*(range(model.n_layers) if layers is None else layers), model.n_layers - 1})
    options: dict[str, Any] = {"sites": "resid_post", "layers": chosen, "positions": positions}
    base = model.cache(prompts, completions, **options)
    base_logits = _compute_logprobs(model, base)
    reported = [layer for layer in chosen if layers is None or layer in layers]
    shifts = {}
    for name, policy in policies.items():
        with policy.apply():
            cache = model.cache(prompts, completions, **options)
            logits = _compute_logprobs(model, cache)
        kl = (base_logits.exp() * (base_logits - logits)).sum(-1).clamp(min=0)
        shifts[name] = _measure_shift(base, cache, reported, directions, kl.numpy())
    return ShiftComparison(tuple(reported), base.offsets, shifts)


def _compute_logprobs(model: BaseModel, cache: ActivationCache) -> Float[torch.Tensor, "text offset vocab"]:
    """Log-probabilities of the next token at every position, by the model as it is now; NaN where there is none."""
    hidden = cache["resid_post", model.n_layers - 1]
    lens = LogitLens(model)
    with torch.inference_mode():
        parts = [
            lens.compute_logits(part, model.n_layers - 1).log_softmax(-1).cpu()
            for part in torch.split(hidden.flatten(0, 1), lens.positions_at_once)
        ]
    return torch.cat(parts).reshape(*hidden.shape[:2], -1)


def _measure_shift(
    base: ActivationCache,
    cache: ActivationCache,
    layers: Sequence[int],
    vectors: Mapping[str, torch.Tensor],
    kl: np.ndarray,
) -> Shift:
    norms, shares, means = [], [], []
    for layer in layers:
        before = base["resid_post", layer].float()
        shift = cache["resid_post", layer].float() - before
        norms.append((shift.norm(dim=-1) / before.norm(dim=-1)).numpy())
        shares.append([_share_of_one(shift[:, column]) for column in range(shift.shape[1])])
        means.append(shift.nanmean(dim=0))
    mean = torch.stack(means)
    cosines = {name: (mean @ vector / (mean.norm(dim=-1) * vector.norm())).numpy() for name, vector in vectors.items()}
    return Shift(np.stack(norms, axis=1), np.array(shares), mean, cosines, kl)


def _share_of_one(shifts: Float[torch.Tensor, "text d_model"]) -> float:
    """Share of the sum of squares that the first singular vector explains."""
    known = shifts[~shifts.isnan().any(dim=-1)].double()
    squares = torch.linalg.svdvals(known) ** 2 if len(known) > 1 else torch.zeros(1)
    return float(squares[0] / squares.sum()) if float(squares.sum()) > 0 else math.nan
