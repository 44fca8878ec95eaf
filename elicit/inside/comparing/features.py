"""Features that a policy changes: a paired test for every feature of an SAE, with the false discovery rate controlled.

1. The base and the policy read the same texts; each text gives every feature's mean activation over some positions.
2. A feature is tested if it is active in either, on `least_texts` texts or more. 3. Its p value is that of a sign-flip
test of the paired differences (two-sided, the same flips for all features). 4. Benjamini and Hochberg's correction over
the tested features. That the test holds its rate where nothing differs is a test of the repository.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from elicit import seeds
from elicit.activations.methods import Applies
from elicit.errors import ElicitError
from elicit.inside.pictures import Cell, render_cells
from elicit.model import BaseModel
from elicit.statistics import false_discovery_correction
from saes.sae import SAE

if TYPE_CHECKING:
    import pandas as pd

FLIPS = 9999


@dataclass(frozen=True)
class FeatureChange:
    """One feature's mean activation under the base and under the policy."""

    feature: int
    base: float
    policy: float
    p: float
    q: float
    """Adjusted for the false discovery rate."""
    texts: int
    """Texts on which it is active in either."""

    @property
    def change(self) -> float:
        return self.policy - self.base


@dataclass(frozen=True)
class FeatureComparison:
    """Every tested feature, the largest changes first."""

    sae: str
    n: int
    """Texts."""
    changes: tuple[FeatureChange, ...]

    def significant(self, rate: float = 0.05) -> list[FeatureChange]:
        """Features that differ, at a false discovery rate."""
        return [change for change in self.changes if change.q <= rate]

    def frame(self) -> pd.DataFrame:
        """One row for every tested feature."""
        import pandas as pd

        columns = ["feature", "base", "policy", "change", "p", "q", "texts"]
        return pd.DataFrame(self._rows(), columns=columns)

    def _rows(self) -> list[dict[str, Any]]:
        return [{**vars(change), "change": change.change} for change in self.changes]

    def __repr__(self) -> str:
        significant = self.significant()
        count = f"{len(significant)} of {len(self.changes)} differ (q <= 0.05)"
        lines = [f"FeatureComparison({self.sae}, {self.n} texts): {count}"]
        for change in significant[:10]:
            means = f"{change.base:.3f} -> {change.policy:.3f} ({change.change:+.3f}, q {change.q:.2g})"
            lines.append(f"  feature {change.feature}: {means}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The twenty largest changes."""
        largest = self.changes[:20]
        most = max((abs(change.change) for change in largest), default=1.0) or 1.0
        cells = [
            [
                Cell(f"{change.base:.3f}", 0.0, "mean activation, base"),
                Cell(f"{change.policy:.3f}", 0.0, "mean activation, policy"),
                Cell(f"{change.change:+.3f}", abs(change.change) / most, f"p {change.p:.2g}"),
                Cell(f"{change.q:.2g}", 0.0, "adjusted p"),
            ]
            for change in largest
        ]
        names = [f"feature {change.feature}" for change in largest]
        summary = f"{len(self.significant())} of {len(self.changes)} features differ (q <= 0.05), {self.n} texts"
        return render_cells(cells, names, ["base", "policy", "change", "q"], f"{self.sae}: {summary}")

    def save(self, path: str | Path) -> Path:
        """Write the rows of `frame` as JSON."""
        file = Path(path)
        file.write_text(json.dumps({"sae": self.sae, "n": self.n, "rows": self._rows()}, indent=1) + "\n")
        return file


def compare_features(
    model: BaseModel,
    policy: Applies,
    sae: SAE,
    prompts: Sequence[str],
    completions: Sequence[str] | None = None,
    *,
    positions: str | Sequence[int] = (0,),
    least_texts: int = 6,
    seed: int = 0,
) -> FeatureComparison:
    """Test which features of an SAE a policy changes on the same texts.

    Args:
        positions: a position form, or offsets from the last prompt token (0), over which activations are averaged.
        least_texts: features active on fewer texts are not tested: a sign-flip test of five has p >= 0.06.
        seed: seed of the sign flips.

    Raises:
        ElicitError: an SAE of another width, or fewer texts than `least_texts`.
    """
    if sae.d_model != model.d_model or sae.layer >= model.n_layers:
        raise ElicitError(f"compare_features: this SAE reads layer {sae.layer}, width {sae.d_model}; not {model.name}.")
    if len(prompts) < least_texts:
        raise ElicitError(f"compare_features: {len(prompts)} texts; expected {least_texts} or more.")
    base = _mean_activations(model, sae, prompts, completions, positions)
    with policy.apply():
        changed = _mean_activations(model, sae, prompts, completions, positions)
    active = ((base > 0) | (changed > 0)).sum(axis=0)
    tested = np.flatnonzero(active >= least_texts)
    p_values = flip_signs(changed[:, tested] - base[:, tested], seed)
    q_values = false_discovery_correction(p_values)
    changes = [
        FeatureChange(int(f), float(base[:, f].mean()), float(changed[:, f].mean()), p, q, int(active[f]))
        for f, p, q in zip(tested, p_values, q_values, strict=True)
    ]
    ordered = sorted(changes, key=lambda change: (-abs(change.change), change.feature))
    return FeatureComparison(f"SAE at layer {sae.layer}, {sae.d_sae} features", len(prompts), tuple(ordered))


def flip_signs(differences: np.ndarray, seed: int) -> list[float]:
    """Two-sided p values of the columns of [text, feature], by flips that all columns share."""
    random = seeds.make_generator("feature sign flips", seed)
    observed = np.abs(differences.sum(axis=0))
    count = np.ones(differences.shape[1])
    for start in range(0, FLIPS, 500):
        flips = random.integers(0, 2, (min(500, FLIPS - start), len(differences))) * 2.0 - 1
        count += (np.abs(flips @ differences) >= observed * (1 - 1e-9)).sum(axis=0)
    return [float(value) for value in count / (FLIPS + 1)]


def _mean_activations(
    model: BaseModel,
    sae: SAE,
    prompts: Sequence[str],
    completions: Sequence[str] | None,
    positions: str | Sequence[int],
) -> np.ndarray:
    """[text, feature]"""
    cache = model.cache(prompts, completions, sites="resid_post", layers=[sae.layer], positions=positions)
    hidden = cache["resid_post", sae.layer]
    rows = []
    with torch.inference_mode():
        for text in hidden:
            known = text[~text.isnan().any(dim=-1)].float().to(sae.device)
            rows.append(sae.encode(known).mean(dim=0).cpu() if len(known) else torch.zeros(sae.d_sae))
    return torch.stack(rows).double().numpy()
