"""An entry of a site: a run's report or an SAE's feature pages, as the index shows it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["runs", "saes"]


class Entry(NamedTuple):
    """One line of the index, and the figure below it."""

    title: str
    facts: str
    """Plain text under the title."""
    page: str
    """File that the title links to, relative to the entry's folder."""
    figure: str = ""
    """Markup, inline SVG; empty for none."""
