"""Results of patching: numbers for every prompt, their means with intervals, a heat map, a file."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elicit.activations.heat_map import render_heat_map
from elicit.activations.sites import Site
from elicit.schema import Estimate
from elicit.statistics import estimate_mean
from elicit.statistics.paired import tango_interval

if TYPE_CHECKING:
    import pandas as pd

#: `patched` and the controls.
KINDS = ("patched", "shuffled", "mean")


@dataclass(frozen=True, eq=False)
class PatchSweep:
    """The measures after every patch, one site and one offset at a time."""

    measures: tuple[str, ...]
    kinds: tuple[str, ...]
    """What was put there: the source's activation ("patched"), or a control's."""
    sites: tuple[Site, ...]
    offsets: tuple[int, ...]
    """Positions, from the last prompt token."""
    tokens: tuple[str, ...]
    """The token at every offset, where all target prompts have the same one."""
    patched: np.ndarray
    """[kind, site, offset, prompt, measure]"""
    target: np.ndarray
    """Without a patch: [prompt, measure]."""
    source: np.ndarray | None
    """Of the source run: [prompt, measure]; None where it is not known."""

    def get_effects(self, kind: str = "patched", measure: str | None = None) -> np.ndarray:
        """Patched less unpatched: [site, offset, prompt]."""
        m = 0 if measure is None else self.measures.index(measure)
        return np.asarray(self.patched[self.kinds.index(kind), ..., m] - self.target[:, m])

    def get_shares(self, kind: str = "patched", measure: str | None = None) -> np.ndarray:
        """Mean effect as a share of source less target: [site, offset]; NaN where the source is not known."""
        m = 0 if measure is None else self.measures.index(measure)
        gap = np.nan if self.source is None else float((self.source[:, m] - self.target[:, m]).mean())
        return np.asarray(self.get_effects(kind, measure).mean(axis=-1) / (gap if gap else np.nan))

    def frame(self) -> pd.DataFrame:
        """One row for every kind, site, offset and measure: mean effect [low, high] (95 %), share, n."""
        import pandas as pd

        rows = []
        for measure in self.measures:
            for kind in self.kinds:
                effects, shares = self.get_effects(kind, measure), self.get_shares(kind, measure)
                for s, site in enumerate(self.sites):
                    for o, offset in enumerate(self.offsets):
                        estimate = _estimate_effect(effects[s, o])
                        where = (measure, kind, site.name, site.layer, site.head, offset, self.tokens[o])
                        interval = (estimate.value, *(estimate.ci or (math.nan, math.nan)))
                        rows.append((*where, *interval, shares[s, o], effects.shape[-1]))
        columns = ["measure", "kind", "site", "layer", "head", "offset", "token", "effect", "low", "high", "share", "n"]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        lines = [f"PatchSweep({len(self.target)} prompts, {len(self.sites)} sites, {len(self.offsets)} offsets)"]
        for m, measure in enumerate(self.measures):
            source = "" if self.source is None else f", source {self.source[:, m].mean():.3f}"
            lines.append(f"  {measure}: target {self.target[:, m].mean():.3f}{source}")
            for kind in self.kinds:
                effects = self.get_effects(kind, measure)
                means = effects.mean(axis=-1)
                s, o = np.unravel_index(np.nanargmax(np.abs(means)), means.shape)
                estimate = _estimate_effect(effects[s, o])
                place = f"{self.sites[s]}, offset {self.offsets[o]}"
                ci = "" if estimate.ci is None else f" [{estimate.ci[0]:+.3f}, {estimate.ci[1]:+.3f}]"
                lines.append(f"    {kind}: largest effect {estimate.value:+.3f}{ci} at {place}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A heat map of mean effects for every measure and kind, on one scale."""
        columns = [f"{offset} {token}".strip() for offset, token in zip(self.offsets, self.tokens, strict=True)]
        parts = []
        for m, measure in enumerate(self.measures):
            means = [self.get_effects(kind, measure).mean(axis=-1) for kind in self.kinds]
            most = float(np.nanmax(np.abs(np.stack(means))))
            source = "" if self.source is None else f", source {self.source[:, m].mean():.3f}"
            for kind, values in zip(self.kinds, means, strict=True):
                title = f"{measure}, {kind} (target {self.target[:, m].mean():.3f}{source}, n = {len(self.target)})"
                parts.append(render_heat_map(values.tolist(), [str(s) for s in self.sites], columns, title, most=most))
        return "".join(parts)

    def save(self, path: str | Path) -> Path:
        """Write the means with intervals and every prompt's numbers as JSON."""
        file = Path(path)
        document = {
            "measures": self.measures,
            "kinds": self.kinds,
            "sites": [str(site) for site in self.sites],
            "offsets": self.offsets,
            "tokens": self.tokens,
            "target": self.target.tolist(),
            "source": None if self.source is None else self.source.tolist(),
            "patched": self.patched.tolist(),
        }
        file.write_text(json.dumps(document) + "\n")
        return file


def _estimate_effect(effects: np.ndarray) -> Estimate:
    """Mean effect over prompts: with Tango's interval for a difference of two proportions where all are -1, 0 or 1."""
    estimate = estimate_mean(effects)
    if len(effects) < 2 or not np.isin(effects, (-1.0, 0.0, 1.0)).all():
        return estimate
    interval = tango_interval(int((effects == 1).sum()), int((effects == -1).sum()), len(effects))
    return Estimate(estimate.value, estimate.n, interval)
