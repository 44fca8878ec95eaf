"""Training steps on a logarithmic axis with the untrained base at its left, and shares or amounts upwards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from elicit.report.charts import svg
from elicit.report.data.number_format import format_number

_BASE_SHARE = 0.13
"""Share of the axis between the base at 0 and the first step, since 0 cannot lie on a logarithmic axis."""


class StepAxis(NamedTuple):
    """The horizontal axis."""

    left: float
    right: float
    first: float
    last: float

    def to_x(self, step: float) -> float:
        """The x coordinate of a step; steps below the first one are placed in proportion."""
        width = self.right - self.left
        start = self.left + _BASE_SHARE * width
        if step <= self.first:
            return self.left + max(step, 0.0) / self.first * _BASE_SHARE * width
        span = math.log(self.last / self.first)
        share = math.log(step / self.first) / span if span > 0 else 0.0
        return start + min(share, 1.0) * (self.right - start)

    def span_of(self, low: float, high: float, steps: Sequence[float]) -> tuple[float, float]:
        """From where to where a stretch of measured steps reaches: half way to its neighbours."""
        before = max((step for step in steps if step < low), default=low)
        after = min((step for step in steps if step > high), default=high)
        return (self.to_x(before) + self.to_x(low)) / 2, (self.to_x(high) + self.to_x(after)) / 2

    def draw_ticks(self, steps: Iterable[float], y: float, *, size: float = 11) -> list[str]:
        """Marks at the steps that were measured, named where there is room; a break between 0 and the first."""
        body = []
        last_edge = -math.inf
        for step in sorted(set(steps)):
            x = self.to_x(step)
            body.append(svg.draw_line(x, y, x, y + 3, opacity=0.5))
            name = format_number(step, 0)
            half = size * 0.29 * len(name)
            if x - half > last_edge + 4:
                last_edge = x + half
                body.append(svg.draw_text(x, y + 4 + size, name, anchor="middle", size=size, opacity=0.75))
        gap = self.left + _BASE_SHARE / 2 * (self.right - self.left)
        body += [svg.draw_line(gap + d, y + 4, gap + d + 3, y - 4, opacity=0.6) for d in (-3.5, 0.5)]
        return body


def build_step_axis(left: float, right: float, steps: Iterable[float]) -> StepAxis:
    training_steps = [step for step in steps if step > 0]
    return StepAxis(left, right, min(training_steps, default=1.0), max(training_steps, default=1.0))


class ValueAxis(NamedTuple):
    """The vertical axis."""

    top: float
    bottom: float
    low: float
    high: float

    def to_y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return self.bottom - (inside - self.low) / max(self.high - self.low, 1e-12) * (self.bottom - self.top)


def fit_axis_range(values: Iterable[float], *, minimum_span: float, limits: tuple[float, float]) -> tuple[float, float]:
    """An axis that holds all values with some room and spans at least `least`, inside `within`."""
    measured = list(values) or [0.0]
    low, high = min(measured), max(measured)
    margin = 0.06 * (high - low)
    low, high = low - margin, high + margin
    missing_span = max(0.0, minimum_span - (high - low))
    low, high = max(limits[0], low - missing_span / 2), min(limits[1], high + missing_span / 2)
    return (low, min(limits[1], low + minimum_span)) if high - low < minimum_span else (low, high)


def draw_band(lower: Sequence[tuple[float, float]], upper: Sequence[tuple[float, float]], *, colour: str) -> str:
    """The area between two lines."""
    outline = [*lower, *reversed(upper)]
    commands = " ".join(f"{'M' if i == 0 else 'L'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(outline))
    return f'<path d="{commands}Z" fill="{colour}" opacity="0.15"/>'
