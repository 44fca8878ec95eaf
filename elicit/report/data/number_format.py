"""Formats of figures: shares in percent, shares of the gap as fractions, intervals, p; an en dash for the unknown.

What is not known is an en dash, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elicit.report.data.summary_view import ModelPanel, OptionalEstimate, parse_estimate, read_finite_number

DASH = "–"


def format_percent(value: float | None, places: int = 1, *, signed: bool = False, minus: str = "−") -> str:
    """A share in percent (or a difference in points) without its unit."""
    return format_number(None if value is None else 100 * value, places, signed=signed, minus=minus)


def format_number(value: float | None, places: int = 1, *, signed: bool = False, minus: str = "−") -> str:
    """A number, an en dash for None; -0.0 is written 0.0."""
    if value is None:
        return DASH
    rounded = round(value, places)
    sign = minus if rounded < 0 else "+" if signed and rounded > 0 else ""
    return f"{sign}{abs(rounded):,.{places}f}"


def format_interval(
    figure: OptionalEstimate, places: int = 1, *, scale: float = 100, signed: bool = False, minus: str = "−"
) -> str:
    """`[low, high]` in percent; empty without an interval. A bound that is not known is infinite."""
    if not figure.bounded:
        return ""
    low = (
        f"({minus}∞"
        if figure.low is None
        else "[" + format_number(scale * figure.low, places, signed=signed, minus=minus)
    )
    high = "∞)" if figure.high is None else format_number(scale * figure.high, places, signed=signed, minus=minus) + "]"
    return f"{low}, {high}"


def format_fraction(figure: OptionalEstimate, *, minus: str = "−") -> str:
    """A share of the gap with its interval: `0.86 [0.79, 0.92]`."""
    return f"{format_number(figure.value, 2, minus=minus)} {format_interval(figure, 2, scale=1, minus=minus)}".strip()


def format_amount(value: float | None) -> str:
    """A count or an amount of work, short: `1,536`, `48.2 k`, `1.5 M`, `2.0e+12`."""
    if value is None or abs(value) < 10_000:
        return format_number(value, 0 if value is None or float(value).is_integer() else 1)
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= abs(value) < 1000 * size:
            return f"{format_number(value / size)} {unit}"
    return f"{value:.1e}"


def format_sample_size(figure: OptionalEstimate, unit: str = "problems") -> str:
    """`n = 200 problems`, or that n is not known."""
    return f"n = {figure.n} {unit}" if figure.n is not None else "n not known"


def format_p_value(p: float | None) -> str:
    if p is None:
        return DASH
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def name_ceiling(ceiling: Mapping[str, Any]) -> str:
    """`cue prompt`, `base pass@16`."""
    kind = str(ceiling.get("kind") or "unnamed")
    if kind == "base_pass@k":
        return f"base pass@{ceiling.get('k') or 'k'}"
    return {"cue": "cue prompt", "forced": "forced opening"}.get(kind, kind.replace("_", " "))


def describe_holm_family(panel: ModelPanel) -> str:
    """`over the 48 comparisons of this model's arms ...`."""
    tests = next((found for arm in panel.arms if (found := arm.read_difference("vs_base").holm_tests)), None)
    number = "" if tests is None else f"{tests} "
    sft = "SFT (also at their own spending)" if panel.data.get("budget_curves") else "SFT"
    return f"over the {number}comparisons of this model's arms with the base, {sft}, floors and their own leak"


def describe_ceilings(panel: ModelPanel, places: int = 1, *, minus: str = "−") -> str:
    """The ceilings and the accuracy of guessing, with intervals of `places` decimals."""
    parts = []
    for ceiling in panel.ceilings:
        figure = parse_estimate(ceiling)
        level_text = (
            f"{format_percent(figure.value, minus=minus)} % {format_interval(figure, places, minus=minus)}".strip()
        )
        parts.append(f"{name_ceiling(ceiling)} {level_text}")
    guess_rates = panel.data.get("guesser")
    if isinstance(guess_rates, Mapping) and guess_rates:
        k = max(guess_rates, key=int)
        parts.append(f"uniform guesser pass@{k} {format_percent(read_finite_number(guess_rates[k]), minus=minus)} %")
    return "ceilings: " + (" · ".join(parts) or "none measured")
