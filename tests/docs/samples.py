"""The code samples of the documentation: every fence of the README, of docs/ and of the pages made from code."""

from __future__ import annotations

from typing import NamedTuple

from markdown_it import MarkdownIt

from docs.builder.blocks import ROOT, pages
from docs.builder.site import generated


class Fence(NamedTuple):
    """One code sample."""

    page: str
    line: int
    language: str
    code: str

    @property
    def first_line(self) -> str:
        return self.code.splitlines()[0]


def list_fences() -> list[Fence]:
    """Every fence, in the order of pages and lines."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in pages()}
    texts["CONTRIBUTING.md"] = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    texts |= {f"made from code: {page}": text for page, text in generated().items()}
    return [
        Fence(page, token.map[0] + 1, token.info.strip(), token.content)
        for page, text in texts.items()
        for token in MarkdownIt().parse(text)
        if token.type == "fence"
    ]
