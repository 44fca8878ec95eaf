"""Training curves: one small chart a measure, the seeds of an arm overlaid; and what the difficulty filter left out.

A curve is what the arm's cells recorded, one entry a logged step. Long curves are drawn as means over equal stretches
of steps: a chart is a hundred pixels wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elicit.comparison.reader import ArmData
from elicit.report.charts import svg
from elicit.report.data.display_text import one_line
from elicit.report.data.number_format import big, plain
from elicit.report.data.summary_view import Arm, Panel, number
from elicit.text import escape

STRETCHES = 40
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


def section(panel: Panel, data: Mapping[str, ArmData]) -> str:
    """Curves of all trained arms of one model; empty where none kept any."""
    parts = []
    for arm in panel.arms:
        on_disk = data.get(arm.name)
        if on_disk is None:
            continue
        records = {
            cell.seed: status.get("record") or {} for cell, status in zip(on_disk.cells, on_disk.statuses, strict=True)
        }
        drawn, said = _charts(arm, records), _pilot(records)
        if drawn or said:
            parts.append(f"<h4>{escape(arm.name)}</h4>{drawn}{said}")
    return "".join(parts)


def _charts(arm: Arm, records: Mapping[int, Mapping[str, Any]]) -> str:
    curves = {seed: _entries(record.get("curve")) for seed, record in records.items()}
    charts = []
    for key, (name, share) in _MEASURES.items():
        lines = {seed: line for seed, entries in curves.items() if (line := _line(entries, key))}
        if lines and (key != "learning_rate" or len({y for line in lines.values() for _, y in line}) > 1):
            charts.append(_chart(arm, name, lines, share=share))
    if not charts:
        return ""
    steps = [
        max((step for entry in entries if (step := number(entry.get("step"))) is not None), default=0.0)
        for entries in curves.values()
        if entries
    ]
    shown = ", ".join(f"{seed}" for seed, entries in curves.items() if entries)
    note = f"<p class=note>Seeds {shown}; last logged step {', '.join(f'{step:.0f}' for step in steps)}.</p>"
    return f'<div class="charts">{"".join(charts)}</div>{note}'


def _entries(curve: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in curve if isinstance(entry, Mapping)] if isinstance(curve, list) else []


def _line(entries: Sequence[Mapping[str, Any]], key: str) -> _Line:
    """(step, value) of what was logged, in order."""
    return sorted(
        (step, value)
        for entry in entries
        if (step := number(entry.get("step"))) is not None and (value := number(entry.get(key))) is not None
    )


def _thinned(known: _Line) -> _Line:
    """Means over equal stretches of a long line."""
    if len(known) <= STRETCHES:
        return known
    size = len(known) / STRETCHES
    groups = [known[round(i * size) : round((i + 1) * size)] for i in range(STRETCHES)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups if group]


def _chart(arm: Arm, name: str, lines: Mapping[int, _Line], *, share: bool) -> str:
    ys = [y for line in lines.values() for _, y in line]
    xs = [x for line in lines.values() for x, _ in line]
    low, high = (0.0, 1.0) if share else (min(ys), max(ys))
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    start, end = min(xs), max(max(xs), min(xs) + 1)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x, y = point
        return (
            _LEFT + (x - start) / (end - start) * (_RIGHT - _LEFT),
            _BOTTOM - (y - low) / (high - low) * (_BOTTOM - _TOP),
        )

    body = [svg.text(_LEFT - 36, 13, name, size=11, weight=600)]
    for y in (low, high):
        at = place((start, y))[1]
        body.append(svg.line(_LEFT, at, _RIGHT, at, opacity=0.18))
        body.append(
            svg.text(_LEFT - 4, at + 4, f"{100 * y:.0f} %" if share else _short(y), anchor="end", size=10, opacity=0.75)
        )
    body.append(svg.text(_LEFT, _BOTTOM + 14, f"step {start:.0f}", size=10, opacity=0.75))
    body.append(svg.text(_RIGHT, _BOTTOM + 14, f"{end:.0f}", anchor="end", size=10, opacity=0.75))
    for i, (seed, line) in enumerate(lines.items()):
        points = [place(point) for point in _thinned(line)]
        (start_x, first), (end_x, final) = line[0], line[-1]
        said = f"{_short(first)} at step {start_x:.0f}, {_short(final)} at step {end_x:.0f}"
        title = f"{arm.name}, seed {seed}: {name} {said}"
        if len(points) > 1:
            body.append(svg.path(points, colour=arm.family.colour, width=1.3, dash=_DASHES[i % len(_DASHES)]))
        data = {"arm": arm.name, "seed": seed, "key": "curve", "value": repr(final)}
        body.append(svg.mark("circle", *points[-1], colour=arm.family.colour, size=2, title=title, data=data))
    return svg.svg(_WIDTH, _HEIGHT, body, label=f"{arm.name}: {name} over training steps")


def _short(value: float) -> str:
    if value != 0 and abs(value) < 0.01:
        return f"{value:.0e}".replace("e-0", "e-").replace("-", "−")
    return big(value) if abs(value) >= 1000 else plain(value, 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2)


def _pilot(records: Mapping[int, Mapping[str, Any]]) -> str:
    """What the difficulty filter saw and set apart, seed by seed."""
    said: dict[str, list[int]] = {}
    for seed, record in records.items():
        pilot = record.get("pilot")
        if not isinstance(pilot, Mapping):
            continue
        counts = {key: number(pilot.get(key)) for key in ("problems", "samples", "kept")}
        apart = {key: len(pilot[key]) for key in ("unsolved", "always") if isinstance(pilot.get(key), list)}
        parts = [
            f"{plain(counts['problems'], 0)} problems × {plain(counts['samples'], 0)} samples",
            f"{plain(counts['kept'], 0)} kept",
        ]
        if "unsolved" in apart:
            parts.append(f"{apart['unsolved']} never solved in the pilot (kept apart, not trained on)")
        if "always" in apart:
            parts.append(f"{apart['always']} always solved (left out)")
        said.setdefault("; ".join(parts), []).append(seed)
    lines = [
        f"Difficulty filter, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}: {one_line(text)}."
        for text, seeds in said.items()
    ]
    return "".join(f"<p class=note>{escape(line)}</p>" for line in lines)
