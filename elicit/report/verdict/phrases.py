"""Figures and lists in words: the parts of every sentence of a report."""

from __future__ import annotations

from elicit.report.data.number_format import format_interval, format_p_value, format_percent
from elicit.report.data.summary_view import OptionalEstimate


def points(figure: OptionalEstimate) -> str:
    """`+26.5 points [18.2, 34.9]`."""
    size = f"{format_percent(figure.value, signed=True)} points"
    return f"{size} {format_interval(figure)}" if figure.bounded else f"{size}, no interval"


def brief_points(figure: OptionalEstimate) -> str:
    """`+26.5 points [18.2, 34.9]`, without a word on an interval that is not known."""
    return f"{format_percent(figure.value, signed=True)} points {format_interval(figure)}".strip()


def share(value: float | None) -> str:
    """`95.2 %`."""
    return f"{format_percent(value)} %"


def probability(p: float | None, name: str = "p") -> str:
    """`Holm p = 0.32`."""
    text = format_p_value(p)
    return f"{name} < {text[1:]}" if text.startswith("<") else f"{name} = {text}"


def listed(names: list[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + "."
