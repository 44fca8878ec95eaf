"""The pages that `elicit sae dashboard` writes, as a part of a site."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

from elicit.errors import ElicitError
from elicit.publishing.entry import Entry

_INDEX, _PAGES = "index.html", "features"


def is_feature_pages(folder: Path) -> bool:
    """True for a folder that `elicit sae dashboard` wrote."""
    from saes.dashboard.feature_page import GENERATOR

    try:
        with (folder / _INDEX).open(encoding="utf-8", errors="replace") as file:
            return f'content="{GENERATOR}"' in file.read(1000)
    except OSError:
        return False


def copy_feature_pages(source: Path, folder: Path) -> Entry:
    """Copy the index and the features' pages, and nothing else that may lie there, into a new folder.

    Raises:
        ElicitError: a page of the index is missing.
    """
    (folder / _PAGES).mkdir(parents=True)
    shutil.copyfile(source / _INDEX, folder / _INDEX)
    for page in sorted((source / _PAGES).glob("*.html")):
        shutil.copyfile(page, folder / _PAGES / page.name)
    return describe_feature_pages(folder)


def describe_feature_pages(folder: Path) -> Entry:
    """Read the title and the facts from the index of feature pages.

    Raises:
        ElicitError: a page of the index is missing.
    """
    text = (folder / _INDEX).read_text(encoding="utf-8")
    links = dict.fromkeys(re.findall(rf'href="({_PAGES}/\d+\.html)"', text))
    missing = [link for link in links if not (folder / link).is_file()]
    if missing:
        raise ElicitError(f"these feature pages lack {missing[0]}, which their index names. Write them again.")
    title = re.search(r"<title>(.*?)</title>", text, re.DOTALL)
    facts = re.search(r"<header>.*?<p[^>]*>(.*?)</p>", text, re.DOTALL)
    return Entry(
        html.unescape(title[1]) if title else folder.name,
        html.unescape(re.sub(r"<[^>]+>", "", facts[1])) if facts else f"{len(links):,} features",
        _INDEX,
    )
