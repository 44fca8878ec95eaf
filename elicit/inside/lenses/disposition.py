"""Disposition: what a lens says the model is about to do, before it does it.

    disposition = log sum_{w in toward} p(w) - log sum_{v in against} p(v)        under the lens

by layer and position, for the base and for policies on the same prompts. For `toward` the tokens that open a worked
answer, for `against` those that open a direct one. With the Jacobian lens it is the disposition to say them from here
on, not only next.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from elicit.activations.heat_map import render_heat_map
from elicit.activations.methods import Applies
from elicit.errors import ElicitError
from elicit.inside.lenses.mapping import LensMap
from elicit.inside.lenses.passes import encode_texts, iterate_residuals
from elicit.inside.lenses.reading import resolve_tokens
from elicit.loading import rows
from elicit.model import BaseModel
from elicit.sampling import Scored
from elicit.schema import Estimate
from elicit.statistics import estimate_mean
from elicit.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

BASE = "base"


@dataclass(frozen=True)
class Openings:
    """Tokens that open a worked answer, and those that open a direct one."""

    toward: tuple[int, ...]
    against: tuple[int, ...]


def find_openings(model: BaseModel, task: Task, n: int = 200) -> Openings:
    """The first tokens of a task's worked and of its direct answers to train problems, less those of both.

    Raises:
        ElicitError: the task does not write worked answers, or both kinds open alike.
    """
    bound = model.bind(task)
    worked: set[int] = set()
    direct: set[int] = set()
    for problem in bound.problems("train", n):
        text = bound.worked(problem)
        if text is None:
            raise ElicitError(f"{bound.name} does not write worked answers. Give toward= and against= yourself.")
        worked.add(model.continuation(text, problem.prompt)[0])
        direct.add(model.continuation(bound.direct(problem), problem.prompt)[0])
    if not worked - direct or not direct - worked:
        raise ElicitError(f"{bound.name}: worked and direct answers open alike. Give toward= and against= yourself.")
    return Openings(tuple(sorted(worked - direct)), tuple(sorted(direct - worked)))


@dataclass(frozen=True, eq=False)
class Disposition:
    """Log odds of two sets of openings under a lens, in nats, by policy, prompt, layer and position."""

    lens: str
    layers: tuple[int, ...]
    offsets: tuple[int, ...]
    """Positions, from the last prompt token (0)."""
    toward: tuple[str, ...]
    against: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    """Policy ("base" first) -> [prompt, layer, offset]; NaN where a prompt has no such position."""

    def at(self, layer: int, offset: int = 0, policy: str = BASE) -> np.ndarray:
        """Every prompt's value at one place: [prompt].

        Raises:
            ElicitError: the policy, layer or offset was not read.
        """
        if policy not in self.values or layer not in self.layers or offset not in self.offsets:
            raise ElicitError(
                f"disposition: policies {list(self.values)}, layers {list(self.layers)} and offsets "
                f"{self.offsets[0]} to {self.offsets[-1]} were read; not {policy!r}, {layer}, {offset}."
            )
        return np.asarray(self.values[policy][:, self.layers.index(layer), self.offsets.index(offset)])

    def estimate(self, layer: int, offset: int = 0, policy: str = BASE) -> Estimate:
        """Mean over prompts, with a 95 % t interval."""
        return estimate_mean(self.at(layer, offset, policy))

    def estimate_rise(self, policy: str, layer: int, offset: int = 0) -> Estimate:
        """Mean over prompts of policy less base, paired, with a 95 % t interval."""
        return estimate_mean(self.at(layer, offset, policy) - self.at(layer, offset))

    def frame(self) -> pd.DataFrame:
        """One row for every policy, layer and offset: mean [low, high], rise over the base [low, high], n."""
        import pandas as pd

        return pd.DataFrame(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        table = []
        for policy in self.values:
            for layer in self.layers:
                for offset in self.offsets:
                    mean, rise = self.estimate(layer, offset, policy), self.estimate_rise(policy, layer, offset)
                    row = {"policy": policy, "layer": layer, "offset": offset, "n": mean.n}
                    row |= _name_estimate("disposition", mean)
                    row |= _name_estimate("rise", rise)
                    table.append(row)
        return table

    def __repr__(self) -> str:
        n = len(self.values[BASE])
        lines = [f"Disposition({self.lens} lens, toward {self.toward} against {self.against}, {n} prompts, offset 0)"]
        for policy in self.values:
            means = " ".join(f"{self.estimate(layer, self.offsets[-1], policy).value:+.2f}" for layer in self.layers)
            lines.append(f"  {policy}: {means}   (layers {self.layers[0]} to {self.layers[-1]})")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A heat map of means for every policy, and of its rise over the base."""
        means = {policy: np.nanmean(values, axis=0) for policy, values in self.values.items()}
        pictures = {f"{policy}: disposition (nats)": mean for policy, mean in means.items()}
        pictures |= {f"{p}: rise over the base (nats)": mean - means[BASE] for p, mean in means.items() if p != BASE}
        most = max(float(np.nanmax(np.abs(picture))) for picture in pictures.values())
        names = [f"layer {layer}" for layer in reversed(self.layers)]
        return "".join(
            render_heat_map(
                picture[::-1].tolist(),
                names,
                [str(offset) for offset in self.offsets],
                f"{title}, {self.lens} lens, n = {len(self.values[BASE])}",
                most=most,
            )
            for title, picture in pictures.items()
        )

    def save(self, path: str | Path) -> Path:
        """Write means with intervals and every prompt's values as JSON."""
        file = Path(path)
        document = {
            "lens": self.lens,
            "layers": self.layers,
            "offsets": self.offsets,
            "toward": self.toward,
            "against": self.against,
            "rows": self._rows(),
            "values": {policy: _without_nan(values.tolist()) for policy, values in self.values.items()},
        }
        file.write_text(json.dumps(document, allow_nan=False) + "\n")
        return file


def measure_disposition(
    lens: LensMap,
    prompts: Sequence[str],
    *,
    toward: Sequence[str | int],
    against: Sequence[str | int],
    policies: Mapping[str, Applies],
    layers: Sequence[int] | None = None,
    last: int = 8,
) -> Disposition:
    """Measure the disposition of prompts; see `Lens.disposition`."""
    model = lens.model
    chosen = lens.choose_layers(layers)
    sequences = encode_texts(model, prompts)
    left, right = _resolve_openings(model, toward), _resolve_openings(model, against)
    if not left or not right or set(left) & set(right):
        shared = [model.tokenizer.decode([i]) for i in sorted(set(left) & set(right))]
        raise ElicitError(f"disposition: toward and against need a token each and share none; they share {shared}.")
    if BASE in policies:
        raise ElicitError("disposition: the base is always read. Give the policy another name.")
    if last < 1:
        raise ElicitError(f"disposition: last is {last}; expected 1 or more positions.")
    offsets = tuple(range(1 - min(last, max(len(s.prompt) for s in sequences)), 1))
    contexts: dict[str, AbstractContextManager[Any]] = {BASE: nullcontext()}
    contexts |= {name: policy.apply() for name, policy in policies.items()}
    values = {}
    for name, context in contexts.items():
        with context:
            values[name] = _measure_prompts(lens, sequences, chosen, offsets, left, right)
    names = [tuple(model.tokenizer.decode([i]) for i in ids) for ids in (left, right)]
    return Disposition(lens.kind, chosen, offsets, names[0], names[1], values)


def _measure_prompts(
    lens: LensMap,
    sequences: Sequence[Scored],
    layers: tuple[int, ...],
    offsets: tuple[int, ...],
    toward: Sequence[int],
    against: Sequence[int],
) -> np.ndarray:
    values = np.full((len(sequences), len(layers), len(offsets)), math.nan)
    for batch, residuals in iterate_residuals(lens.model, sequences, layers):
        device = residuals.device
        sets = [rows.make_id_tensor(tuple(ids), device) for ids in (toward, against)]
        places = [
            (r, o) for r in range(len(batch.indices)) for o in offsets if int(batch.prompt_lengths[r]) - 1 + o >= 0
        ]
        at = torch.tensor([int(batch.prompt_lengths[r]) - 1 + o for r, o in places], device=device)
        which = torch.tensor([r for r, _ in places], device=device)
        into = [batch.indices[r] for r, _ in places], [o - offsets[0] for _, o in places]
        with torch.inference_mode():
            for i, layer in enumerate(layers):
                picked = residuals[i, which, at]
                odds = []
                for part in torch.split(picked, lens.positions_at_once):
                    logits = lens.compute_logits(part, layer)
                    pair = [logits[:, ids.to(logits.device)].logsumexp(-1) for ids in sets]
                    odds.append((pair[0] - pair[1]).cpu())
                values[into[0], i, into[1]] = torch.cat(odds).numpy()
    return values


def _resolve_openings(model: BaseModel, openings: Sequence[str | int]) -> list[int]:
    """Ids of the first tokens of texts, or ids as they are."""
    if isinstance(openings, str):
        raise ElicitError("disposition: expected a list of openings. Type: [text]")
    texts = [model.continuation(opening)[0] if isinstance(opening, str) else opening for opening in openings]
    return sorted(set(resolve_tokens(model, texts)))


def _name_estimate(name: str, estimate: Estimate) -> dict[str, float | None]:
    low, high = estimate.ci or (None, None)
    value = None if math.isnan(estimate.value) else estimate.value
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if math.isnan(value) else value
