"""A claim: one comparison of a verdict with its figure and its reading, a row of the table of claims."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from elicit.report.data.number_format import format_number, format_percent
from elicit.report.data.summary_view import OptionalEstimate


class ClaimKind(StrEnum):
    """The comparison behind a claim."""

    GAIN = "gain"
    SHARE = "share of the gap"
    AGAINST_SFT = "against SFT"
    AT_BUDGET = "against SFT at its spending"
    FLOOR = "floor"
    CONTROL = "control"
    NO_CONTROL = "no control"
    VARIANT = "variant"
    REPLICATION = "replication"
    SUFFICIENCY = "sufficiency"
    RANK = "rank"
    NECESSITY = "necessity"
    SUBSTITUTE = "substitute"
    COST = "cost"
    SHARPENING = "sharpening"
    EXPANSION = "expansion"
    LEAK = "leak"
    LARGEST = "largest of a family"
    VERIFIER = "verifier"


class ClaimUnit(StrEnum):
    """The unit of a claim's figure, which is a share of 1 in every case."""

    POINTS = "points"
    """A difference of two accuracies."""
    PERCENT = "%"
    SHARE = "of the gap"


@dataclass(frozen=True)
class Claim:
    """A row of the table."""

    kind: ClaimKind
    heading: str
    """The family it belongs to."""
    subject: str
    """The arm, or what stands in its place."""
    claim: str
    figure: OptionalEstimate | None
    """None where nothing was measured."""
    unit: ClaimUnit
    against: str
    reading: str


def format_claim_figure(claim: Claim) -> tuple[str, str]:
    """(the figure with its unit, n); a dash where nothing was measured."""
    figure = claim.figure
    if figure is None or figure.value is None:
        return "–", ""
    count = "" if figure.n is None else f"n = {figure.n}"
    if claim.unit is ClaimUnit.SHARE:
        return format_number(figure.value, 2), count
    signed = claim.unit is ClaimUnit.POINTS
    return f"{format_percent(figure.value, signed=signed)} {claim.unit}", count
