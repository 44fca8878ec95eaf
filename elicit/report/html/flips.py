"""Problems that an arm gains and loses against another: counted, and linked to the completions on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from elicit.report.data.number_format import DASH
from elicit.report.data.summary_view import Arm
from elicit.report.html import tables
from elicit.report.html.tables import Cell, Column
from elicit.schema import Row
from elicit.text import escape

#: Links to problems on the page, at most, in one cell.
LINKS = 3


class Flips(NamedTuple):
    """Problem ids in the run's order."""

    gained: tuple[str, ...]
    """Right here, wrong there."""
    lost: tuple[str, ...]
    """Wrong here, right there."""


def between(mine: Mapping[str, Row], other: Mapping[str, Row]) -> Flips:
    """What one arm gains and loses against another, over the problems that both have answered."""
    both = [problem for problem in mine if problem in other]
    return Flips(
        tuple(problem for problem in both if mine[problem].correct and not other[problem].correct),
        tuple(problem for problem in both if not mine[problem].correct and other[problem].correct),
    )


def table(
    arms: Sequence[Arm],
    rows: Mapping[str, Mapping[str, Row]],
    references: Sequence[str],
    anchors: Mapping[str, tuple[str, int]],
) -> str:
    """One row an arm: gained and lost against each reference.

    Args:
        rows: arm -> problem -> its own answer, of one seed.
        anchors: problem -> (anchor on the page, its number there).
    """
    if not references:
        return ""
    columns = []
    for reference in references:
        columns.append(Column(f"gained on {reference}", f"right here, wrong under {reference}"))
        columns.append(Column(f"lost to {reference}", f"wrong here, right under {reference}"))
    found = []
    for arm in arms:
        cells: list[Cell] = []
        for reference in references:
            if arm.name == reference:
                cells += [Cell(DASH), Cell(DASH)]
                continue
            flips = between(rows[arm.name], rows[reference])
            cells += [_cell(flips.gained, anchors), _cell(flips.lost, anchors)]
        found.append((arm, cells))
    caption = (
        "Problems that change between right and wrong, by own answers of each arm's first finished seed, over the "
        "problems that both have answered. Numbers in brackets lead to completions side by side."
    )
    return tables.table(columns, found, caption=caption)


def _cell(problems: Sequence[str], anchors: Mapping[str, tuple[str, int]]) -> Cell:
    known = [anchors[problem] for problem in problems if problem in anchors][:LINKS]
    links = " ".join(f'<a href="#{escape(name)}">[{number}]</a>' for name, number in known)
    shown = f'<span class="links">{links}</span> ' if links else ""
    return Cell(f"{shown}{len(problems)}", "", "", float(len(problems)))
