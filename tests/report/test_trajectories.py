"""The section "Over training": its figures are the summary's, its words are those of the shapes; it may be absent."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elicit.report import terminal, write_report
from elicit.report.trajectories import section
from elicit.report.trajectories.curves import MAX_LINES
from elicit.report.trajectories.text import find_step_runs, format_step_spans
from tests.report import over_training as made
from tests.report.over_training import arms_of, at, by_hand, drawn
from tests.report.reading import parsed, read
from tests.report.support import estimate, make_run, summary

HOSTILE = "<img src=x onerror=alert(1)>\"'&\u202eevil"


@cache
def _papers(seeds: int) -> str:
    return json.dumps(made.papers(seeds))


def papers(seeds: int = 3) -> dict[str, Any]:
    return dict(json.loads(_papers(seeds)))


def test_every_mark_and_cell_holds_the_summarys_own_number() -> None:
    given = papers()
    page = read(drawn(given))
    found = [one for one in page.figures if one.value is not None]
    assert {one.arm for one in found} == {"sft", "sft/shuffled", "grpo"}
    for one in found:
        assert float(one.value or "nan") == at(given, one.arm, one.key), one
    marks = {(one.arm, one.key) for one in found if one.tag != "td"}
    steps = range(len(made.STEPS))
    wanted = {
        (arm, f"trajectory.tasks.{task}.{name}.{i}")
        for arm in ("sft", "sft/shuffled", "grpo")
        for task in ("addition", "mod_chain", "copying")
        for name in (
            "accuracy",
            "tokens",
            "finished_rate",
            "answered_rate",
            "valid_trace_rate",
            "entropy",
            "token_accuracy",
        )
        for i in steps
    }
    assert wanted <= marks
    assert ("sft", "trajectory.tasks.mod_chain.loss.0") not in marks  # the base's loss is null: it is not drawn as 0
    assert {("sft", f"trajectory.tasks.mod_chain.loss.{i}") for i in steps[1:]} <= marks
    assert {("grpo", f"trajectory.kl.{i}") for i in steps} <= marks
    assert ("sft", "trajectory.tasks.mod_chain.curve.turn.size") in marks


def test_points_are_where_their_numbers_are() -> None:
    """Heights are linear in accuracy; steps are even in their logarithm, with 0 apart at the left."""
    page = read(drawn(papers()))
    key = "trajectory.tasks.mod_chain.accuracy."
    marks = [given for tag, given in page.tags if tag == "circle" and str(given.get("data-key")).startswith(key)]
    assert len(marks) == len(made.STEPS)
    x, y = (np.array([float(str(given[name])) for given in marks]) for name in ("cx", "cy"))
    values = np.array([float(str(given["data-value"])) for given in marks])
    slope, level = np.polyfit(values, y, 1)
    assert slope < 0
    assert np.abs(slope * values + level - y).max() < 0.1
    gaps = np.diff(x[1:])
    assert np.ptp(gaps) < 0.15
    assert x[1] - x[0] > 0


def test_bands_are_the_intervals() -> None:
    text = drawn(by_hand("monotone-up", 0.95))
    (first, *_) = re.findall(r'<path d="(M[^"]+Z)" fill', text)
    corners = [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", first)]
    assert len(corners) == 2 * len(made.STEPS)
    assert {y for _, y in corners[:8]} == {corners[0][1]}  # every lower bound is 0.2
    assert corners[0][1] > corners[-1][1]  # every upper bound 0.5, drawn above


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("dip-recover", "dips, then recovers"),
        ("dip-only", "dips and stays down"),
        ("peak-decline", "peaks, then declines"),
        ("monotone-up", "rises"),
        ("monotone-down", "falls throughout"),
    ],
)
def test_shapes_in_words_with_their_probability(shape: str, said: str) -> None:
    text = drawn(by_hand(shape, 0.93)).replace("\u00a0", " ")
    assert f"{said} 93 %</text>" in text
    assert f"on other: {said} (93 %); " in text
    assert f"<b>other</b>: {said}: sft." in text


def test_flat_is_no_finding_and_says_its_p() -> None:
    text = drawn(by_hand("flat", 0.4, flat_p=0.31))
    assert "no movement shown</text>" in text
    assert "</b> on other" not in text  # in words only what moves; the table has its p
    assert 'flat_p" data-value="0.31">0.310' in text
    assert "40 %" not in text.split("<details>")[0]  # the probability of a shape that was not asked for
    assert "Stopping at" not in text


def test_a_shape_with_a_rival_is_not_stated_as_sure() -> None:
    text = drawn(by_hand("dip-recover", 0.52)).replace("\u00a0", " ")
    assert "dips, then recovers? 52 %</text>" in text
    assert "<b>other</b>: perhaps dips, then recovers: sft." in text
    assert re.search(r"on other: dips, then recovers \(52 %, or (rises|dips and stays down): 24 %\)", text)
    ill = drawn(by_hand("dip-recover", 0.93, misfit_p=0.0004)).replace("\u00a0", " ")
    assert "dips, then recovers 93 %, fits badly</text>" in ill
    assert "(93 %; no shape describes it well, p &lt;0.001)" in ill


@pytest.mark.parametrize(("share", "said"), [(0.25, True), (0.95, False)])
@pytest.mark.parametrize(("name", "words"), [("finished_rate", "are finished"), ("answered_rate", "can be read")])
def test_a_dip_where_answers_were_cut_or_cannot_be_read_is_said_to_be_one(
    name: str, words: str, share: float, said: bool
) -> None:
    given = papers()
    task = given["models"]["m"]["tasks"]["addition"]["arms"]["sft"]["trajectory"]["tasks"]["mod_chain"]
    rates = [one["value"] for one in task["accuracy"]]
    trough = rates.index(min(rates))
    for measure in ("finished_rate", "answered_rate"):
        task[measure] = [estimate(1.0, None, 200) for _ in rates]
    task[name][trough] = estimate(share, None, 200)
    text = " ".join(drawn(given).replace("\u00a0", " ").split())
    step = made.STEPS[trough]
    sentence = f"At step {step} only {100 * share:.1f} % of its answers {words} (100.0 % at the start)"
    assert (sentence in text) == said


def test_what_early_stopping_would_have_lost() -> None:
    text = drawn(by_hand("dip-recover", 0.93)).replace("\u00a0", " ")
    assert "6.2 points [3.1, 9.4] below the base at step 40 [20, 80], and regains 10.1 points [5.0, 15.0]" in text
    assert "Stopping at the lowest in-domain loss (step 80) would have lost 6.2 points [3.0, 9.1] on other" in text
    assert "training on to the end cost 2.0 points [−3.0, 7.0]." in text
    nothing = by_hand("dip-recover", 0.93)
    stopping = arms_of(nothing)["sft"]["trajectory"]["tasks"]["other"]["stopping"]
    stopping |= {"step": 640, "to_best": estimate(0.004, (-0.02, 0.03))}
    text = drawn(nothing).replace("\u00a0", " ")
    assert "(step 640, the last) is not shown to lose anything on other: 0.4 points [−2.0, 3.0]" in text
    assert "training on to the end" not in text
    stopping |= {"step": 20, "to_best": estimate(0.0, None)}
    assert "(step 20) loses nothing on other: no checkpoint is better; training on" in drawn(nothing)


def test_one_training_seed_is_said_where_the_figure_is() -> None:
    text = drawn(papers(seeds=1))
    note = text[text.index("</figure>") :]
    assert note.index("one training seed: how much another training run would differ is not covered") < 200
    assert "one training seed" not in drawn(papers()).lower()
    assert "3 training seeds say little about their own spread" in drawn(papers())


def test_the_danger_zone_is_drawn_where_the_summary_has_it() -> None:
    given = by_hand("dip-recover", 0.93, danger={"steps": [10, 20, 160]})
    wide = drawn(given).partition('class="narrow"')[0]
    bars = [(float(x), float(w)) for x, w in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', wide)]
    assert len(bars) == 8  # two stretches as a bar and as a shade, on two tasks
    key = r'cx="([\d.]+)"[^>]* data-key="trajectory.tasks.addition.accuracy.\d"'
    _, ten, twenty, forty, eighty, at_160, at_320, _ = map(float, re.findall(key, wide))
    (early, width), (late, other), *_ = sorted(set(bars))
    assert early < ten < twenty < early + width < forty
    assert eighty < late < at_160 < late + other < at_320
    assert wide.count("danger zone</text>") == 2
    both = made.over_training(sft=arms_of(given)["sft"]["trajectory"], b=arms_of(given)["sft"]["trajectory"])
    text = drawn(both)
    assert "danger zone</text>" not in text  # two arms: bars say whose it is
    assert "The danger zone" not in text
    assert "the danger zone, where stopping would leave that arm worse than the base" in text


def test_stretches_of_steps() -> None:
    steps = [0, 10, 20, 40, 80]
    assert find_step_runs([10, 20, 80], steps) == [(10, 20), (80, 80)]
    assert find_step_runs([], steps) == []
    assert format_step_spans([10, 20, 80], steps) == "steps 10–20 and 80"
    assert format_step_spans([40], steps) == "step 40"


def test_no_section_without_trajectories_and_then_the_page_is_as_it_was(tmp_path: Path) -> None:
    make_run(tmp_path, test=4)
    path = tmp_path / "summary.json"
    given = json.loads(path.read_text())
    arms = given["models"]["cued"]["tasks"]["addition"]["arms"]
    pages = []
    for change in ({}, {"trajectory": None, "warning": None, "protect": None}):
        for entry in arms.values():
            for key in ("trajectory", "warning", "protect"):
                entry.pop(key, None)
            entry.update(change)
        path.write_text(json.dumps(given))
        pages.append(write_report(tmp_path).read_bytes())
    assert pages[0] == pages[1]
    assert b"Over training" not in pages[0]
    assert b'id="trajectory"' not in pages[0]


def test_the_section_stands_in_the_page_and_its_bytes_are_always_the_same(tmp_path: Path) -> None:
    make_run(tmp_path, test=4)
    path = tmp_path / "summary.json"
    given = json.loads(path.read_text())
    given["models"]["cued"]["tasks"]["addition"]["arms"]["sft"]["trajectory"] = made.trajectory(
        addition="rises", mod_chain="dips", problems=100
    )
    path.write_text(json.dumps(given))
    first = write_report(tmp_path).read_bytes()
    assert write_report(tmp_path).read_bytes() == first
    text, page = parsed(tmp_path / "report.html")
    assert '<a href="#trajectory">Over training</a>' in text
    inside = [one for one in page.figures if one.section == "trajectory"]
    assert {one.arm for one in inside} == {"sft"}
    assert {one.model for one in inside} == {"cued"}
    tables = [given for tag, given in page.tags if tag == "table"]
    assert tables
    images = [given for tag, given in page.tags if tag == "svg" and given.get("aria-label")]
    assert all(given.get("role") == "img" for given in images)


def test_hostile_names_stay_text() -> None:
    given = by_hand("dip-recover", 0.93)
    arms = arms_of(given)
    tasks = arms["sft"]["trajectory"]["tasks"]
    tasks[HOSTILE] = tasks.pop("other")
    tasks[HOSTILE]["curve"]["note"] = HOSTILE
    given["models"]["m"]["tasks"]["addition"]["arms"][HOSTILE] = arms["sft"]
    text = drawn(given)
    page = read(text)
    assert "img" not in {tag for tag, _ in page.tags}
    assert not any(key.startswith("on") for _, given in page.tags for key in given)
    assert "\u202e" not in text
    assert "&lt;img src=x" in text
    assert "<img" not in section.render_trajectories_fragment(given)


@pytest.mark.parametrize(
    "odd",
    [
        {"steps": [], "tasks": {}},
        {"steps": [0, 10], "tasks": {"addition": None}},
        {"steps": [0, 10], "tasks": {"addition": {"accuracy": [estimate(0.1)]}}},
        {"steps": [0, 10], "tasks": {"addition": {"accuracy": [None, {"value": None, "ci": None, "n": 0}]}}},
        {"steps": None, "tasks": None, "kl": 3},
        [],
        "x",
    ],
)
def test_what_is_no_trajectory_is_not_drawn(odd: Any) -> None:
    assert drawn(made.over_training(sft=odd)) == ""


def test_unknown_leaves_leave_the_rest() -> None:
    accuracy = [estimate(0.3, (0.2, 0.4)), None, estimate(0.5)]
    bare = {"steps": [0, 10, 20], "tasks": {"addition": {"accuracy": accuracy, "curve": None, "stopping": None}}}
    text = drawn(made.over_training(sft=bare))
    page = read(text)
    assert sum("accuracy" in one.key and one.tag != "td" for one in page.figures) == 2
    assert "too few checkpoints" in text
    assert "None" not in text
    assert "nan" not in text.replace("nances", "")


def test_more_arms_than_a_panel_holds_are_in_the_table() -> None:
    one = arms_of(by_hand("monotone-up", 0.9))["sft"]["trajectory"]
    given = made.over_training(**{f"a{i}": copy.deepcopy(one) for i in range(MAX_LINES + 2)})
    text = drawn(given)
    assert f"Drawn are the first {MAX_LINES} arms; 2 more are in the tables." in text
    page = read(text)
    key = "trajectory.tasks.other.accuracy.7"
    assert len({one.arm for one in page.figures if one.key == key and one.tag == "td"}) == MAX_LINES + 2
    marks = [given for tag, given in page.tags if given.get("data-key") == key and tag != "td"]
    assert len(marks) == MAX_LINES
    looks = {(given.get("fill"), given.get("stroke"), tag) for tag, given in page.tags if given.get("data-key") == key}
    assert len(looks) >= MAX_LINES


def test_the_terminal_has_a_line_an_arm(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show(papers())
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    start = lines.index("over training, with the probability of the shape:")
    said = " ".join(lines[start + 1 : start + 9])
    assert "sft: addition rises 100 %; mod_chain dips, then recovers 100 %; copying no movement shown" in said
    assert "sft/shuffled: addition rises 100 %; mod_chain dips and stays down" in said
    terminal.show(summary())
    assert "over training" not in capsys.readouterr().out
