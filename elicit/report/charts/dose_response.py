"""Dose-response of a steering arm: one small chart a layer. Static SVG with tooltips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from elicit.report.charts import svg
from elicit.report.data.display_text import fold_onto_line
from elicit.report.data.number_format import format_interval, format_number, format_percent
from elicit.report.data.summary_view import OptionalEstimate, get_nested, parse_estimate, read_finite_number
from elicit.text import escape_html

MAX_CHARTS = 8
"""At most so many charts an arm: the chosen one and those of highest accuracy, in the order they were tried."""
_WIDTH, _HEIGHT = 224, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 214, 30, 138


class _DoseSeries(NamedTuple):
    name: str
    points: Sequence[tuple[float, OptionalEstimate, str]]
    """(place on the x axis from 0 to 1, accuracy, what x is)."""
    colour: str
    kind: svg.MarkShape | None
    dash: str = ""


LegendEntry = tuple[str, svg.MarkShape | None, str, str]
"""(name, mark, colour, dash) of a line."""


def render_legend(entries: Sequence[LegendEntry]) -> str:
    """A legend, an entry a line."""
    items = []
    for name, kind, colour, dash in entries:
        body = [svg.draw_line(1, 7, 27, 7, colour=colour, width=1.6, dash=dash)] if dash != "none" else []
        body += [svg.draw_mark(kind, 14, 7, colour=colour, size=4)] if kind else []
        items.append(f'<span class="swatch">{svg.render_svg(28, 14, body, label="")} {escape_html(name)}</span>')
    return f'<p class="legend">{" ".join(items)}</p>'


def _draw_dose_axes(title: str, x_label: str, ticks: Sequence[tuple[float, str]]) -> list[str]:
    body = [svg.draw_text(_LEFT, 16, _clip_to_tail(title), weight=600, title=title)]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = _share_to_y(share)
        body.append(svg.draw_line(_LEFT, y, _RIGHT, y, opacity=0.45 if share == 0 else 0.13))
        if share in (0, 0.5, 1):
            body.append(svg.draw_text(_LEFT - 5, y + 4, f"{100 * share:.0f}", anchor="end", size=10.5, opacity=0.7))
    for position, name in ticks:
        x = _position_to_x(position)
        body.append(svg.draw_line(x, _BOTTOM, x, _BOTTOM + 3, opacity=0.45))
        body.append(svg.draw_text(x, _BOTTOM + 15, name, anchor="middle", size=10.5, opacity=0.7))
    body.append(svg.draw_text((_LEFT + _RIGHT) / 2, _BOTTOM + 31, x_label, anchor="middle", size=11, opacity=0.7))
    return body


def _clip_to_tail(name: str, limit: int = 25) -> str:
    """The end of a long name: what tells a control from its parent."""
    text = fold_onto_line(name, 500)
    return text if len(text) <= limit else "…" + text[1 - limit :]


def _position_to_x(position: float) -> float:
    return _LEFT + 8 + position * (_RIGHT - _LEFT - 16)


def _share_to_y(share: float) -> float:
    return _BOTTOM - min(max(share, 0.0), 1.0) * (_BOTTOM - _TOP)


def _draw_series(series: _DoseSeries) -> list[str]:
    measured_points = [(position, figure, name) for position, figure, name in series.points if figure.value is not None]
    body = (
        [
            svg.draw_path(
                [(_position_to_x(p), _share_to_y(f.value or 0.0)) for p, f, _ in measured_points],
                colour=series.colour,
                dash=series.dash,
            )
        ]
        if len(measured_points) > 1 and series.dash != "none"
        else []
    )
    for position, figure, name in measured_points:
        x, y = _position_to_x(position), _share_to_y(figure.value or 0.0)
        title = f"{series.name}, {name}: {format_percent(figure.value)} % {format_interval(figure)}"
        title += "" if figure.n is None else f", n = {figure.n}"
        if figure.low is not None and figure.high is not None:
            body.append(
                svg.draw_line(
                    x,
                    _share_to_y(figure.low),
                    x,
                    _share_to_y(figure.high),
                    colour=series.colour,
                    width=1.4,
                    opacity=0.6,
                )
            )
        body.append(
            svg.draw_mark(
                series.kind or "circle", x, y, colour=series.colour, size=3.6 if series.kind else 1.6, title=title
            )
        )
    return body


def render_dose_response(arm: str, seed: int, record: Mapping[str, Any], *, with_traces: bool) -> str:
    """One chart a layer: accuracy over strength; empty if the record does not hold a curve.

    Args:
        with_traces: also the rate of answers with worked steps, on a task that can see them.
    """
    entries = record.get("dose_response")
    curve = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
    strengths = sorted({s for entry in curve if (s := read_finite_number(entry.get("strength"))) is not None})
    if not strengths:
        return ""
    chosen = record.get("chosen")
    groups = list(dict.fromkeys(_name_group(entry) for entry in curve))
    best_accuracy = {
        g: max(read_finite_number(e.get("accuracy")) or 0.0 for e in curve if _name_group(e) == g) for g in groups
    }
    chosen_group = _name_group(chosen) if isinstance(chosen, Mapping) else ""
    charted_groups = sorted(groups, key=lambda g: (g != chosen_group, -best_accuracy[g]))[:MAX_CHARTS]
    positions = {s: i / max(1, len(strengths) - 1) for i, s in enumerate(strengths)}
    charts = []
    for group in (group for group in groups if group in charted_groups):
        group_entries = [
            entry
            for entry in curve
            if _name_group(entry) == group and read_finite_number(entry.get("strength")) in positions
        ]
        group_entries.sort(key=lambda entry: float(entry["strength"]))
        if not group_entries:
            continue
        body = _draw_dose_axes(
            group, f"strength, {_get_strength_unit(group_entries[0])}", [(positions[s], f"{s:g}") for s in strengths]
        )
        body += _draw_series(
            _DoseSeries(
                "accuracy", [_build_dose_point(e, positions, "accuracy") for e in group_entries], svg.BLUE, "circle"
            )
        )
        if with_traces:
            trace_points = [_build_dose_point(e, positions, "trace_rate") for e in group_entries]
            body += _draw_series(_DoseSeries("traces", trace_points, svg.ORANGE, "hollow", "3 3"))
        body += [_draw_chosen_ring(entry, positions) for entry in group_entries if entry == chosen]
        charts.append(svg.render_svg(_WIDTH, _HEIGHT, body, label=f"{arm}, {group}: accuracy over strength"))
    split, n = get_nested(record, "chosen_on", "split") or "select", get_nested(record, "chosen_on", "n")
    note = f"{escape_html(arm)}, seed {seed}. Chosen on the {escape_html(split)} split"
    if isinstance(chosen, Mapping):
        strength, absolute = read_finite_number(chosen.get("strength")), read_finite_number(chosen.get("absolute"))
        note += (
            f" (n = {escape_html(n)}): {escape_html(_name_group(chosen))}, strength {format_number(strength, 2)} "
            f"{_get_strength_unit(chosen)} "
            f"(absolute {format_number(absolute)}), accuracy there {_format_dose_accuracy(_read_accuracy(chosen))}."
        )
    if len(charted_groups) < len(groups):
        note += f" {len(groups) - len(charted_groups)} further combinations did no better and are not drawn."
    if len({entry.get("accuracy") for entry in curve}) == 1 < len(curve):
        note += " No point did better than another, so this choice says nothing: the smallest strength is taken."
    return f'<div class="charts">{"".join(charts)}</div><p class="note">{note}</p>'


def _name_group(entry: Mapping[str, Any]) -> str:
    """The name of one curve: its layer and, where several were tried, features, mode and positions."""
    parts = [f"layer {entry.get('layer')}"]
    features = entry.get("features")
    if isinstance(features, list):
        parts.append("feature " + "+".join(map(str, features)))
    mode, positions = entry.get("mode", "add"), entry.get("positions", "first")
    parts += [str(part) for part, usual in ((mode, "add"), (positions, "first")) if part != usual]
    return ", ".join(parts)


def _get_strength_unit(entry: Mapping[str, Any]) -> str:
    return "cued activations" if entry.get("mode") == "clamp" else "residual norms"


def _read_accuracy(entry: Mapping[str, Any]) -> OptionalEstimate:
    return parse_estimate({"value": entry.get("accuracy"), "ci": entry.get("ci"), "n": entry.get("n")})


def _format_dose_accuracy(figure: OptionalEstimate) -> str:
    return f"{format_percent(figure.value)} % {format_interval(figure)}".strip()


def _build_dose_point(
    entry: Mapping[str, Any], positions: Mapping[float, float], key: str
) -> tuple[float, OptionalEstimate, str]:
    strength = float(entry["strength"])
    trace_rate = {"value": entry.get("trace_rate"), "ci": entry.get("trace_ci"), "n": entry.get("n")}
    figure = _read_accuracy(entry) if key == "accuracy" else parse_estimate(trace_rate)
    return (
        positions[strength],
        figure,
        f"strength {strength:g} (absolute {format_number(read_finite_number(entry.get('absolute')))})",
    )


def _draw_chosen_ring(entry: Mapping[str, Any], positions: Mapping[float, float]) -> str:
    value = read_finite_number(entry.get("accuracy"))
    if value is None:
        return ""
    x, y = _position_to_x(positions[float(entry["strength"])]), _share_to_y(value)
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" fill="none" stroke="currentColor" stroke-width="1.5"/>'
        + svg.draw_text(
            x - 12 if x > 150 else x + 12,
            y + (18 if value > 0.5 else -10),
            "chosen",
            anchor="end" if x > 150 else "start",
            size=11,
        )
    )
