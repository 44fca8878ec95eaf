"""Figures and lists in words: what the sentences of a report are made of."""

from __future__ import annotations

from elicit.report.data.number_format import interval, p_value, percent
from elicit.report.data.summary_view import Figure


def points(figure: Figure) -> str:
    """`+26.5 points [18.2, 34.9]`."""
    spoken = f"{percent(figure.value, signed=True)} points"
    return f"{spoken} {interval(figure)}" if figure.bounded else f"{spoken}, no interval"


def brief_points(figure: Figure) -> str:
    """`+26.5 points [18.2, 34.9]`, without a word on an interval that is not known."""
    return f"{percent(figure.value, signed=True)} points {interval(figure)}".strip()


def share(value: float | None) -> str:
    return f"{percent(value)} %"


def probability(p: float | None, name: str = "p") -> str:
    shown = p_value(p)
    return f"{name} {shown if shown.startswith('<') else '= ' + shown}"


def listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + "."
