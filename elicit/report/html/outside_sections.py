"""Sections of the page that installed packages offer by entry points of the group `elicit.report_sections`.

A section that fails says so in its place: the rest of the page is worth having, and the run is whole without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from elicit.errors import ElicitError, one_line
from elicit.plugins import list_entry_points, load_reference
from elicit.report.data.run_reader import LoadedRun
from elicit.report.data.summary_view import ModelPanel
from elicit.report.html.section import Section
from elicit.text import escape_html

GROUP = "elicit.report_sections"
#: Bytes of one section.
_BUDGET = 400_000
_MEMBERS = tuple(name for name in vars(Section) if not name.startswith("_"))


@dataclass(frozen=True)
class OutsideSection:
    """A section of an installed package, kept within its bytes."""

    inner: Section
    reference: str

    @property
    def id(self) -> str:
        return self.inner.id

    @property
    def title(self) -> str:
        return self.inner.title

    @property
    def short_title(self) -> str:
        return self.inner.short_title

    def render(self, run: LoadedRun, panels: list[ModelPanel]) -> str | None:
        try:
            markup: Any = self.inner.render(run, panels)
        except Exception as error:
            return self._explain(f"failed with {type(error).__name__}: {one_line(error, 200)}")
        if markup is None:
            return None
        if not isinstance(markup, str):
            return self._explain(f"gave {type(markup).__name__} and not text")
        size = len(markup.encode())
        return (
            markup if size <= _BUDGET else self._explain(f"has {size:,} bytes, more than the {_BUDGET:,} it may take")
        )

    def _explain(self, fault: str) -> str:
        return f'<p class="note">The section of {escape_html(self.reference)} {escape_html(fault)}.</p>'


def load_sections(taken: Iterable[str]) -> list[Section]:
    """Every section that an installed package offers, by name.

    Args:
        taken: ids that other sections of the page have.

    Raises:
        ElicitError: code that cannot be imported, that is not a section, or whose id is taken.
    """
    ids = set(taken)
    sections: list[Section] = []
    for name, reference in list_entry_points(GROUP).items():
        section = load_reference(reference)
        try:
            section = section() if isinstance(section, type) else section
            missing = [member for member in _MEMBERS if member not in dir(section)]
        except Exception as error:
            raise ElicitError(f"report section {name!r} ({reference}) cannot be made: {one_line(error)}") from error
        if missing:
            raise ElicitError(
                f"report section {name!r} ({reference}) lacks {', '.join(missing)}; see elicit.report.html.section."
            )
        if not re.fullmatch(r"[a-z][a-z0-9-]*", str(section.id)) or section.id in ids:
            raise ElicitError(
                f"report section {name!r} ({reference}) has the id {one_line(repr(section.id), 60)}; expected "
                f"lower-case letters, digits and -, and none of {', '.join(sorted(ids))}."
            )
        ids.add(section.id)
        sections.append(OutsideSection(section, reference))
    return sections
