"""Attention patterns of a policy beside the base's: for every head, how much of its attention moves, and where to.

moved = 1/2 sum_k |A_policy[q, k] - A_base[q, k]|        (total variation, 0 to 1), at one query position q
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elicit.activations.heat_map import render_heat_map
from elicit.activations.methods import Applies
from elicit.errors import ElicitError
from elicit.model import BaseModel
from elicit.schema import Estimate, finite_or_none
from elicit.statistics import estimate_mean

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class AttentionComparison:
    """Attention from one position (the query), for the base and for policies."""

    layers: tuple[int, ...]
    query: int
    """Offset of the query from the last prompt token."""
    key_offsets: tuple[int, ...]
    patterns: Mapping[str, np.ndarray]
    """Policy ("base" first) -> [text, layer, head, key]: attention weights; NaN where a text has no such key."""

    def get_moved(self, policy: str) -> np.ndarray:
        """Attention moved: [text, layer, head], 0 to 1."""
        return np.asarray(np.nansum(np.abs(self.patterns[policy] - self.patterns["base"]), axis=-1) / 2)

    def estimate_moved(self, policy: str, layer: int, head: int) -> Estimate:
        """Mean over texts, with a 95 % t interval."""
        return estimate_mean(self.get_moved(policy)[:, self.layers.index(layer), head])

    def frame(self) -> pd.DataFrame:
        """One row for every policy, layer and head: attention moved [low, high], n."""
        import pandas as pd

        return pd.DataFrame(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for policy in [name for name in self.patterns if name != "base"]:
            for layer in self.layers:
                for head in range(self.patterns["base"].shape[2]):
                    moved = self.estimate_moved(policy, layer, head)
                    low, high = moved.ci or (None, None)
                    row = {"policy": policy, "layer": layer, "head": head, "moved": finite_or_none(moved.value)}
                    rows.append({**row, "low": low, "high": high, "n": moved.n})
        return rows

    def __repr__(self) -> str:
        lines = [f"AttentionComparison({len(self.patterns['base'])} texts, from offset {self.query})"]
        lines += [
            f"  {row['policy']}, layer {row['layer']}, head {row['head']}: moved {row['moved']:.3f}"
            for row in self._rows()
        ]
        return "\n".join(lines[:30])

    def _repr_html_(self) -> str:
        """For every policy: attention moved by layer and head, and its patterns beside the base's."""
        heads = [f"head {head}" for head in range(self.patterns["base"].shape[2])]
        names = [f"layer {layer}" for layer in self.layers]
        parts = []
        for policy in self.patterns:
            if policy != "base":
                moved = self.get_moved(policy).mean(axis=0).tolist()
                parts.append(render_heat_map(moved, names, heads, f"{policy}: attention moved", most=1.0))
        rows = [f"{name} {head}" for name in names for head in heads]
        columns = [str(offset) for offset in self.key_offsets]
        for policy, pattern in self.patterns.items():
            mean = _mean_over_texts(pattern).reshape(len(rows), -1)
            parts.append(render_heat_map(mean.tolist(), rows, columns, f"{policy}: mean attention by key", most=1.0))
        return "".join(parts)

    def save(self, path: str | Path) -> Path:
        """Write the rows of `frame` and the mean patterns as JSON."""
        file = Path(path)
        means = {
            policy: [[[finite_or_none(v) for v in head] for head in layer] for layer in _mean_over_texts(p).tolist()]
            for policy, p in self.patterns.items()
        }
        document = {"query": self.query, "key_offsets": self.key_offsets, "rows": self._rows(), "patterns": means}
        file.write_text(json.dumps(document, allow_nan=False) + "\n")
        return file


def _mean_over_texts(pattern: np.ndarray) -> np.ndarray:
    known = ~np.isnan(pattern)
    total, count = np.where(known, pattern, 0.0).sum(axis=0), known.sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def compare_attention(
    model: BaseModel,
    policies: Mapping[str, Applies],
    prompts: Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    query: int = 0,
) -> AttentionComparison:
    """Compare attention patterns of policies with the base's, from one position.

    Args:
        query: offset of the position that attends, from the last prompt token (0).

    Raises:
        ElicitError: there is no policy, a prompt has no such position, or the architecture's patterns are not known.
    """
    if not policies or "base" in policies:
        raise ElicitError("compare_attention: give one policy or more, none named base: the base is always read.")
    chosen = tuple(range(model.n_layers)) if layers is None else tuple(sorted(set(layers)))
    options: dict[str, Any] = {"sites": "pattern", "layers": chosen, "positions": [query]}
    caches = {"base": model.cache(prompts, **options)}
    for name, policy in policies.items():
        with policy.apply():
            caches[name] = model.cache(prompts, **options)
    patterns = {
        name: np.stack([cache["pattern", layer][:, :, 0].float().numpy() for layer in chosen], axis=1)
        for name, cache in caches.items()
    }
    return AttentionComparison(chosen, query, caches["base"].key_offsets, patterns)
