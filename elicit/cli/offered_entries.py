"""Lists of what installed packages offer by entry points, for `elicit ls`.

An entry that cannot be used under its name does not end the list: one line on stderr says which, and why.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

from elicit.errors import ElicitError


class OfferedEntry(NamedTuple):
    """One name that a package offers."""

    name: str
    package: str
    """The distribution, as pip knows it."""
    reference: str
    """`module:Name`."""


def list_offered_entries(group: str) -> list[OfferedEntry]:
    """Everything that installed packages offer under a group, sorted by name and package."""
    points = importlib.metadata.entry_points(group=group)
    return sorted({OfferedEntry(p.name, "?" if p.dist is None else str(p.dist.name), p.value) for p in points})


def print_offered_entries(
    kind: str, group: str, built_in: Iterable[str], describe: Callable[[OfferedEntry], str]
) -> None:
    """Print a description of every entry that can be imported, and a line on stderr for every other difficulty.

    Args:
        kind: "task", for messages.
        built_in: names that the lab keeps for itself.
        describe: imports the entry; its ElicitError is reported.
    """
    entries, reserved = list_offered_entries(group), set(built_in)
    for entry in entries:
        try:
            print(describe(entry))
        except ElicitError as error:
            _report_difficulty(kind, entry, str(error))
            continue
        rivals = {other.package for other in entries if other.name == entry.name and other.reference != entry.reference}
        if entry.name in reserved:
            _report_difficulty(kind, entry, f"a built-in one has this name. Type: {entry.reference}")
        elif rivals:
            _report_difficulty(kind, entry, f"{', '.join(sorted(rivals))} offers it too. Type: {entry.reference}")


def _report_difficulty(kind: str, entry: OfferedEntry, difficulty: str) -> None:
    print(f"elicit ls: {kind} {entry.name!r} of package {entry.package}: {difficulty}", file=sys.stderr)
