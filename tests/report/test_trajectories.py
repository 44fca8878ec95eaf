"""The section "Over training": its figures are the summary's, its words are those of the shapes; it may be absent."""

from __future__ import annotations

import copy
import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elicit.report import terminal, write_report
from elicit.report.data.summary_view import read_panels
from elicit.report.trajectories import section
from elicit.report.trajectories.curve_facts import (
    FEW_SEEDS,
    CurveNote,
    EarlyStopping,
    FewSeeds,
    FormLoss,
    FormMeasure,
    ShapeFacts,
    StoppingOutcome,
    StoppingPlace,
    find_step_runs,
    judge_cautions,
    judge_curve,
    judge_early_stopping,
    judge_form_loss,
    judge_shape,
    judge_turn,
)
from elicit.report.trajectories.curves import DANGER_LABEL, MAX_LINES
from elicit.report.trajectories.data import ArmTrajectory, TrajectoryCurve, read_trajectories
from elicit.report.trajectories.text import (
    format_step_spans,
    write_caution,
    write_curve,
    write_early_stopping,
    write_form_loss,
    write_headline,
    write_shape_label,
)
from tests.report import over_training as made
from tests.report.over_training import arms_of, at, by_hand, drawn, followed_at
from tests.report.reading import parsed, read
from tests.report.support import estimate, make_run, summary

HOSTILE = "<img src=x onerror=alert(1)>\"'&\u202eevil"


@cache
def _papers(seeds: int) -> str:
    return json.dumps(made.papers(seeds))


def papers(seeds: int = 3) -> dict[str, Any]:
    return dict(json.loads(_papers(seeds)))


def trajectories_of(given: dict[str, Any]) -> list[ArmTrajectory]:
    (panel,) = read_panels(given)
    return read_trajectories(panel)


def curve_of(given: dict[str, Any], task: str = "other") -> TrajectoryCurve:
    """The curve of SFT on a task."""
    return next(one for one in trajectories_of(given) if one.arm.name == "sft").curves[task]


def words_of(given: dict[str, Any]) -> str:
    """The section with ordinary blanks, and without its escapes."""
    return html.unescape(drawn(given)).replace("\u00a0", " ")


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


MOVING = ("dip-recover", "dip-only", "peak-decline", "monotone-up", "monotone-down")


@pytest.mark.parametrize("shape", MOVING)
def test_a_shape_has_its_probability(shape: str) -> None:
    curve = curve_of(by_hand(shape, 0.93))
    assert judge_shape(curve) == ShapeFacts(shape, 0.93, is_certain=True, rival=None, misfit_p=None)
    turn = judge_turn(curve)
    if shape.startswith("monotone"):
        assert turn is None
    else:
        assert turn is not None
        assert (turn.is_dip, turn.size.value, turn.step.value) == (shape != "peak-decline", 0.062, 40.0)
        assert (turn.undone is None) == (shape == "dip-only")


@pytest.mark.parametrize("shape", [*MOVING, "flat"])
@pytest.mark.parametrize("probability", [0.52, 0.93])
def test_facts_are_said_on_the_page(shape: str, probability: float) -> None:
    given = by_hand(shape, probability)
    text, facts = words_of(given), judge_curve(curve_of(given))
    stopping = judge_early_stopping(curve_of(given))
    assert stopping is not None
    assert f"{write_shape_label(facts.shape)}</text>" in text
    assert f"<b>other</b>: {write_headline([('sft', facts.shape)])}." in text
    assert (f"<b>sft</b> {write_curve(facts)} {write_early_stopping(stopping)}</li>" in text) == facts.shape.moves


def test_flat_is_no_finding_and_has_its_p() -> None:
    given = by_hand("flat", 0.4, flat_p=0.31)
    facts = judge_shape(curve_of(given))
    assert (facts.moves, facts.rival) == (False, None)
    text = drawn(given)
    assert "<li><b>sft</b>" not in text  # in words only what moves; the table has its p
    assert 'flat_p" data-value="0.31">0.310' in text
    assert "40 %" not in text.split("<details>")[0]  # the probability of a shape that was not asked for


def test_a_shape_with_a_rival_is_not_certain() -> None:
    facts = judge_shape(curve_of(by_hand("dip-recover", 0.52)))
    assert not facts.is_certain
    assert facts.rival is not None
    name, probability = facts.rival
    assert name in ("monotone-up", "dip-only")
    assert probability == pytest.approx(0.24)
    assert [judge_shape(curve_of(by_hand("dip-recover", 0.93, misfit_p=p))).misfit_p for p in (0.4, 0.0004, None)] == [
        None,
        0.0004,
        None,
    ]


@pytest.mark.parametrize(("share", "lost"), [(0.25, True), (0.95, False)])
@pytest.mark.parametrize("measure", FormMeasure)
def test_a_dip_where_answers_were_cut_or_cannot_be_read(measure: FormMeasure, share: float, lost: bool) -> None:
    given = papers()
    task = followed_at(given)["mod_chain"]
    rates = [one["value"] for one in task["accuracy"]]
    trough = rates.index(min(rates))
    for one in FormMeasure:
        task[one.value] = [estimate(1.0, None, 200) for _ in rates]
    task[measure.value][trough] = estimate(share, None, 200)
    facts = FormLoss(measure, made.STEPS[trough], 1.0, share)
    assert judge_form_loss(curve_of(given, "mod_chain")) == (facts if lost else None)
    assert (write_form_loss(facts) in words_of(given)) == lost


def test_what_early_stopping_would_have_lost() -> None:
    given = by_hand("dip-recover", 0.93)
    stopping = followed_at(given)["other"]["stopping"]

    def judge(**changes: Any) -> EarlyStopping:
        stopping.update(changes)
        facts = judge_early_stopping(curve_of(given))
        assert facts is not None
        assert write_early_stopping(facts) in words_of(given)
        return facts

    lost = judge()
    assert (lost.step, lost.place, lost.outcome) == (80, StoppingPlace.BETWEEN, StoppingOutcome.LOST)
    assert lost.to_best[:3] == (0.062, 0.03, 0.091)
    assert lost.to_end is not None
    assert lost.to_end.value == -0.02  # training on cost something
    last = judge(step=640, to_best=estimate(0.004, (-0.02, 0.03)))
    assert (last.place, last.outcome, last.to_end) == (StoppingPlace.LAST, StoppingOutcome.NOT_SHOWN, None)
    nothing = judge(step=0, to_best=estimate(0.0, None))
    assert (nothing.place, nothing.outcome) == (StoppingPlace.BASE, StoppingOutcome.NOTHING_LOST)
    stopping["to_best"] = None
    assert judge_early_stopping(curve_of(given)) is None


def test_one_training_seed_is_said_where_the_figure_is() -> None:
    given = papers(seeds=1)
    (note,) = judge_cautions(trajectories_of(given))
    assert isinstance(note, CurveNote)
    assert note.arms == ("sft", "sft/shuffled", "grpo")
    text = words_of(given)
    assert 0 < text.index(write_caution(note)) - text.index("</figure>") < 100
    assert judge_cautions(trajectories_of(papers())) == [FewSeeds(note.arms, 3)]
    many = papers()
    for arm in note.arms:
        arms_of(many)[arm]["trajectory"]["seeds"] = FEW_SEEDS + 1
    assert judge_cautions(trajectories_of(many)) == []


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
    assert wide.count(f"{DANGER_LABEL}</text>") == 2
    both = made.over_training(sft=arms_of(given)["sft"]["trajectory"], b=arms_of(given)["sft"]["trajectory"])
    assert f"{DANGER_LABEL}</text>" not in drawn(both)  # two arms: bars say whose it is


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
    given = made.over_training(sft=bare)
    text = drawn(given)
    page = read(text)
    assert sum("accuracy" in one.key and one.tag != "td" for one in page.figures) == 2
    assert judge_shape(curve_of(given, "addition")).shape == ""
    assert "None" not in text
    assert "nan" not in text.replace("nances", "")


def test_more_arms_than_a_panel_holds_are_in_the_table() -> None:
    one = arms_of(by_hand("monotone-up", 0.9))["sft"]["trajectory"]
    given = made.over_training(**{f"a{i}": copy.deepcopy(one) for i in range(MAX_LINES + 2)})
    text = drawn(given)
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
    (panel,) = read_panels(papers())
    expected = section.summarise_trajectories(panel)
    assert len(expected) == 3
    for trajectory, line in zip(read_trajectories(panel), expected, strict=True):
        labels = [write_shape_label(judge_shape(curve)) for curve in trajectory.curves.values()]
        assert line == f"{trajectory.arm.name}: addition {labels[0]}; mod_chain {labels[1]}; copying {labels[2]}"
    assert " ".join(expected) in " ".join(lines)
    terminal.show(summary())
    assert "mod_chain" not in capsys.readouterr().out
