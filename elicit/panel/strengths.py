"""A comparison at every strength of a grid, computed beforehand: what a static page lets its reader slide through."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from elicit.errors import ElicitError
from elicit.model import BaseModel
from elicit.panel.comparison import SideBySide, compare, decoding_of, unsteered_of
from elicit.sampling import Decoding
from elicit.steering import Steering
from elicit.tasks import Problem, Task

_UNITS = {"add": "residual norms", "clamp": "residual norms", "scale": "×", "ablate": "×"}


class Point(NamedTuple):
    """One strength of one edit."""

    strength: float
    absolute: float
    result: SideBySide


class Series(NamedTuple):
    """One edit at several strengths, weakest (or most negative) first."""

    label: str
    unit: str
    """What strength counts: "residual norms", or "×" for a factor."""
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Grid:
    """Series of comparisons on the same prompts and random numbers. In a notebook it shows itself with a slider."""

    series: tuple[Series, ...]
    start: float | None = None
    """The strength to show first; None is the largest."""

    def __repr__(self) -> str:
        lines = []
        for one in self.series:
            lines.append(one.label)
            for strength, absolute, result in one.points:
                right = result.right("steered")
                judged = "" if right is None else f"right {right} of {len(result.pairs)}, "
                lines.append(
                    f"  {strength:g} {one.unit} (absolute {absolute:.4g}): {judged}"
                    f"KL(steered||base) {result.mean_kl:.3g} nats a token, {result.firings} firings"
                )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from elicit.panel.static import assets, fragment

        loaded = assets()
        return f"<style>{loaded.style}</style>{fragment(self)}<script>{loaded.script}</script>"


def grid(
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
    named = {edits.label: edits} if isinstance(edits, Steering) else dict(edits)
    if not named or not strengths or not prompts:
        raise ElicitError("grid: give at least one edit, one strength and one prompt.")
    chosen = decoding or decoding_of(task)
    texts = [one if isinstance(one, str) else one.prompt for one in prompts]
    base = unsteered_of(model, texts, chosen, seed)
    series = []
    for label, edit in named.items():
        points = []
        for strength in [1.0] if edit.mode == "ablate" else sorted(set(map(float, strengths))):
            one = dataclasses.replace(edit, strength=strength)
            result = compare(model, [one], prompts, task=task, decoding=chosen, seed=seed, base=base)
            points.append(Point(strength, one.absolute, result))
        series.append(Series(label, _UNITS[edit.mode], tuple(points)))
    return Grid(tuple(series), start)
