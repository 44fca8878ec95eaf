"""Strings a vocabulary may hold and a page must survive, and a reader of HTML that insists on closed elements."""

from __future__ import annotations

import re
from html.parser import HTMLParser

STRINGS = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "</style><img src=x onerror=alert(3)>",
    "</title></code></main>",
    "\"><b onmouseover='alert(4)'>",
    "<!-- ",
    "-->",
    "]]>",
    "&lt;&amp;&#x3c;",
    "\u202eright to left",
    "\u2066isolate\u2069",
    "\x00nul",
    "\ud800lone surrogate",
    "\u2028line\u2029paragraph",
    "שלום",
    "\r\n\t ",
    "",
    "x" * 5000,
    "${alert(5)}`{{7*7}}",
    "\ufeff",
)
_VOID = {"meta", "link", "br", "input", "img", "hr", "wbr"}
_RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


class Reader(HTMLParser):
    """Reads a page; `text` is what a person sees, `elements` are (tag, attributes) in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == [], f"not closed: {self.open}"
        assert not _RAW.search(page), "a hidden character stands in the page as it is"
        page.encode("utf-8")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"an attribute twice in {tag}"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> where {self.open[-1]} is open"
        self.open.pop()

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:60]}")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text += data

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] for _, attrs in self.elements if name in attrs]


def assert_closed_to_the_world(reader: Reader, *, scripts: int) -> None:
    """Nothing is fetched, nothing runs but the page's own script, links stay in the folder."""
    assert reader.tags() <= _ALLOWED, reader.tags() - _ALLOWED
    assert sum(tag == "script" for tag, _ in reader.elements) == scripts
    assert reader.attributes("src") == []
    assert not any(name.startswith("on") for _, attrs in reader.elements for name in attrs)
    for tag, attrs in reader.elements:
        if "href" in attrs:
            assert (tag == "link" and attrs["href"] == "data:,") or re.fullmatch(
                r"(\.\./index\.html#f\d+|(features/)?\d+\.html)", attrs["href"]
            )
    policy = next(a["content"] for t, a in reader.elements if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert ("script-src" in policy) == (scripts > 0)


_ALLOWED = set(
    "html head meta title link style body main header nav section aside footer h1 h2 h3 p a dl div dt dd small span "
    "ol li code mark i bdi table thead tbody tr th td svg line rect text title circle path figure figcaption details "
    "summary label input select option output button script".split()
)
