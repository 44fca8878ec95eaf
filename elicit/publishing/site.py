"""Write a site: each entry into its own folder, then the index, then the whole folder into place at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from elicit.errors import ElicitError
from elicit.publishing.entry import Entry as Entry
from elicit.publishing.entry import Kind
from elicit.publishing.index_page import render_site_index
from elicit.runs import fresh_folder, write_json
from elicit.version import __version__

MARKER = "site.json"
_GENERATOR = "elicit publish"
_BELONGS = {"index.html", MARKER, "runs", "saes"}


class Publication(NamedTuple):
    """Something to publish, before it is written."""

    kind: Kind
    name: str
    """Name of its folder; a number is added where two entries have the same."""
    write: Callable[[Path], Entry]
    """Fills a folder that does not exist yet, and describes the result."""


def check_site_target(target: Path) -> None:
    """Refuse to replace what `write_site` did not make.

    Raises:
        ElicitError: a file, a link, or a folder with anything beside an earlier site in it.
    """
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise ElicitError(f"{target} exists and is not a folder. Name another place with --out.")
    names = {entry.name for entry in target.iterdir()}
    if not names:
        return
    if not _is_site(target) or names - _BELONGS:
        others = sorted(names - _BELONGS) or sorted(names)
        raise ElicitError(
            f"{target} holds files that would be lost, such as {others[0]!r}. Name a new folder with --out, or "
            "one that elicit publish made."
        )


def write_site(target: Path, title: str, publications: Sequence[Publication]) -> Path:
    """Write a site; it is there whole or not at all, and replaces an earlier one. Returns the path of its index.

    Raises:
        ElicitError: as `check_site_target` and the publications' own `write`, or a folder that cannot be written.
    """
    check_site_target(target)
    entries: dict[str, Entry] = {}
    with fresh_folder(target) as scratch:
        for publication in publications:
            folder = _choose_folder(publication, entries)
            (scratch / publication.kind).mkdir(exist_ok=True)
            entries[folder] = publication.write(scratch / folder)
        (scratch / "index.html").write_text(render_site_index(title, entries), encoding="utf-8")
        index = [{"title": e.title, "facts": e.facts, "page": f"{folder}/{e.page}"} for folder, e in entries.items()]
        write_json(scratch / MARKER, {"generator": _GENERATOR, "elicit": __version__, "title": title, "entries": index})
    return target / "index.html"


def _is_site(folder: Path) -> bool:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("generator") == _GENERATOR


def _choose_folder(publication: Publication, taken: dict[str, Entry]) -> str:
    names = (f"{publication.kind}/{publication.name}{suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 10_000))))
    return next(name for name in names if name.casefold() not in {other.casefold() for other in taken})
