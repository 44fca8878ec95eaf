"""Accuracy against what it costs, with the base's own majority vote as the rival that may spend as much.

Two readings of cost: the tokens of an answer alone, and with the fit's tokens (generated and trained on, rejected ones
too) spread over the test problems.
"""

from __future__ import annotations

from collections.abc import Mapping

from elicit.report.charts import scatter, svg
from elicit.report.charts.scatter import Dot, Plane, PlaneCurve
from elicit.report.data.number_format import (
    DASH,
    format_amount,
    format_interval,
    format_number,
    format_p_value,
    format_percent,
    format_sample_size,
)
from elicit.report.data.summary_view import (
    Arm,
    ModelPanel,
    OptionalEstimate,
    get_nested,
    parse_estimate,
    read_finite_number,
)
from elicit.report.html import tables
from elicit.report.html.tables import TableCell, TableColumn
from elicit.text import escape_html

_FIT_TOKEN_KEYS = ("train_tokens", "fit_generated_tokens", "inherited_tokens")


def render_frontier(panel: ModelPanel) -> str:
    """One model's figure and the table of rivals; empty where no arm's tokens are known."""
    answer_dots = [dot for arm in panel.arms if (dot := _build_cost_dot(panel, arm, fit=False))]
    if not answer_dots:
        return ""
    fit_dots = [dot for arm in panel.arms if (dot := _build_cost_dot(panel, arm, fit=True))]
    votes = _build_vote_curve(panel)
    planes = [_build_cost_plane("answering only", answer_dots, votes)]
    if any(a.x != b.x for a, b in zip(answer_dots, fit_dots, strict=True)):
        planes.append(_build_cost_plane("fit included", fit_dots, votes))
    picture = scatter.render_planes(planes, label=f"Accuracy against tokens per problem on {panel.model}")
    fit_note = (
        "Fit included: tokens generated and trained on while fitting and tuning, also those of arms it was made from, "
        f"spread over the {panel.n} test problems of this run. "
    )
    caption = (
        "Accuracy (%) against generated tokens per problem, rejected and outvoted ones included; 95 % intervals. "
        "Grey curve: the base's own majority vote over k samples at temperature 1; an arm below it is no better than "
        f"voting at the same cost. {fit_note if len(planes) > 1 else ''}Small hollow marks: controls."
    )
    if votes is None:
        caption += " The base was not sampled in this run, so its majority vote is not known."
    return f"<figure>{picture}<figcaption>{escape_html(caption)}</figcaption></figure>{render_rivals_table(panel)}"


def count_tokens_per_problem(panel: ModelPanel, arm: Arm, *, fit: bool) -> float | None:
    """Tokens per test problem: generated for the answer, and with `fit` its share of the fit and of fits behind it."""
    answer = read_finite_number(get_nested(arm.data, "budget", "answer_tokens"))
    answer = arm.read_estimate("tokens_per_problem").value if answer is None else answer
    if answer is None or not fit:
        return answer
    spent = [read_finite_number(get_nested(arm.data, "budget", key)) for key in _FIT_TOKEN_KEYS]
    return answer + sum(part for part in spent if part is not None) / max(1, panel.n)


def _build_cost_dot(panel: ModelPanel, arm: Arm, *, fit: bool) -> Dot | None:
    x = count_tokens_per_problem(panel, arm, fit=fit)
    if x is None or x <= 0 or arm.accuracy.value is None:
        return None
    control, is_minor = arm.role == "control", arm.role in ("control", "point")
    title = (
        f"{arm.name}: {format_percent(arm.accuracy.value)} % {format_interval(arm.accuracy)} at "
        f"{format_amount(x)} tokens per problem"
    )
    return Dot(
        x,
        arm.accuracy._replace(low=None, high=None) if control else arm.accuracy,
        svg.GREY if control else arm.family.colour,
        arm.family.shape,
        title,
        "" if is_minor else arm.name + (" ✓" if arm.verifier else ""),
        hollow=control,
        size=3 if is_minor else 4.6,
        data={"arm": arm.name, "key": "accuracy", "value": repr(arm.accuracy.value)},
    )


def _build_vote_curve(panel: ModelPanel) -> PlaneCurve | None:
    """The base's majority vote, by tokens."""
    vote_entries = get_nested(panel.base.data, "majority_at_k") if panel.base else None
    if panel.base is None or not isinstance(vote_entries, Mapping):
        return None
    dots = []
    for k, entry in sorted(vote_entries.items(), key=lambda item: int(item[0])):
        vote_tokens, accuracy = (
            read_finite_number(get_nested(entry, "tokens")),
            parse_estimate(get_nested(entry, "accuracy")),
        )
        if vote_tokens is not None and vote_tokens > 0 and accuracy.value is not None:
            title = (
                f"base, majority of {k}: {format_percent(accuracy.value)} % {format_interval(accuracy)} at "
                f"{format_amount(vote_tokens)} tokens"
            )
            data = {"arm": panel.base.name, "key": f"majority_at_k.{k}.accuracy", "value": repr(accuracy.value)}
            dots.append(Dot(vote_tokens, accuracy, svg.GREY, "circle", title, size=2.4, data=data))
    return PlaneCurve(dots, svg.GREY, f"base, majority of k ≤ {max(map(int, vote_entries))}") if dots else None


def _build_cost_plane(title: str, dots: list[Dot], votes: PlaneCurve | None) -> Plane:
    xs = [dot.x for dot in dots] + ([dot.x for dot in votes.dots] if votes else [])
    return Plane(
        title=title,
        x_label="tokens per problem (logarithmic)",
        x_range=(min(xs) / 1.25, max(xs) * 1.25),
        y_range=(0, scatter.choose_axis_maximum([dot.y_estimate for dot in (*dots, *(votes.dots if votes else ()))])),
        curves=[votes] if votes else [],
        dots=dots,
    )


def render_rivals_table(panel: ModelPanel) -> str:
    """Every arm against the base's majority vote at its own tokens."""
    rows = []
    for arm in panel.arms:
        if any(isinstance(get_nested(arm.data, key), Mapping) for key in ("rival", "rival_total")):
            answer_tokens, total_tokens = (
                count_tokens_per_problem(panel, arm, fit=False),
                count_tokens_per_problem(panel, arm, fit=True),
            )
            fit_tokens = read_finite_number(get_nested(arm.data, "rival_total", "fit_tokens"))
            cells = [
                TableCell(
                    format_number(answer_tokens),
                    "",
                    "budget.answer_tokens",
                    read_finite_number(get_nested(arm.data, "budget", "answer_tokens")),
                ),
                *_build_rival_cells(arm, "rival"),
                TableCell(format_amount(fit_tokens), "", "rival_total.fit_tokens", fit_tokens),
                TableCell(format_amount(total_tokens)),
                *_build_rival_cells(arm, "rival_total"),
            ]
            rows.append((arm, cells))
    if not rows:
        return "<p class=note>No rival: the base was not sampled in this run.</p>"
    columns = [
        TableColumn("tokens / answer", "generated per test problem"),
        TableColumn("rival: votes", "how many samples of the base as many tokens pay for"),
        TableColumn("rival %", "the base's majority vote over as many samples"),
        TableColumn("points to rival", "paired over the problems that both have"),
        TableColumn("p", "not adjusted"),
        TableColumn("tokens of the fit", "generated and trained on, all of them, those of the arms behind it too"),
        TableColumn("tokens, fit included", "per answer, the fit's tokens spread over the test problems"),
        TableColumn("rival: votes", "with the fit included"),
        TableColumn("rival %", "with the fit included"),
        TableColumn("points to rival", "with the fit included"),
        TableColumn("p", "not adjusted"),
    ]
    caption = (
        "The rival of an arm is the base's majority vote at the same number of tokens per problem. ≥: the budget would "
        f"pay for more samples than the base has, so the rival is held back. {DASH} for arms without a fit to pay for."
    )
    inner = tables.render_arm_table(columns, rows, caption=caption)
    return f"<details><summary>Every arm against its rival at the same cost</summary>{inner}</details>"


def _build_rival_cells(arm: Arm, key: str) -> list[TableCell]:
    k, capped = read_finite_number(get_nested(arm.data, key, "k")), get_nested(arm.data, key, "capped") is True
    accuracy, difference = arm.read_estimate(key, "accuracy"), arm.read_difference(key, "difference")
    title = str(get_nested(arm.data, key, "note") or "")
    return [
        TableCell(("≥ " if capped and k is not None else "") + format_number(k, 0), "", f"{key}.k", k, title),
        tables.build_percent_cell(accuracy, f"{key}.accuracy"),
        _build_rival_points_cell(difference.estimate, f"{key}.difference", difference.test),
        TableCell(escape_html(format_p_value(difference.p)), "", f"{key}.difference.p", difference.p),
    ]


def _build_rival_points_cell(difference: OptionalEstimate, key: str, test: str) -> TableCell:
    title = f"{format_sample_size(difference)}; {test}" if difference.value is not None else ""
    return TableCell(
        format_percent(difference.value, signed=True),
        format_interval(difference, signed=True),
        key,
        difference.value,
        title,
    )
