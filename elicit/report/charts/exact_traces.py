"""Exact lower bounds beside pass@k: the probability that an arm writes the worked solution, and what it settles.

Pass@k counts what was drawn; these figures do not depend on draws. The base's probability of a problem that only an arm
solved says how many samples the base would have needed on average, at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elicit.report.charts.scatter import Dot, PlaneCurve
from elicit.report.data.number_format import DASH, format_amount, format_interval, format_percent, format_sample_size
from elicit.report.data.summary_view import Arm, ModelPanel, get_nested, parse_estimate, read_finite_number
from elicit.report.html import tables
from elicit.report.html.tables import TableCell, TableColumn
from elicit.text import escape_html

KEY = "pass_at_k_exact_trace"


def build_exact_curve(arm: Arm, highest_k: int) -> PlaneCurve | None:
    """The curve of an arm's lower bound up to k samples; None where it was not measured."""
    dots = [
        Dot(
            k,
            figure,
            arm.family.colour,
            None,
            f"{arm.name} writes the worked solution within k = {k} samples: {format_percent(figure.value)} % "
            f"{format_interval(figure)}, exact for each problem, {format_sample_size(figure)}",
            data={"arm": arm.name, "key": f"{KEY}.{k}", "value": repr(figure.value)},
        )
        for k, figure in sorted((int(k), parse_estimate(entry)) for k, entry in _read_bounds(arm).items())
        if k <= highest_k and figure.value is not None
    ]
    return PlaneCurve(dots, arm.family.colour, f"{arm.name}, worked solution", "1 2") if dots else None


def render_exact_tables(panel: ModelPanel) -> str:
    """The lower bounds of every arm, and the problems that the base did not solve; empty where none was measured."""
    arms = [arm for arm in panel.arms if _read_bounds(arm)]
    if not arms:
        return ""
    ks = sorted({int(k) for arm in arms for k in _read_bounds(arm)})
    rows = [
        (arm, [tables.build_percent_cell(arm.read_estimate(KEY, str(k)), f"{KEY}.{k}") for k in ks]) for arm in arms
    ]
    columns = [TableColumn(f"k = {k}", f"probability of the worked solution within {k} samples, %") for k in ks]
    caption = (
        "Exact lower bounds of pass@k with a valid trace, in percent: 1 − (1 − p)<sup>k</sup>, p being the probability "
        "of the task&#x27;s own worked solution in one sample, computed and not drawn. Other right traces come on top: "
        "few where there is one way to work a problem, many in a real model&#x27;s text."
    )
    inner = tables.render_arm_table(columns, rows, caption=caption)
    return f"<details><summary>exact probability of the worked solution</summary>{inner}</details>"


def build_draws_cell(arm: Arm) -> TableCell:
    """The base's expected draws for the problems that only the arm solved."""
    draws = list_expected_draws(arm)
    unknown = len(get_nested(arm.data, "expansion", "arm_ids") or ()) - len(draws)
    if not draws:
        return TableCell(DASH, "", "expansion.expected_draws")
    subtext = f"{unknown} without a figure" if unknown else ""
    return TableCell(format_draws(draws), subtext, "expansion.expected_draws", draws[-1])


def render_draws_list(arms: Sequence[Arm]) -> str:
    """For every problem that an arm solved and the base never did: the base's exact probability and expected draws."""
    items = []
    for arm in arms:
        probabilities = get_nested(arm.data, "expansion", "base_trace_probability")
        for problem, p in probabilities.items() if isinstance(probabilities, Mapping) else ():
            known = read_finite_number(p)
            figure = "no worked solution to score" if known is None else f"p = {known:.2e}"
            figure += f", once in {format_amount(1 / known)} draws on average" if known else ""
            items.append(f"<li>{escape_html(arm.name)}, problem {escape_html(problem)}: {figure}</li>")
    if not items:
        return ""
    return (
        f"<details><summary>what the base would have needed: {len(items)} solved by an arm alone</summary>"
        f"<ul>{''.join(items)}</ul></details>"
    )


def list_expected_draws(arm: Arm) -> tuple[float, ...]:
    """Known expected draws of the base, ascending, for the problems that only the arm solved."""
    draws = get_nested(arm.data, "expansion", "expected_draws")
    known = [read_finite_number(value) for value in draws.values()] if isinstance(draws, Mapping) else []
    return tuple(sorted(value for value in known if value is not None))


def format_draws(draws: Sequence[float]) -> str:
    """`310 to 12.0 k`."""
    first, last = (format_amount(float(round(value))) for value in (draws[0], draws[-1]))
    return first if first == last else f"{first} to {last}"


def _read_bounds(arm: Arm) -> Mapping[str, object]:
    entries = arm.data.get(KEY)
    return entries if isinstance(entries, Mapping) else {}
