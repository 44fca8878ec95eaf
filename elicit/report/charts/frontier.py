"""Accuracy against what it costs, with the base's own majority vote as the rival that may spend as much.

Two readings of cost: the tokens of an answer alone, and with the fit's tokens (generated and trained on, rejected ones
too) spread over the test problems.
"""

from __future__ import annotations

from collections.abc import Mapping

from elicit.report.charts import scatter, svg
from elicit.report.charts.scatter import Curve, Dot, Plane
from elicit.report.data.number_format import DASH, big, counted, interval, p_value, percent, plain
from elicit.report.data.summary_view import Arm, Figure, Panel, dig, estimate, number
from elicit.report.html import tables
from elicit.report.html.tables import Cell, Column
from elicit.text import escape

_FIT = ("train_tokens", "fit_generated_tokens", "inherited_tokens")


def figure(panel: Panel) -> str:
    """One model's figure and the table of rivals; empty where no arm's tokens are known."""
    answering = [dot for arm in panel.arms if (dot := _dot(panel, arm, fit=False))]
    if not answering:
        return ""
    fitted = [dot for arm in panel.arms if (dot := _dot(panel, arm, fit=True))]
    votes = _votes(panel)
    planes = [_plane("answering only", answering, votes)]
    if any(a.x != b.x for a, b in zip(answering, fitted, strict=True)):
        planes.append(_plane("fit included", fitted, votes))
    drawn = scatter.picture(planes, label=f"Accuracy against tokens per problem on {panel.model}")
    fit = (
        "Fit included: tokens generated and trained on while fitting and tuning, also those of arms it was made from, "
        f"spread over the {panel.n} test problems of this run. "
    )
    caption = (
        "Accuracy (%) against generated tokens per problem, rejected and outvoted ones included; 95 % intervals. "
        "Grey curve: the base's own majority vote over k samples at temperature 1; an arm below it is no better than "
        f"voting at the same cost. {fit if len(planes) > 1 else ''}Small hollow marks: controls."
    )
    if votes is None:
        caption += " The base has no samples in this run, so its majority vote is not known."
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>{rivals(panel)}"


def tokens(panel: Panel, arm: Arm, *, fit: bool) -> float | None:
    """Tokens per test problem: generated for the answer, and with `fit` its share of the fit and of fits behind it."""
    answer = number(dig(arm.data, "budget", "answer_tokens"))
    answer = arm.estimate("tokens_per_problem").value if answer is None else answer
    if answer is None or not fit:
        return answer
    spent = [number(dig(arm.data, "budget", key)) for key in _FIT]
    return answer + sum(part for part in spent if part is not None) / max(1, panel.n)


def _dot(panel: Panel, arm: Arm, *, fit: bool) -> Dot | None:
    x = tokens(panel, arm, fit=fit)
    if x is None or x <= 0 or arm.accuracy.value is None:
        return None
    control = arm.role == "control"
    title = f"{arm.name}: {percent(arm.accuracy.value)} % {interval(arm.accuracy)} at {big(x)} tokens per problem"
    return Dot(
        x,
        arm.accuracy._replace(low=None, high=None) if control else arm.accuracy,
        svg.GREY if control else arm.family.colour,
        arm.family.shape,
        title,
        "" if control else arm.name + (" ✓" if arm.verifier else ""),
        hollow=control,
        size=3 if control else 4.6,
        data={"arm": arm.name, "key": "accuracy", "value": repr(arm.accuracy.value)},
    )


def _votes(panel: Panel) -> Curve | None:
    """The base's majority vote, by tokens."""
    listed = dig(panel.base.data, "majority_at_k") if panel.base else None
    if panel.base is None or not isinstance(listed, Mapping):
        return None
    found = []
    for k, entry in sorted(listed.items(), key=lambda item: int(item[0])):
        spent, level = number(dig(entry, "tokens")), estimate(dig(entry, "accuracy"))
        if spent is not None and spent > 0 and level.value is not None:
            title = f"base, majority of {k}: {percent(level.value)} % {interval(level)} at {big(spent)} tokens"
            data = {"arm": panel.base.name, "key": f"majority_at_k.{k}.accuracy", "value": repr(level.value)}
            found.append(Dot(spent, level, svg.GREY, "circle", title, size=2.4, data=data))
    return Curve(found, svg.GREY, f"base, majority of k ≤ {max(map(int, listed))}") if found else None


def _plane(title: str, dots: list[Dot], votes: Curve | None) -> Plane:
    xs = [dot.x for dot in dots] + ([dot.x for dot in votes.dots] if votes else [])
    return Plane(
        title=title,
        x_label="tokens per problem (logarithmic)",
        x=(min(xs) / 1.25, max(xs) * 1.25),
        y=(0, scatter.top([dot.figure for dot in (*dots, *(votes.dots if votes else ()))])),
        curves=[votes] if votes else [],
        dots=dots,
    )


def rivals(panel: Panel) -> str:
    """Every arm against the base's majority vote at its own tokens."""
    rows = []
    for arm in panel.arms:
        if any(isinstance(dig(arm.data, key), Mapping) for key in ("rival", "rival_total")):
            here, total = tokens(panel, arm, fit=False), tokens(panel, arm, fit=True)
            cells = [
                Cell(plain(here), "", "budget.answer_tokens", number(dig(arm.data, "budget", "answer_tokens"))),
                *_against(arm, "rival"),
                Cell(big(total)),
                *_against(arm, "rival_total"),
            ]
            rows.append((arm, cells))
    if not rows:
        return "<p class=note>No rival: the base was not sampled in this run.</p>"
    columns = [
        Column("tokens / answer", "generated per test problem"),
        Column("rival: votes", "how many samples of the base as many tokens pay for"),
        Column("rival %", "the base's majority vote over as many samples"),
        Column("points to rival", "paired over the problems that both have"),
        Column("p", "not adjusted"),
        Column("tokens, fit included", "the fit's tokens spread over the test problems"),
        Column("rival: votes", "with the fit included"),
        Column("rival %", "with the fit included"),
        Column("points to rival", "with the fit included"),
        Column("p", "not adjusted"),
    ]
    caption = (
        "The rival of an arm is the base's majority vote at the same number of tokens per problem. ≥: the budget would "
        f"pay for more samples than the base has, so the rival is held back. {DASH} for arms without a fit to pay for."
    )
    inner = tables.table(columns, rows, caption=caption)
    return f"<details><summary>Every arm against its rival at the same cost</summary>{inner}</details>"


def _against(arm: Arm, key: str) -> list[Cell]:
    k, capped = number(dig(arm.data, key, "k")), dig(arm.data, key, "capped") is True
    level, found = arm.estimate(key, "accuracy"), arm.versus(key, "difference")
    title = str(dig(arm.data, key, "note") or "")
    return [
        Cell(("≥ " if capped and k is not None else "") + plain(k, 0), "", f"{key}.k", k, title),
        tables.share(level, f"{key}.accuracy"),
        _points(found.figure, f"{key}.difference", found.test),
        Cell(escape(p_value(found.p)), "", f"{key}.difference.p", found.p),
    ]


def _points(found: Figure, key: str, test: str) -> Cell:
    n = f"{counted(found)}; {test}" if found.value is not None else ""
    return Cell(percent(found.value, signed=True), interval(found, signed=True), key, found.value, n)
