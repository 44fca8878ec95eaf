"""Figures in the prose of the result pages: every interval that is written there is one of the archive's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from docs.builder.paths import RESULTS, ROOT, list_archives, result_page
from elicit.comparison.archive import CELLS, SUMMARY, read_compressed_json

DOCS = ROOT / "docs"
#: Page -> the archives that its prose speaks of.
PAGES = {
    **{result_page(folder): [folder] for folder in list_archives()},
    "organisms.md": [RESULTS / name for name in ("organisms", "serial", "last_layer", "base_samples")],
}
_BLOCK = re.compile(r"<!-- table.*?<!-- end -->", re.DOTALL)
_INTERVAL = re.compile(r"(-?\d+(?:\.\d+)?)(?: %)?(?: points)? \[(-?\d+(?:\.\d+)?),\s+(-?\d+(?:\.\d+)?)\]")
Figure = tuple[float, float, float]
_PAIRS = (
    ("value", "ci"),
    ("accuracy", "ci"),
    ("difference", "ci"),
    ("gap_recovered", "gap_ci"),
    ("trace_rate", "trace_ci"),
)


def _estimates(node: Any) -> Iterator[Figure]:
    """Every (value, low, high) of a summary, or of the records of its cells."""
    if isinstance(node, dict):
        for value, interval in _PAIRS:
            if isinstance(node.get(value), float) and node.get(interval):
                yield node[value], *node[interval]
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from _estimates(part)


def _as_written(figure: Figure) -> Iterator[Figure]:
    """The forms in which pages give a figure: percent, points (of either sign), shares."""
    value, low, high = figure
    percent = 100 * value, 100 * low, 100 * high
    whole, tenths = (tuple(round(x, digits) for x in percent) for digits in (0, 1))
    yield from (whole, tenths, (tenths[0], *whole[1:]), tuple(round(x, 2) for x in figure))
    yield from ((-value, -high, -low) for value, low, high in (whole, tenths))


def _known_figures(folders: list[Path]) -> set[Figure]:
    """All forms of all figures of some archives."""
    files = [read_compressed_json(folder / name) for folder in folders for name in (SUMMARY, CELLS)]
    return {form for figure in _estimates(files) for form in _as_written(figure)}


def figures_in(text: str) -> list[Figure]:
    """The figures with intervals in a page's prose."""
    return [tuple(map(float, match.groups())) for match in _INTERVAL.finditer(_BLOCK.sub("", text))]


@pytest.mark.parametrize("page", PAGES)
def test_intervals_in_prose_are_the_archives(page: str) -> None:
    known = _known_figures(PAGES[page])
    unknown = [figure for figure in figures_in((DOCS / page).read_text(encoding="utf-8")) if figure not in known]
    assert unknown == []


def test_the_pages_have_such_figures() -> None:
    counts = {page: len(figures_in((DOCS / page).read_text(encoding="utf-8"))) for page in PAGES}
    assert counts["results/unlock.md"] > 40
    assert counts["results/sae.md"] > 20
    assert counts["organisms.md"] > 5


def test_a_wrong_figure_is_noticed() -> None:
    known = {
        form for figure in _estimates(read_compressed_json(RESULTS / "sae" / SUMMARY)) for form in _as_written(figure)
    }
    assert (94.0, 91.0, 96.0) in known
    assert (95.0, 91.0, 96.0) not in known
