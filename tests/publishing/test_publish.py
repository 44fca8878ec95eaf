"""`elicit publish`: a site that opens offline, is replaced only where it was made by it, and is there whole or not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from elicit.errors import ElicitError
from elicit.publishing import Entry, Publication, write_site
from tests.interop import made
from tests.saes.hostile import Reader
from tests.support.comparisons import content, elicit

SAE = ("--features", "3,17", "--task", "addition", "--tokens", 2000)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.make(tmp_path_factory.mktemp("publishing") / "my run")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Feature pages written by `elicit sae dashboard`."""
    out = tmp_path_factory.mktemp("pages") / "cued-L1"
    done = elicit("sae", "dashboard", "cued/L1", *SAE, "--out", out)
    assert done.code == 0, done.err
    return out


def _assert_links_stay_inside(site: Path) -> int:
    """Every link of every page leads, relative, to a file of the site or to an anchor; returns how many pages."""
    paths = sorted(site.rglob("*.html"))
    for path in paths:
        reader = Reader(path.read_text(encoding="utf-8"))
        assert reader.attributes("src") == []
        for href in reader.attributes("href"):
            if href.startswith(("#", "data:")) or (path.name == "report.html" and href.startswith("https://")):
                continue  # a report cites the papers of its methods
            assert not re.match(r"[a-z]+:|/", href), href
            leads_to = (path.parent / unquote(href.split("#")[0])).resolve()
            assert leads_to.is_file(), f"{path}: {href}"
            assert site.resolve() in leads_to.parents, href
    return len(paths)


def test_a_run_and_an_sae_become_one_site(run: Path, pages: Path, tmp_path: Path) -> None:
    before = content(run)
    out = tmp_path / "deep" / "site"
    done = elicit("publish", "cued/L1", run, pages, *SAE, "--out", out, "--title", "Ours & <theirs>")
    assert (done.code, done.out) == (0, f"{out / 'index.html'}\n"), done.err
    assert content(run) == before, "publishing changes nothing in the run"
    assert _assert_links_stay_inside(out) == 1 + 1 + 2 * 3
    index = Reader((out / "index.html").read_text(encoding="utf-8"))
    assert index.text.count("Ours & <theirs>") == 2, "the title and the heading"
    assert index.attributes("href")[1:] == [
        "runs/my-run/report.html",
        "saes/cued-L1/index.html",
        "saes/cued-L1-2/index.html",
    ]
    assert "cued on addition: 4 arms, 12 test problems, 2 seeds." in index.text
    assert index.text.count("2 of 512 features") == 2
    assert "svg" in index.tags(), "the run's forest plot"
    # The same features and text, read twice: the pages made now are those made before.
    for page in ("index.html", "features/3.html", "features/17.html"):
        assert (out / "saes" / "cued-L1-2" / page).read_bytes() == (pages / page).read_bytes()
    listed = json.loads((out / "site.json").read_text())["entries"]
    assert [(out / entry["page"]).is_file() for entry in listed] == [True] * 3
    assert not list(out.parent.glob(".*")), "scratch is left"


def test_an_archive_and_the_pages_of_a_run(run: Path, pages: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "mine")
    shutil.copytree(pages, copy / "dashboard" / "cued-L1")
    (copy / "dashboard" / "other").mkdir()
    assert elicit("archive", run, tmp_path / "packed").code == 0
    done = elicit("publish", copy, tmp_path / "packed", "--out", tmp_path / "site")
    assert done.code == 0, done.err
    names = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").glob("*/*")}
    assert names == {"runs/mine", "runs/packed", "saes/cued-L1"}
    _assert_links_stay_inside(tmp_path / "site")


def test_only_a_site_is_replaced(pages: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    out.mkdir()
    assert elicit("publish", pages, "--out", out).code == 0, "an empty folder"
    assert elicit("publish", pages, "--out", out, "--title", "again").code == 0, "a site"
    assert "again" in (out / "index.html").read_text()
    (out / "CNAME").write_text("example.org")
    before = content(out)
    done = elicit("publish", pages, "--out", out)
    assert done.code == 2
    assert "'CNAME'" in done.err
    assert content(out) == before
    (out / "CNAME").unlink()
    (out / "site.json").write_text('{"generator": "another"}')
    assert elicit("publish", pages, "--out", out).code == 2, "the marker of something else"
    (tmp_path / "link").symlink_to(out)
    (tmp_path / "file").write_text("")
    for place in ("link", "file"):
        assert elicit("publish", pages, "--out", tmp_path / place).code == 2


def test_bad_input_is_one_line_and_leaves_nothing(run: Path, pages: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (empty := tmp_path / "empty").mkdir()
    damaged = tmp_path / "damaged"
    (damaged / "features").mkdir(parents=True)
    (damaged / "index.html").write_bytes((pages / "index.html").read_bytes())
    unfinished = made.make(tmp_path / "unfinished")
    (unfinished / "summary.json").unlink()
    before = content(tmp_path)
    for targets, message in [
        ((), "nothing to publish"),
        ((pages, "runs/absent"), "runs/absent is neither a folder nor the name of an SAE"),
        ((pages, empty), "empty is neither a run directory or an archive (no spec.yaml)"),
        ((pages, damaged), "lack features/"),
        ((pages, unfinished), "summary.json is missing"),
        ((pages, "--features", "3"), "--features is for one SAE, and 0 are to be read here."),
        (("cued/L1", "--features", "3", "--top", 3), "--features and --top exclude each other"),
        (("cued/L1", "--features", "999"), "999"),
    ]:
        done = elicit("publish", *targets, "--out", out)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert message in done.err
        assert content(tmp_path) == before


def test_a_failing_entry_keeps_the_earlier_site(pages: Path, tmp_path: Path) -> None:
    assert elicit("publish", pages, "--out", tmp_path / "site").code == 0
    before = content(tmp_path)

    def write_half(folder: Path) -> Entry:
        folder.mkdir()
        (folder / "half.html").write_text("half")
        raise ElicitError("the second half is missing.")

    with pytest.raises(ElicitError, match="second half"):
        write_site(tmp_path / "site", "new", [Publication("runs", "half", write_half)])
    assert content(tmp_path) == before
