"""The forest plot: every arm's paired difference to SFT, one panel a model, all on one scale.

A static SVG (see `svg` for why it is drawn by hand). Filled circles are inference-time arms, squares trained ones,
hollow circles controls, diamonds ceilings, a tick the base; the shaded band is the gap from the base to the ceiling,
where the summary does not withhold it. Without an SFT arm the differences are to the base, and the axis says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from elicit.report import svg
from elicit.report.figures import Arm, Panel, Versus, interval, p_value, panels, percent
from elicit.text import visible

Key = Literal["vs_sft", "vs_base"]

WIDTH, ROW = 980, 25
_LABEL, _ACCURACY, _LEFT, _RIGHT = 0, 300, 330, 745
_DIFFERENCE, _P = 905, 980
_LOOKS: dict[str, tuple[svg.Mark, str]] = {
    "trained": ("square", svg.ORANGE),
    "base": ("tick", svg.GREY),
    "ceiling": ("diamond", svg.GREEN),
    "control": ("hollow", svg.GREY),
    "arm": ("circle", svg.BLUE),
}
_LEGEND = (
    ("arm", "inference-time arm"),
    ("trained", "trained arm"),
    ("control", "control"),
    ("ceiling", "ceiling"),
    ("base", "base"),
)


class _Scale(NamedTuple):
    low: float
    high: float

    def x(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return _LEFT + (inside - self.low) / (self.high - self.low) * (_RIGHT - _LEFT)


def fragment(summary: Mapping[str, Any]) -> str:
    """The plot with its caption, for a page or a notebook."""
    key = reference_of(summary)
    return (
        f'<figure style="margin:0;overflow-x:auto">{picture(summary)}<figcaption style="font-size:.85em;opacity:.8">'
        f"{caption(summary, key)}</figcaption></figure>"
    )


def standalone_svg(summary: Mapping[str, Any]) -> str:
    """The plot as a file of its own: with a background, light or dark as the reader's system is set."""
    head = (
        "<style>svg{color:#1c2024;background:#fff}"
        "@media(prefers-color-scheme:dark){svg{color:#e3e6ea;background:#14171b}}</style>"
    )
    drawn = picture(summary, margin=18)
    end = drawn.index(">") + 1
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + drawn[:end] + head + drawn[end:] + "\n"


def reference_of(summary: Mapping[str, Any]) -> Key:
    """SFT where any arm has a difference to it, else the base."""
    arms = [arm for panel in panels(summary) for arm in panel.arms]
    return "vs_sft" if any(arm.versus("vs_sft").figure.value is not None for arm in arms) else "vs_base"


def caption(summary: Mapping[str, Any], key: Key) -> str:
    """What the intervals are, with n and seeds."""
    tests: dict[str, None] = {}
    for panel in panels(summary):
        tests.update({arm.versus(key).test: None for arm in panel.arms if arm.versus(key).test})
    known = ", ".join(visible(test) for test in tests) or "none"
    seeds = summary.get("seeds")
    limited = f" LIMITED to {summary['limit']} test problems." if summary.get("limit") is not None else ""
    return (
        f"Paired difference in accuracy to {'SFT' if key == 'vs_sft' else 'the base'}, in percentage points, with 95 % "
        f"intervals. Tests: {known}; p after Holm over the arms of a model. Run seeds: {seeds}; arms that do not "
        f"depend on a seed have one run.{limited} Shaded: from the base to the ceiling."
    )


def picture(summary: Mapping[str, Any], margin: float = 0) -> str:
    """The SVG alone."""
    found, key = panels(summary), reference_of(summary)
    scale = _scale(found, key)
    y, body = 24.0 + margin, _legend(16.0 + margin)
    y += 22
    for panel in found:
        drawn, y = _panel(panel, key, scale, y)
        body += drawn
    if not found:
        body.append(svg.text(_LABEL, y, "The summary holds no model."))
    inner = f'<g transform="translate({margin:g} 0)">' + "".join(body) + "</g>" if margin else "".join(body)
    label = f"Forest plot: paired difference to {'SFT' if key == 'vs_sft' else 'the base'} of every arm"
    return svg.svg(WIDTH + 2 * margin, y + margin, [inner], label=label)


def _scale(found: Sequence[Panel], key: Key) -> _Scale:
    """One scale for all panels, with some air, within -100 to 100 points."""
    values = [0.0]
    for panel in found:
        for arm in panel.arms:
            figure = arm.versus(key).figure
            values += [bound for bound in (figure.value, figure.low, figure.high) if bound is not None]
    low, high = min(values), max(values)
    air = max(0.04 * (high - low), 0.01)
    return _Scale(max(low - air, -1.05), min(high + air, 1.05))


def _legend(y: float) -> list[str]:
    body, x = [], 8.0
    for role, name in _LEGEND:
        kind, colour = _LOOKS[role]
        body += [svg.mark(kind, x, y - 4, colour=colour), svg.text(x + 11, y, name, opacity=0.75)]
        x += 34 + 6.4 * len(name)
    return body


def _panel(panel: Panel, key: Key, scale: _Scale, y: float) -> tuple[list[str], float]:
    """One model's rows, and where the next panel starts."""
    top, bottom = y + 30, y + 30 + ROW * len(panel.arms)
    body = [
        svg.text(_LABEL, y + 8, _clip(panel.model, 26), size=14, weight=650, title=panel.model),
        svg.text(_LABEL, y + 24, f"{_clip(panel.task, 30)}, n = {panel.n} problems", opacity=0.7),
        svg.text(_ACCURACY, y + 24, "accuracy", anchor="end", opacity=0.7),
        svg.text(scale.x(0), y + 24, "0 = " + ("SFT" if key == "vs_sft" else "base"), anchor="middle", opacity=0.7),
        svg.text(
            _DIFFERENCE,
            y + 24,
            "points to " + ("SFT" if key == "vs_sft" else "base") + " [95 %]",
            anchor="end",
            opacity=0.7,
        ),
        svg.text(_P, y + 24, "Holm p", anchor="end", opacity=0.7),
    ]
    body += _grid(scale, top, bottom) + _band(panel, key, scale, top, bottom)
    for i, arm in enumerate(panel.arms):
        body += _row(arm, key, scale, top + ROW * i + ROW / 2)
    return body, bottom + 42


def _grid(scale: _Scale, top: float, bottom: float) -> list[str]:
    body = []
    for tick in svg.ticks(100 * scale.low, 100 * scale.high):
        x = scale.x(tick / 100)
        zero = tick == 0
        body.append(svg.line(x, top, x, bottom, opacity=0.75 if zero else 0.13, width=1.2 if zero else 1))
        places = 0 if float(tick).is_integer() else 1
        body.append(
            svg.text(x, bottom + 15, percent(tick / 100, places, signed=True), anchor="middle", size=11, opacity=0.7)
        )
    return body


def _band(panel: Panel, key: Key, scale: _Scale, top: float, bottom: float) -> list[str]:
    """The gap from the base to the ceiling, where it is not withheld."""
    ceiling = next((arm for arm in panel.arms if panel.top is not None and arm.name == panel.top.get("arm")), None)
    if ceiling is None or panel.base is None or all(arm.gap.value is None for arm in panel.arms):
        return []
    high = ceiling.versus(key).figure.value
    low = panel.base.versus(key).figure.value if key == "vs_sft" else 0.0
    if low is None or high is None:
        return []
    return [svg.box(scale.x(low), top, scale.x(high) - scale.x(low), bottom - top, colour=svg.GREEN, opacity=0.09)]


def _row(arm: Arm, key: Key, scale: _Scale, y: float) -> list[str]:
    inset = 18 if arm.parent is not None else 0
    name = _clip(arm.short, 34)
    body = [
        svg.text(
            _LABEL + inset, y + 4, name, title=f"{arm.name}: {arm.data.get('method')}", opacity=0.85 if inset else 1
        ),
        svg.text(
            _ACCURACY,
            y + 4,
            percent(arm.accuracy.value) + (" %" if arm.accuracy.value is not None else ""),
            anchor="end",
        ),
    ]
    if arm.role == ("reference" if key == "vs_sft" else "base") and arm.accuracy.value is not None:
        body.append(_point(arm, scale.x(0), y, f"{arm.name}: the reference"))
        return [*body, svg.text(_DIFFERENCE, y + 4, "reference", anchor="end", opacity=0.7)]
    found = arm.versus(key)
    figure, value, (_, colour) = found.figure, found.figure.value, _look(arm)
    if value is None:
        reason = arm.status if arm.status != "done" else "not known"
        return [*body, svg.text(_DIFFERENCE, y + 4, reason, anchor="end", opacity=0.7)]
    if figure.bounded:
        low, high = (
            scale.x(-2 if figure.low is None else figure.low),
            scale.x(2 if figure.high is None else figure.high),
        )
        body.append(svg.line(low, y, high, y, colour=colour, width=2))
        body += [svg.line(x, y - 4, x, y + 4, colour=colour, width=1.5) for x in (low, high)]
    body.append(_point(arm, scale.x(value), y, _tooltip(arm, found)))
    shown = f"{percent(figure.value, signed=True)} {interval(figure, signed=True)}"
    body.append(svg.text(_DIFFERENCE, y + 4, shown.strip(), anchor="end"))
    body.append(svg.text(_P, y + 4, p_value(found.p_holm), anchor="end", opacity=0.8))
    return body


def _look(arm: Arm) -> tuple[svg.Mark, str]:
    trained = arm.role == "reference" or (arm.trained and arm.role == "arm")
    return _LOOKS["trained" if trained else arm.role]


def _point(arm: Arm, x: float, y: float, title: str) -> str:
    kind, colour = _look(arm)
    return svg.mark(kind, x, y, colour=colour, size=5, title=title)


def _tooltip(arm: Arm, found: Versus) -> str:
    seeds = " against ".join(str(count) for count in found.seeds)
    figure = found.figure
    return (
        f"{arm.name}: {percent(figure.value, signed=True)} points {interval(figure, signed=True)}; {found.test}; "
        f"n = {figure.n} problems; seeds {seeds}; p = {p_value(found.p)}, Holm {p_value(found.p_holm)}. {found.note}"
    ).strip()


def _clip(name: str, limit: int) -> str:
    shown = visible(name)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
