"""Training steps on a logarithmic axis with the untrained base at its left, and shares or amounts upwards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from elicit.report.charts import svg
from elicit.report.data.number_format import plain

_BASE = 0.13
"""Share of the axis between the base at 0 and the first step: 0 has no place on a logarithmic axis."""


class Steps(NamedTuple):
    """The horizontal axis."""

    left: float
    right: float
    first: float
    last: float

    def x(self, step: float) -> float:
        """Where a step is; what lies between 0 and the first one is set in proportion."""
        width = self.right - self.left
        start = self.left + _BASE * width
        if step <= self.first:
            return self.left + max(step, 0.0) / self.first * _BASE * width
        span = math.log(self.last / self.first)
        share = math.log(step / self.first) / span if span > 0 else 0.0
        return start + min(share, 1.0) * (self.right - start)

    def around(self, low: float, high: float, steps: Sequence[float]) -> tuple[float, float]:
        """From where to where a stretch of measured steps reaches: half way to its neighbours."""
        before = max((step for step in steps if step < low), default=low)
        after = min((step for step in steps if step > high), default=high)
        return (self.x(before) + self.x(low)) / 2, (self.x(high) + self.x(after)) / 2

    def ticks(self, steps: Iterable[float], y: float, *, size: float = 11) -> list[str]:
        """Marks at the steps that were measured, named where there is room; a break between 0 and the first."""
        body = []
        edge = -math.inf
        for step in sorted(set(steps)):
            x = self.x(step)
            body.append(svg.line(x, y, x, y + 3, opacity=0.5))
            name = plain(step, 0)
            half = size * 0.29 * len(name)
            if x - half > edge + 4:
                edge = x + half
                body.append(svg.text(x, y + 4 + size, name, anchor="middle", size=size, opacity=0.75))
        gap = self.left + _BASE / 2 * (self.right - self.left)
        body += [svg.line(gap + d, y + 4, gap + d + 3, y - 4, opacity=0.6) for d in (-3.5, 0.5)]
        return body


def steps_axis(left: float, right: float, steps: Iterable[float]) -> Steps:
    trained = [step for step in steps if step > 0]
    return Steps(left, right, min(trained, default=1.0), max(trained, default=1.0))


class Heights(NamedTuple):
    """The vertical axis."""

    top: float
    bottom: float
    low: float
    high: float

    def y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return self.bottom - (inside - self.low) / max(self.high - self.low, 1e-12) * (self.bottom - self.top)


def range_of(values: Iterable[float], *, least: float, within: tuple[float, float]) -> tuple[float, float]:
    """An axis that holds all values with some room and spans at least `least`, inside `within`."""
    known = list(values) or [0.0]
    low, high = min(known), max(known)
    room = 0.06 * (high - low)
    low, high = low - room, high + room
    short = max(0.0, least - (high - low))
    low, high = max(within[0], low - short / 2), min(within[1], high + short / 2)
    return (low, min(within[1], low + least)) if high - low < least else (low, high)


def band(lower: Sequence[tuple[float, float]], upper: Sequence[tuple[float, float]], *, colour: str) -> str:
    """The area between two lines."""
    around = [*lower, *reversed(upper)]
    steps = " ".join(f"{'M' if i == 0 else 'L'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(around))
    return f'<path d="{steps}Z" fill="{colour}" opacity="0.15"/>'
