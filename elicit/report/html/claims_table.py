"""The verdict as a table: one claim a row, under the arm and the family it is about."""

from __future__ import annotations

from collections.abc import Sequence

from elicit.report.data.number_format import format_interval
from elicit.report.html.names import render_name
from elicit.report.verdict.claim_facts import Claim, ClaimUnit, format_claim_figure
from elicit.text import escape_html

_HEADS = ("claim", "figure [95 % interval]", "against", "reading")


def render_claims_table(claims: Sequence[Claim], *, caption: str) -> str:
    """The table; empty without claims."""
    if not claims:
        return ""
    body, heading, subject = "", "", ""
    for claim in claims:
        if claim.heading != heading:
            heading, subject = claim.heading, ""
            body += f'<tr class="family"><th scope="colgroup" colspan="4">{escape_html(heading)}</th></tr>'
        if claim.subject != subject:
            subject = claim.subject
            body += f'<tr class="subject"><th scope="colgroup" colspan="4">{render_name(subject)}</th></tr>'
        body += _render_claim(claim)
    heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
    return (
        f'<table class="claims"><caption>{escape_html(caption)}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _render_claim(claim: Claim) -> str:
    text, count = format_claim_figure(claim)
    interval = ""
    if claim.figure is not None:
        places, scale = (2, 1) if claim.unit is ClaimUnit.SHARE else (1, 100)
        interval = format_interval(claim.figure, places, scale=scale)
    figure = f'<span class="figure">{escape_html(text)}</span>'
    figure += f' <span class="figure">{escape_html(interval)}</span>' if interval else ""
    figure += f" <small>{escape_html(count)}</small>" if count else ""
    value = "" if claim.figure is None or claim.figure.value is None else f' data-value="{claim.figure.value!r}"'
    return (
        f'<tr class="claim" data-kind="{escape_html(claim.kind)}"><th scope="row">{render_name(claim.claim)}</th>'
        f"<td{value}>{figure}</td><td>{render_name(claim.against)}</td><td>{render_name(claim.reading)}</td></tr>"
    )
