"""A comparison at every strength of a grid, computed beforehand: what a static page lets its reader slide through."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from elicit.errors import ElicitError
from elicit.model import BaseModel
from elicit.panel.comparison import SideBySide, compare_side_by_side, decoding_of, sample_unsteered
from elicit.panel.payload import comparison_to_json
from elicit.panel.static import load_assets, render_grid_fragment
from elicit.sampling import Decoding
from elicit.steering import Steering
from elicit.tasks import Problem, Task

_UNITS = {"add": "residual norms", "clamp": "residual norms", "scale": "×", "ablate": "×"}


class StrengthPoint(NamedTuple):
    """One strength of one edit."""

    strength: float
    absolute: float
    result: SideBySide


class StrengthSeries(NamedTuple):
    """One edit at several strengths, weakest (or most negative) first."""

    label: str
    unit: str
    """What strength counts: "residual norms", or "×" for a factor."""
    points: tuple[StrengthPoint, ...]


@dataclass(frozen=True)
class Grid:
    """Series of comparisons on the same prompts and random numbers. In a notebook it shows itself with a slider."""

    series: tuple[StrengthSeries, ...]
    start: float | None = None
    """The strength to show first; None is the largest."""

    def __repr__(self) -> str:
        lines = []
        for series in self.series:
            lines.append(series.label)
            for strength, absolute, result in series.points:
                right = result.count_right("steered")
                judged = "" if right is None else f"right {right} of {len(result.pairs)}, "
                lines.append(
                    f"  {strength:g} {series.unit} (absolute {absolute:.4g}): {judged}"
                    f"KL(steered||base) {result.mean_kl:.3g} nats a token, {result.firings} firings"
                )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the page's script, which a run directory can keep."""
        return {
            "start": self.start,
            "series": [
                {
                    "label": series.label,
                    "unit": series.unit,
                    "points": [
                        {"strength": strength, "absolute": absolute, "view": comparison_to_json(result)}
                        for strength, absolute, result in series.points
                    ],
                }
                for series in self.series
            ],
        }

    def _repr_html_(self) -> str:
        loaded = load_assets()
        return f"<style>{loaded.style}</style>{render_grid_fragment(self)}<script>{loaded.script}</script>"


def compare_strengths(
    model: BaseModel,
    edits: Mapping[str, Steering] | Steering,
    strengths: Sequence[float],
    prompts: Sequence[str | Problem],
    *,
    task: Task | None = None,
    decoding: Decoding | None = None,
    seed: int = 0,
    start: float | None = None,
) -> Grid:
    """Compare every edit with the unsteered model at every strength.

    Args:
        edits: name -> edit, such as a feature and its controls. Their own strengths are replaced; an edit that ablates
            has no strength and gets one point.

    Raises:
        ElicitError: nothing to compare, or what `compare` refuses.
    """
    labelled_edits = {edits.label: edits} if isinstance(edits, Steering) else dict(edits)
    if not labelled_edits or not strengths or not prompts:
        raise ElicitError("grid: give at least one edit, one strength and one prompt.")
    chosen = decoding or decoding_of(task)
    texts = [item if isinstance(item, str) else item.prompt for item in prompts]
    base = sample_unsteered(model, texts, chosen, seed)
    series = []
    for label, edit in labelled_edits.items():
        points = []
        for strength in [1.0] if edit.mode == "ablate" else sorted(set(map(float, strengths))):
            item = dataclasses.replace(edit, strength=strength)
            result = compare_side_by_side(model, [item], prompts, task=task, decoding=chosen, seed=seed, base=base)
            points.append(StrengthPoint(strength, item.absolute, result))
        series.append(StrengthSeries(label, _UNITS[edit.mode], tuple(points)))
    return Grid(tuple(series), start)
