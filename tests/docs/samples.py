"""The code samples of the documentation: every fence of the README, of docs/ and of the pages made from code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from docs.builder.blocks import pages
from docs.builder.paths import ROOT
from docs.builder.site import generated
from tests.support.outside import write_distribution

#: The first line of a sample that is a file: its path.
_FILE = re.compile(r"# ([\w/]+\.py)")


class Fence(NamedTuple):
    """One code sample."""

    page: str
    line: int
    language: str
    code: str

    @property
    def first_line(self) -> str:
        return self.code.splitlines()[0]

    @property
    def file(self) -> str | None:
        """The path of a sample that is a file; None for one that is typed."""
        match = _FILE.fullmatch(self.first_line)
        return match[1] if match else None


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


def write_page_files(fences: list[Fence], folder: Path) -> None:
    """Write the files that a page shows, and install the entry points that its TOML declares."""
    for fence in fences:
        if fence.file is not None:
            path = folder / fence.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(fence.code, encoding="utf-8")
            if path.parent != folder:
                (path.parent / "__init__.py").touch()
        elif fence.language == "toml":
            groups = tomllib.loads(fence.code)["project"]["entry-points"]
            points = {f"{group}/{name}": code for group, names in groups.items() for name, code in names.items()}
            write_distribution(folder, f"sample{fence.line}", points)
