"""Dose-response of a steering arm: one small chart a layer. Static SVG with tooltips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from elicit.report.charts import svg
from elicit.report.data.display_text import one_line
from elicit.report.data.number_format import interval, percent, plain
from elicit.report.data.summary_view import Figure, dig, estimate, number
from elicit.text import escape

CHARTS = 8
"""At most so many charts an arm: the chosen one and those of highest accuracy, in the order they were tried."""
_WIDTH, _HEIGHT = 224, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 214, 30, 138


class _Series(NamedTuple):
    name: str
    points: Sequence[tuple[float, Figure, str]]
    """(place on the x axis from 0 to 1, accuracy, what x is)."""
    colour: str
    kind: svg.Mark | None
    dash: str = ""


def swatches(entries: Sequence[tuple[str, svg.Mark | None, str, str]]) -> str:
    """A legend: (name, mark, colour, dash) of each line."""
    found = []
    for name, kind, colour, dash in entries:
        body = [svg.line(1, 7, 27, 7, colour=colour, width=1.6, dash=dash)] if dash != "none" else []
        body += [svg.mark(kind, 14, 7, colour=colour, size=4)] if kind else []
        found.append(f'<span class="swatch">{svg.svg(28, 14, body, label="")} {escape(name)}</span>')
    return f'<p class="legend">{" ".join(found)}</p>'


def _axes(title: str, x_label: str, ticks: Sequence[tuple[float, str]]) -> list[str]:
    body = [svg.text(_LEFT, 16, _tail(title), weight=600, title=title)]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = _y(share)
        body.append(svg.line(_LEFT, y, _RIGHT, y, opacity=0.45 if share == 0 else 0.13))
        if share in (0, 0.5, 1):
            body.append(svg.text(_LEFT - 5, y + 4, f"{100 * share:.0f}", anchor="end", size=10.5, opacity=0.7))
    for place, name in ticks:
        x = _x(place)
        body.append(svg.line(x, _BOTTOM, x, _BOTTOM + 3, opacity=0.45))
        body.append(svg.text(x, _BOTTOM + 15, name, anchor="middle", size=10.5, opacity=0.7))
    body.append(svg.text((_LEFT + _RIGHT) / 2, _BOTTOM + 31, x_label, anchor="middle", size=11, opacity=0.7))
    return body


def _tail(name: str, limit: int = 25) -> str:
    """The end of a long name: what tells a control from its parent."""
    shown = one_line(name, 500)
    return shown if len(shown) <= limit else "…" + shown[1 - limit :]


def _x(place: float) -> float:
    return _LEFT + 8 + place * (_RIGHT - _LEFT - 16)


def _y(share: float) -> float:
    return _BOTTOM - min(max(share, 0.0), 1.0) * (_BOTTOM - _TOP)


def _drawn(series: _Series) -> list[str]:
    known = [(place, figure, name) for place, figure, name in series.points if figure.value is not None]
    body = (
        [svg.path([(_x(p), _y(f.value or 0.0)) for p, f, _ in known], colour=series.colour, dash=series.dash)]
        if len(known) > 1 and series.dash != "none"
        else []
    )
    for place, figure, name in known:
        x, y = _x(place), _y(figure.value or 0.0)
        title = f"{series.name}, {name}: {percent(figure.value)} % {interval(figure)}"
        title += "" if figure.n is None else f", n = {figure.n}"
        if figure.low is not None and figure.high is not None:
            body.append(svg.line(x, _y(figure.low), x, _y(figure.high), colour=series.colour, width=1.4, opacity=0.6))
        body.append(
            svg.mark(series.kind or "circle", x, y, colour=series.colour, size=3.6 if series.kind else 1.6, title=title)
        )
    return body


def dose_response(arm: str, seed: int, record: Mapping[str, Any]) -> str:
    """One chart a layer: accuracy and trace rate over strength; empty if the record holds no curve."""
    listed = record.get("dose_response")
    curve = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    strengths = sorted({s for entry in curve if (s := number(entry.get("strength"))) is not None})
    if not strengths:
        return ""
    chosen = record.get("chosen")
    groups = list(dict.fromkeys(_group(entry) for entry in curve))
    best = {g: max(number(e.get("accuracy")) or 0.0 for e in curve if _group(e) == g) for g in groups}
    mine_first = _group(chosen) if isinstance(chosen, Mapping) else ""
    drawn = sorted(groups, key=lambda g: (g != mine_first, -best[g]))[:CHARTS]
    places = {s: i / max(1, len(strengths) - 1) for i, s in enumerate(strengths)}
    charts = []
    for group in (group for group in groups if group in drawn):
        mine = [entry for entry in curve if _group(entry) == group and number(entry.get("strength")) in places]
        mine.sort(key=lambda entry: float(entry["strength"]))
        if not mine:
            continue
        body = _axes(group, f"strength, {_unit(mine[0])}", [(places[s], f"{s:g}") for s in strengths])
        body += _drawn(_Series("accuracy", [_dose(e, places, "accuracy") for e in mine], svg.BLUE, "circle"))
        body += _drawn(_Series("traces", [_dose(e, places, "trace_rate") for e in mine], svg.ORANGE, "hollow", "3 3"))
        body += [_ring(entry, places) for entry in mine if entry == chosen]
        charts.append(svg.svg(_WIDTH, _HEIGHT, body, label=f"{arm}, {group}: accuracy over strength"))
    split, n = dig(record, "chosen_on", "split") or "select", dig(record, "chosen_on", "n")
    note = f"{escape(arm)}, seed {seed}. Chosen on the {escape(split)} split"
    if isinstance(chosen, Mapping):
        strength, absolute = number(chosen.get("strength")), number(chosen.get("absolute"))
        note += (
            f" (n = {escape(n)}): {escape(_group(chosen))}, strength {plain(strength, 2)} {_unit(chosen)} "
            f"(absolute {plain(absolute)}), accuracy there {_spoken(_accuracy(chosen))}."
        )
    if len(drawn) < len(groups):
        note += f" {len(groups) - len(drawn)} further combinations did no better and are not drawn."
    if len({entry.get("accuracy") for entry in curve}) == 1 < len(curve):
        note += " No point did better than another, so this choice says nothing: the smallest strength is taken."
    return f'<div class="charts">{"".join(charts)}</div><p class="note">{note}</p>'


def _group(entry: Mapping[str, Any]) -> str:
    """What is the same along one curve: the layer, and where several were tried, features, mode and positions."""
    parts = [f"layer {entry.get('layer')}"]
    features = entry.get("features")
    if isinstance(features, list):
        parts.append("feature " + "+".join(map(str, features)))
    mode, positions = entry.get("mode", "add"), entry.get("positions", "first")
    parts += [str(part) for part, usual in ((mode, "add"), (positions, "first")) if part != usual]
    return ", ".join(parts)


def _unit(entry: Mapping[str, Any]) -> str:
    return "cued activations" if entry.get("mode") == "clamp" else "residual norms"


def _accuracy(entry: Mapping[str, Any]) -> Figure:
    return estimate({"value": entry.get("accuracy"), "ci": entry.get("ci"), "n": entry.get("n")})


def _spoken(figure: Figure) -> str:
    return f"{percent(figure.value)} % {interval(figure)}".strip()


def _dose(entry: Mapping[str, Any], places: Mapping[float, float], key: str) -> tuple[float, Figure, str]:
    strength = float(entry["strength"])
    trace = {"value": entry.get("trace_rate"), "ci": entry.get("trace_ci"), "n": entry.get("n")}
    figure = _accuracy(entry) if key == "accuracy" else estimate(trace)
    return places[strength], figure, f"strength {strength:g} (absolute {plain(number(entry.get('absolute')))})"


def _ring(entry: Mapping[str, Any], places: Mapping[float, float]) -> str:
    value = number(entry.get("accuracy"))
    if value is None:
        return ""
    x, y = _x(places[float(entry["strength"])]), _y(value)
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" fill="none" stroke="currentColor" stroke-width="1.5"/>' + svg.text(
        x - 12 if x > 150 else x + 12,
        y + (18 if value > 0.5 else -10),
        "chosen",
        anchor="end" if x > 150 else "start",
        size=11,
    )
