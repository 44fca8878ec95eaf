"""Training curves: one small chart a measure, the seeds of an arm overlaid; and what the difficulty filter left out.

A curve is what the arm's cells recorded, one entry a logged step. Long curves are drawn as means over equal stretches
of steps: a chart is a hundred pixels wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elicit.comparison.reader import ArmData
from elicit.report.charts import svg
from elicit.report.data.display_text import fold_onto_line
from elicit.report.data.number_format import format_amount, format_number
from elicit.report.data.summary_view import Arm, ModelPanel, read_finite_number
from elicit.text import escape_html

MAX_STRETCHES = 40
"""At most so many points a line."""
_WIDTH, _HEIGHT = 172, 112
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 166, 24, 88
#: Recorded name -> (what it is called, whether it is a share).
_MEASURES = {
    "reward": ("reward", False),
    "loss": ("loss", False),
    "reward_std": ("reward, standard deviation", False),
    "entropy": ("entropy, nats", False),
    "length": ("answer length, tokens", False),
    "clipped": ("cut at the limit", True),
    "zero_variance": ("groups without variance", True),
    "kl": ("KL to the base", False),
    "norm": ("norm of the vector", False),
    "grad_norm": ("gradient norm", False),
    "learning_rate": ("learning rate", False),
}
_DASHES = ("", "5 2", "2 2", "7 2 2 2")
_Line = list[tuple[float, float]]


def render_training_curves(panel: ModelPanel, data: Mapping[str, ArmData]) -> str:
    """Curves of all trained arms of one model; empty where none kept any."""
    parts = []
    for arm in panel.arms:
        arm_data = data.get(arm.name)
        if arm_data is None:
            continue
        records = {
            cell.seed: status.get("record") or {}
            for cell, status in zip(arm_data.cells, arm_data.statuses, strict=True)
        }
        charts, pilot_note = _render_charts(arm, records), _render_pilot_note(records)
        if charts or pilot_note:
            parts.append(f"<h4>{escape_html(arm.name)}</h4>{charts}{pilot_note}")
    return "".join(parts)


def _render_charts(arm: Arm, records: Mapping[int, Mapping[str, Any]]) -> str:
    curves = {seed: _read_curve_entries(record.get("curve")) for seed, record in records.items()}
    charts = []
    for key, (name, share) in _MEASURES.items():
        lines = {seed: line for seed, entries in curves.items() if (line := _read_line(entries, key))}
        if lines and (key != "learning_rate" or len({y for line in lines.values() for _, y in line}) > 1):
            charts.append(_render_training_chart(arm, name, lines, share=share))
    if not charts:
        return ""
    steps = [
        max((step for entry in entries if (step := read_finite_number(entry.get("step"))) is not None), default=0.0)
        for entries in curves.values()
        if entries
    ]
    seed_names = ", ".join(f"{seed}" for seed, entries in curves.items() if entries)
    note = f"<p class=note>Seeds {seed_names}; last logged step {', '.join(f'{step:.0f}' for step in steps)}.</p>"
    return f'<div class="charts">{"".join(charts)}</div>{note}'


def _read_curve_entries(curve: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in curve if isinstance(entry, Mapping)] if isinstance(curve, list) else []


def _read_line(entries: Sequence[Mapping[str, Any]], key: str) -> _Line:
    """(step, value) of what was logged, in order."""
    return sorted(
        (step, value)
        for entry in entries
        if (step := read_finite_number(entry.get("step"))) is not None
        and (value := read_finite_number(entry.get(key))) is not None
    )


def _average_stretches(line: _Line) -> _Line:
    """Means over equal stretches of a long line."""
    if len(line) <= MAX_STRETCHES:
        return line
    size = len(line) / MAX_STRETCHES
    groups = [line[round(i * size) : round((i + 1) * size)] for i in range(MAX_STRETCHES)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups if group]


def _render_training_chart(arm: Arm, name: str, lines: Mapping[int, _Line], *, share: bool) -> str:
    ys = [y for line in lines.values() for _, y in line]
    xs = [x for line in lines.values() for x, _ in line]
    low, high = (0.0, 1.0) if share else (min(ys), max(ys))
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    start, end = min(xs), max(max(xs), min(xs) + 1)

    def to_pixels(point: tuple[float, float]) -> tuple[float, float]:
        x, y = point
        return (
            _LEFT + (x - start) / (end - start) * (_RIGHT - _LEFT),
            _BOTTOM - (y - low) / (high - low) * (_BOTTOM - _TOP),
        )

    body = [svg.draw_text(_LEFT - 36, 13, name, size=11, weight=600)]
    for y in (low, high):
        pixel_y = to_pixels((start, y))[1]
        body.append(svg.draw_line(_LEFT, pixel_y, _RIGHT, pixel_y, opacity=0.18))
        body.append(
            svg.draw_text(
                _LEFT - 4,
                pixel_y + 4,
                f"{100 * y:.0f} %" if share else _format_short_number(y),
                anchor="end",
                size=10,
                opacity=0.75,
            )
        )
    body.append(svg.draw_text(_LEFT, _BOTTOM + 14, f"step {start:.0f}", size=10, opacity=0.75))
    body.append(svg.draw_text(_RIGHT, _BOTTOM + 14, f"{end:.0f}", anchor="end", size=10, opacity=0.75))
    for i, (seed, line) in enumerate(lines.items()):
        points = [to_pixels(point) for point in _average_stretches(line)]
        (start_x, first), (end_x, final) = line[0], line[-1]
        range_text = (
            f"{_format_short_number(first)} at step {start_x:.0f}, {_format_short_number(final)} at step {end_x:.0f}"
        )
        title = f"{arm.name}, seed {seed}: {name} {range_text}"
        if len(points) > 1:
            body.append(svg.draw_path(points, colour=arm.family.colour, width=1.3, dash=_DASHES[i % len(_DASHES)]))
        data = {"arm": arm.name, "seed": seed, "key": "curve", "value": repr(final)}
        body.append(svg.draw_mark("circle", *points[-1], colour=arm.family.colour, size=2, title=title, data=data))
    return svg.render_svg(_WIDTH, _HEIGHT, body, label=f"{arm.name}: {name} over training steps")


def _format_short_number(value: float) -> str:
    if value != 0 and abs(value) < 0.01:
        return f"{value:.0e}".replace("e-0", "e-").replace("-", "−")
    return (
        format_amount(value)
        if abs(value) >= 1000
        else format_number(value, 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2)
    )


def _render_pilot_note(records: Mapping[int, Mapping[str, Any]]) -> str:
    """Problems that the difficulty filter tried and removed, seed by seed."""
    seeds_by_text: dict[str, list[int]] = {}
    for seed, record in records.items():
        pilot = record.get("pilot")
        if not isinstance(pilot, Mapping):
            continue
        counts = {key: read_finite_number(pilot.get(key)) for key in ("problems", "samples", "kept")}
        excluded_counts = {key: len(pilot[key]) for key in ("unsolved", "always") if isinstance(pilot.get(key), list)}
        parts = [
            f"{format_number(counts['problems'], 0)} problems × {format_number(counts['samples'], 0)} samples",
            f"{format_number(counts['kept'], 0)} kept",
        ]
        if "unsolved" in excluded_counts:
            parts.append(f"{excluded_counts['unsolved']} never solved in the pilot (kept apart, not trained on)")
        if "always" in excluded_counts:
            parts.append(f"{excluded_counts['always']} always solved (left out)")
        seeds_by_text.setdefault("; ".join(parts), []).append(seed)
    lines = [
        f"Difficulty filter, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}: {fold_onto_line(text)}."
        for text, seeds in seeds_by_text.items()
    ]
    return "".join(f"<p class=note>{escape_html(line)}</p>" for line in lines)
