"""Gather the site's source: hand-written pages, generated pages, figures, and the configuration with its navigation.

    build/docs/          what is built
    build/mkdocs.yml     mkdocs.yml with each folder of the navigation written out

Links are rewritten for the site: figures of committed results are copied, files of the repository become plain text. A
link to what is not there is an error.
"""

from __future__ import annotations

import functools
import os
import posixpath
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from docs.builder import reference
from docs.builder.methods import method_pages
from docs.builder.paths import ROOT, list_archives, result_page, spec_of
from elicit.errors import ElicitError

#: Files outside docs/ that are pages of the site: file -> page. One that a checkout lacks is left out.
OUTSIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "experiments/real/findings.md": "results/qwen_coder-findings.md",
    "experiments/generalization/findings.md": "results/generalization/findings.md",
}
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_ARXIV = re.compile(r"(?<![\w./\[`])(\d{4}\.\d{5})(?![\w`\]]|\.\d)")
_FENCE = re.compile(r"^(```.*?^```[^\S\n]*$)", re.MULTILINE | re.DOTALL)


def hand_written() -> dict[str, Path]:
    """Page of the site -> the file that holds it."""
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).as_posix(): path for path in sorted(docs.rglob("*.md"))}
    return {**pages, **{page: ROOT / file for file, page in OUTSIDE.items() if (ROOT / file).exists()}}


@functools.cache
def generated() -> Mapping[str, str]:
    """Page of the site -> its text, made from the code."""
    pages = method_pages() | {
        "reference/cli.md": reference.cli_page(),
        "reference/spec.md": reference.spec_page(),
        "reference/fields.md": reference.rows_page(),
        "reference/tasks.md": reference.tasks_page(),
    }
    return pages | {f"api/{name}.md": reference.api_page(name) for name in reference.API}


def gather_site(build: Path) -> Path:
    """Write the site's source and configuration. Returns the configuration's path.

    Raises:
        ElicitError: a link to what is not there, or a page that the navigation leaves out.
    """
    target = build / "docs"
    shutil.rmtree(target, ignore_errors=True)
    written = hand_written()
    texts = dict(generated())
    for page, path in written.items():
        texts[page] = rewrite_links(path.read_text(encoding="utf-8"), path, page, written, target)
    for archive in list_archives():
        texts[result_page(archive)] += spec_section(archive)
    for page, text in texts.items():
        place = target / page
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(link_papers(text), encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "stylesheets", target / "stylesheets")
    return _write_config(build, texts)


def links_of(text: str) -> Iterator[re.Match[str]]:
    """The links and images of a page, those in code fences left out."""
    for part in _FENCE.split(text)[::2]:
        yield from _LINK.finditer(part)


def rewrite_links(text: str, path: Path, page: str, written: Mapping[str, Path], target: Path) -> str:
    """A page with its relative links as they are on the site. Copies the figures that it shows."""
    pages = {file.resolve(): name for name, file in written.items()}

    def replace(match: re.Match[str]) -> str:
        address, _, anchor = match["target"].partition("#")
        if not address or "://" in address:
            return match[0]
        file = (path.parent / address).resolve()
        if not file.exists():
            raise ElicitError(f"{path.relative_to(ROOT)}: the link to {address} leads nowhere.")
        if file in pages:
            there = posixpath.relpath(pages[file], posixpath.dirname(page) or ".")
            return f"{match['image']}[{match['text']}]({there}{'#' + anchor if anchor else ''})"
        if match["image"]:
            copy = Path("figures") / file.relative_to(ROOT)
            (target / copy).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / copy)
            there = posixpath.relpath(copy.as_posix(), posixpath.dirname(page) or ".")
            return f"![{match['text']}]({there})"
        return match["text"]

    parts = _FENCE.split(text)
    parts[::2] = [_LINK.sub(replace, part) for part in parts[::2]]
    return "".join(parts)


def link_papers(text: str) -> str:
    """A page in which arXiv ids are links."""
    parts = _FENCE.split(text)
    parts[::2] = ["\n".join(map(_link_papers_in_line, part.split("\n"))) for part in parts[::2]]
    return "".join(parts)


def _link_papers_in_line(line: str) -> str:
    return line if line.startswith("    ") else _ARXIV.sub(r"[\1](https://arxiv.org/abs/\1)", line)


def spec_section(archive: Path) -> str:
    """The end of a result's page: the spec that it was made with."""
    spec = spec_of(archive)
    text = spec.read_text(encoding="utf-8").rstrip()
    return f"\n## The spec\n\n`{spec.relative_to(ROOT).as_posix()}`\n\n```yaml\n{text}\n```\n"


def _write_config(build: Path, texts: Mapping[str, str]) -> Path:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    config["nav"] = [_expand(entry, texts) for entry in config["nav"]]
    listed = set(_pages_in(config["nav"]))
    if left := sorted(set(texts) - listed):
        raise ElicitError(f"mkdocs.yml: the navigation leaves out {', '.join(left)}. Add them to nav.")
    config["docs_dir"], config["site_dir"] = "docs", "site"
    for plugin in config["plugins"]:
        if isinstance(plugin, dict) and "mkdocstrings" in plugin:
            plugin["mkdocstrings"]["handlers"]["python"]["paths"] = [os.fspath(ROOT)]
    path = build / "mkdocs.yml"
    path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _expand(entry: Any, texts: Mapping[str, str]) -> Any:
    """A navigation entry, a folder in it (`methods/`) replaced by its pages and, under their titles, its folders."""
    if isinstance(entry, dict):
        title, value = next(iter(entry.items()))
        if isinstance(value, list):
            items = (item for item in value if item not in OUTSIDE.values() or item in texts)
            return {title: [part for item in items for part in _listed(_expand(item, texts))]}
        return {title: _listed(_expand(value, texts))} if value.endswith("/") else entry
    if isinstance(entry, str) and entry.endswith("/"):
        inside = [page for page in texts if posixpath.dirname(page) + "/" == entry]
        folders = dict.fromkeys(
            entry + page.removeprefix(entry).partition("/")[0] + "/"
            for page in texts
            if page.startswith(entry) and page not in inside
        )
        nested = [{_title_of(texts[f"{folder}index.md"]): _listed(_expand(folder, texts))} for folder in folders]
        return sorted(inside, key=lambda page: not page.endswith("index.md")) + nested
    return entry


def _title_of(text: str) -> str:
    """The heading that a page opens with."""
    return text.partition("\n")[0].removeprefix("# ")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _pages_in(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from _pages_in(part)
