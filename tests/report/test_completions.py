"""Which problems a page shows, what every arm gains and loses, and that a large run stays small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from elicit.comparison.spec.cells import Cell
from elicit.report import write_report
from elicit.report.data.run_reader import get_first_seed_answers, load_report_run
from elicit.report.data.summary_view import read_panels
from elicit.report.html import completions, flips
from elicit.schema import Row
from elicit.tasks import Problem
from tests.report.reading import parsed
from tests.report.support import make_run
from tests.report.synthetic import make_big_run


def rows(**right: bool) -> dict[str, Row]:
    return {
        problem: Row("t", problem, 0, "answer", "h", "x", 1, True, None, correct, False, None, 0, 0, 1)
        for problem, correct in right.items()
    }


def test_flips_are_counted_over_the_problems_that_both_have() -> None:
    mine, other = rows(a=True, b=False, c=True, d=True), rows(a=False, b=True, c=True, e=False)
    assert flips.find_flips(mine, other) == (("a",), ("b",))
    assert flips.find_flips(other, mine) == (("b",), ("a",))


def test_the_first_completions_are_the_first_problems_whatever_happened(tmp_path: Path) -> None:
    make_run(tmp_path)
    run = load_report_run(tmp_path)
    found = {name: get_first_seed_answers(data, "addition") for name, data in run.arms["cued"].items()}
    order = list(run.problems["cued"])
    shown = completions.select_problems(found, first=2, patterns=3)
    assert [item.problem for item in shown[:2]] == order[:2]
    patterns = [tuple(mine[item.problem].correct for mine in found.values()) for item in shown]
    assert len(set(patterns[1:])) == len(patterns[1:])
    assert all(f"of {len(order)} problems have it" in item.label for item in shown[2:])


def test_a_rare_flip_is_shown_even_if_it_comes_last() -> None:
    many = {f"p{i:02}": False for i in range(40)}
    arms = {"base": rows(**many), "sft": rows(**{**many, "p00": True}), "lone": rows(**{**many, "p39": True})}
    shown = completions.select_problems(arms, first=1, patterns=0, references=("base", "sft"))
    assert [(item.problem, item.label) for item in shown[1:]] == [("p39", "gained by lone against base")]


def test_flips_lead_to_the_completions_they_count(tmp_path: Path) -> None:
    make_run(tmp_path)
    text = write_report(tmp_path).read_text()
    section = text[text.index('<section id="answers">') : text.index('<section id="costs">')]
    (line,) = re.findall(r'<tr[^>]*data-arm="mean_steering"[^>]*>.*?</tr>', section)
    values = [float(value) for value in re.findall(r'<td data-value="([\d.]+)"', line)]
    assert values == [36, 0, 12, 0]  # of 40 it solves 36, the base none, SFT 24 of the same
    cells = [re.findall(r'href="#(a-0-\d+)"', cell) for cell in line.split("</td>")[:4]]
    assert [len(links) for links in cells] == [3, 0, 1, 0]
    for reference, link in [*(("base", link) for link in cells[0]), *(("sft", link) for link in cells[2])]:
        block = section[section.index(f'<div id="{link}">') :].split("</details>")[0]
        found = re.findall(r'<h5>(.*?) <span class="(right|wrong)"', block)
        cards = {name: mark for names, mark in found for name in names.replace("<wbr>", "").split(" · ")}
        assert cards["mean_steering"] == "right"
        assert cards[reference] == "wrong"


def test_arms_that_wrote_the_same_share_a_card(tmp_path: Path) -> None:
    make_run(tmp_path, test=1)
    text = write_report(tmp_path).read_text()
    wrong = [
        names
        for names, mark in re.findall(r'<h5>(.*?) <span class="(right|wrong)"', text.replace("<wbr>", ""))
        if mark == "wrong"
    ]
    assert wrong == ["base · mean_steering/all_positions · mean_steering/random_vector"]


@pytest.mark.slow
def test_a_run_of_five_models_and_forty_arms_stays_below_four_megabytes(tmp_path: Path) -> None:
    make_big_run(tmp_path, test=8, seeds=1)
    path = write_report(tmp_path)
    text, page = parsed(path)
    assert 2_000_000 < path.stat().st_size < 4_000_000
    assert "To keep this page small, texts are cut at" in text
    anchors = {given["id"] for _, given in page.tags if given.get("id")}
    links = {(given["href"] or "")[1:] for tag, given in page.tags if tag == "a"}
    assert links <= anchors
    assert sum(link.startswith("a-") for link in links) >= 5
    before = path.read_bytes()
    assert write_report(tmp_path).read_bytes() == before


def test_texts_are_cut_before_problems_are_left_out(tmp_path: Path) -> None:
    def long(cell: Cell, problem: Problem, index: int) -> str:
        return f"{cell.arm} {index} " + "x" * 1400 + "#1"

    make_run(tmp_path, test=12, completion=long)
    run = load_report_run(tmp_path)
    (panel,) = read_panels(run.summary)
    whole = completions.render_completions(run, panel, 0, 10_000_000)
    assert "To keep this page small" not in whole
    shorter = completions.render_completions(run, panel, 0, 25_000)
    assert "To keep this page small, texts are cut at 300 characters" in shorter
    assert "are left out" not in shorter
    tiny = completions.render_completions(run, panel, 0, 9_000)
    assert "are left out" in tiny
    assert len(tiny) < len(shorter) < len(whole)


@pytest.mark.parametrize("hidden", ["\u202e", "\x00", "<script>"])
def test_a_page_of_hostile_text_is_bounded_too(tmp_path: Path, hidden: str) -> None:
    make_run(tmp_path, test=20, completion=lambda cell, problem, index: f"{cell.arm}{index}" + hidden * 1500)
    path = write_report(tmp_path)
    _, page = parsed(path)
    assert path.stat().st_size < 4_000_000
    assert [tag for tag, _ in page.tags].count("script") == 1
