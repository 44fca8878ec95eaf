"""The documentation is true to code and archives: generated blocks and pages, links, sizes, navigation."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import re
from pathlib import Path

import pytest

from docs.builder import reference
from docs.builder.blocks import fill_blocks, pages
from docs.builder.methods import method_page
from docs.builder.paths import RESULTS, ROOT, list_archives, result_page, spec_of
from docs.builder.site import OUTSIDE, gather_site, generated, hand_written, link_papers, links_of, rewrite_links
from elicit.comparison.spec import Spec, read_limited_spec
from elicit.errors import ElicitError
from elicit.methods.catalog import METHODS, load_config_class

ARCHIVES = list_archives()
SPECS = sorted((ROOT / "experiments").rglob("*.yaml"))
#: A name of ours in a page: `elicit.tasks.TaskBase`, `saes.load(...)`; and a path of the repository.
_NAME = re.compile(r"`((?:elicit|saes|experiments)(?:\.\w+)+)(?:\(.*?\))?`")
_PATH = re.compile(r"`((?:elicit|saes|docs|tests|experiments)/[\w./-]+)`")


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 9_000
    assert len(text.splitlines()) <= 170


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_generated_blocks_equal_code_and_archives(path: Path) -> None:
    """After a change: python -m docs.builder --write."""
    text = path.read_text(encoding="utf-8")
    assert fill_blocks(text) == text


def test_a_changed_figure_is_noticed() -> None:
    page = (ROOT / "docs" / "results" / "quickstart.md").read_text(encoding="utf-8")
    changed = page.replace("| `cued` | base | 0 % [0, 3] |", "| `cued` | base | 9 % [0, 3] |")
    assert changed != page
    assert fill_blocks(changed) == page


@pytest.mark.parametrize("folder", ARCHIVES, ids=lambda folder: folder.name)
def test_every_archive_has_its_page(folder: Path) -> None:
    """With its command and seeds, all its arms, and its curves if it has any."""
    name = folder.relative_to(RESULTS).as_posix()
    text = (ROOT / "docs" / result_page(folder)).read_text(encoding="utf-8")
    assert f"<!-- table: {name} run -->" in text
    assert f"<!-- table: {name} comparison -->" in text


@pytest.mark.parametrize("folder", ARCHIVES, ids=lambda folder: folder.name)
def test_the_spec_of_a_page_is_the_one_that_was_run(folder: Path) -> None:
    """Models may stand at another path by now."""
    archived, shown = (read_limited_spec(path)[0].to_dict() for path in (folder / "spec.yaml", spec_of(folder)))
    assert list(archived.pop("models")) == list(shown.pop("models"))
    assert archived == shown


def test_every_spec_has_a_result_or_a_reason() -> None:
    index = (ROOT / "docs" / "results" / "index.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(experiments/[\w/.]+\.yaml)`", index))
    run = {spec_of(folder) for folder in ARCHIVES}
    archived = {path for path in SPECS if RESULTS in path.parents}
    assert {ROOT / name for name in named} == set(SPECS) - run - archived


@pytest.mark.parametrize("page", sorted({*hand_written(), *generated()}))
def test_names_in_prose_exist(page: str) -> None:
    text = generated().get(page) or hand_written()[page].read_text(encoding="utf-8")
    if page != "changelog.md":  # which names what was there
        assert [name for name in _NAME.findall(text) if not _exists(name)] == []
        assert [path for path in _PATH.findall(text) if not (ROOT / path).exists() and not any(ROOT.glob(path))] == []


@functools.cache
def _exists(name: str) -> bool:
    """Whether a dotted name can be reached by importing its longest module and taking attributes."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for i, part in enumerate(parts[length:]):
            if part not in {*dir(value), *getattr(value, "__all__", ()), *getattr(value, "__annotations__", {})}:
                return False
            if i + length + 1 < len(parts):
                value = getattr(value, part)
        return True
    return False


def test_papers_become_links() -> None:
    line = "after 2601.08058, `2309.09117` and [2402.10200](https://arxiv.org/abs/2402.10200)"
    assert link_papers(line) == line.replace("2601.08058", "[2601.08058](https://arxiv.org/abs/2601.08058)")


def test_the_site_is_gathered(tmp_path: Path) -> None:
    """Every link leads somewhere, every page is in the navigation, every figure is copied."""
    gather_site(tmp_path)
    written = {path.relative_to(tmp_path / "docs").as_posix() for path in (tmp_path / "docs").rglob("*.md")}
    assert written == {*hand_written(), *generated()}
    for path in (tmp_path / "docs").rglob("*.md"):
        for link in links_of(path.read_text(encoding="utf-8")):
            address = link["target"].partition("#")[0]
            assert "://" in address or not address or (path.parent / address).exists(), (path, address)


@pytest.mark.parametrize("name", ["README.md", *(name for name in OUTSIDE if (ROOT / name).exists())])
def test_links_outside_the_site_lead_somewhere(name: str) -> None:
    for link in links_of((ROOT / name).read_text(encoding="utf-8")):
        address = link["target"].partition("#")[0]
        assert "://" in address or not address or ((ROOT / name).parent / address).exists(), address


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ElicitError, match=r"docs/index.md: the link to nowhere.md leads nowhere"):
        rewrite_links("see [this](nowhere.md)", ROOT / "docs" / "index.md", "index.md", {}, tmp_path)


@pytest.mark.parametrize("name", METHODS)
def test_a_page_of_a_method_has_all_its_options(name: str) -> None:
    page = method_page(name)
    documented = set(re.findall(r"^- \*\*`(\w+)`\*\*", page, re.MULTILINE))
    assert documented == {field.name for field in dataclasses.fields(load_config_class(name))}


def test_the_page_of_specs_has_all_fields() -> None:
    documented = set(re.findall(r"^- \*\*`(\w+)`\*\*", reference.spec_page(), re.MULTILINE))
    assert documented >= set(Spec.model_fields)


@pytest.mark.parametrize("name", sorted({name for _, _, names in reference.API.values() for name in names}))
def test_the_api_pages_name_what_exists(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        assert attribute in dir(importlib.import_module(module))
