"""Reads a report as a reader's program would: figure cells, figure marks, tags, and what they show."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

_VOID = ("meta", "link", "br", "wbr", "input")


class Found(NamedTuple):
    """A figure on the page: a table's cell, or a mark in a chart."""

    tag: str
    model: str
    arm: str
    key: str
    value: str | None
    section: str


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.figures: list[Found] = []
        self.shown: dict[tuple[str, str], str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self._arm, self._key, self._model, self._section = "", "", "", ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag not in _VOID:
            self.stack.append(tag)
        self._section = given.get("id") or "" if tag == "section" else self._section
        self._model = given.get("data-model") or self._model
        self._arm = given.get("data-arm") or "" if tag == "tr" else self._arm
        self._key = given.get("data-key") or "" if tag == "td" else self._key
        self.handle_startendtag(tag, attributes)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.tags.append((tag, given))
        key, arm = given.get("data-key"), given.get("data-arm") or self._arm
        if key:
            self.figures.append(Found(tag, self._model, arm, key, given.get("data-value"), self._section))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag
        self._key = "" if tag == "td" else self._key

    def handle_data(self, data: str) -> None:
        if self._key:
            self.shown[self._arm, self._key] = self.shown.get((self._arm, self._key), "") + data


def read(text: str) -> Page:
    """A page or a piece of one; every element is closed."""
    page = Page()
    page.feed(text)
    page.close()
    assert page.stack == []
    return page


def parsed(path: Path) -> tuple[str, Page]:
    text = path.read_text(encoding="utf-8")
    return text, read(text)


def looked_up(panel: dict[str, Any], arm: str, key: str) -> float | None:
    """What the summary says where a figure on the page points to."""
    if key.startswith("ceilings."):
        return panel["ceilings"][int(key.split(".")[1])]["value"]
    found: Any = panel["arms"][arm]
    for part in key.split("."):
        name = "p_holm" if part == "p" and isinstance(found, dict) and "p_holm" in found else part
        name = "p" if key.endswith("difference.p") and part == "p" else name
        found = None if found is None else found.get(name)
    if isinstance(found, dict):
        assert found.keys() & {"difference", "value"}, (arm, key)
        return found["difference"] if "difference" in found else found["value"]
    return found
