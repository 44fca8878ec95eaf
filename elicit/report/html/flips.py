"""Problems that an arm gains and loses against another: counted, and linked to the completions on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from elicit.report.data.number_format import DASH
from elicit.report.data.summary_view import Arm
from elicit.report.html import tables
from elicit.report.html.tables import TableCell, TableColumn
from elicit.schema import Row
from elicit.text import escape_html

#: Links to problems on the page, at most, in one cell.
MAX_LINKS = 3


class Flips(NamedTuple):
    """Problem ids in the run's order."""

    gained: tuple[str, ...]
    """Right here, wrong there."""
    lost: tuple[str, ...]
    """Wrong here, right there."""


def find_flips(arm_rows: Mapping[str, Row], reference_rows: Mapping[str, Row]) -> Flips:
    """Problems that one arm gains and loses against another, out of those that both have answered."""
    shared_problems = [problem for problem in arm_rows if problem in reference_rows]
    return Flips(
        tuple(
            problem for problem in shared_problems if arm_rows[problem].correct and not reference_rows[problem].correct
        ),
        tuple(
            problem for problem in shared_problems if not arm_rows[problem].correct and reference_rows[problem].correct
        ),
    )


def render_flips_table(
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
        columns.append(TableColumn(f"gained on {reference}", f"right here, wrong under {reference}"))
        columns.append(TableColumn(f"lost to {reference}", f"wrong here, right under {reference}"))
    table_rows = []
    for arm in arms:
        cells: list[TableCell] = []
        for reference in references:
            if arm.name == reference:
                cells += [TableCell(DASH), TableCell(DASH)]
                continue
            flips = find_flips(rows[arm.name], rows[reference])
            cells += [_build_flips_cell(flips.gained, anchors), _build_flips_cell(flips.lost, anchors)]
        table_rows.append((arm, cells))
    caption = (
        "Problems that change between right and wrong, by own answers of each arm's first finished seed, over the "
        "problems that both have answered. Numbers in brackets lead to completions side by side."
    )
    return tables.render_arm_table(columns, table_rows, caption=caption)


def _build_flips_cell(problems: Sequence[str], anchors: Mapping[str, tuple[str, int]]) -> TableCell:
    targets = [anchors[problem] for problem in problems if problem in anchors][:MAX_LINKS]
    links = " ".join(f'<a href="#{escape_html(name)}">[{number}]</a>' for name, number in targets)
    link_text = f'<span class="links">{links}</span> ' if links else ""
    return TableCell(f"{link_text}{len(problems)}", "", "", float(len(problems)))
