"""Figures and lists in words: what the sentences of a report are made of."""

from __future__ import annotations

from elicit.report.data.number_format import format_interval, format_p_value, format_percent
from elicit.report.data.summary_view import OptionalEstimate


def points(figure: OptionalEstimate) -> str:
    """`+26.5 points [18.2, 34.9]`."""
    spoken = f"{format_percent(figure.value, signed=True)} points"
    return f"{spoken} {format_interval(figure)}" if figure.bounded else f"{spoken}, no interval"


def brief_points(figure: OptionalEstimate) -> str:
    """`+26.5 points [18.2, 34.9]`, without a word on an interval that is not known."""
    return f"{format_percent(figure.value, signed=True)} points {format_interval(figure)}".strip()


def share(value: float | None) -> str:
    return f"{format_percent(value)} %"


def probability(p: float | None, name: str = "p") -> str:
    shown = format_p_value(p)
    return f"{name} {shown if shown.startswith('<') else '= ' + shown}"


def listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + "."
