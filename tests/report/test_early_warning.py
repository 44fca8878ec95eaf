"""Early warning on the page: what was foretold beside what was measured, the turn, the trough, and false alarms."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from elicit.report.data.summary_view import read_panels
from elicit.report.trajectories import loss_forecast as foretold
from elicit.report.trajectories.early_warning import read_watched_tasks, write_warning
from elicit.report.trajectories.warning_facts import MissingDip, WarningFacts, judge_warning
from tests.report import over_training as made
from tests.report.over_training import arms_of, at, by_hand, drawn
from tests.report.reading import read


def warned(**changes: Any) -> dict[str, Any]:
    """SFT that dips on another task, watched while it trained."""
    given = made.over_training(sft=arms_of(by_hand("dip-recover", 0.93))["sft"]["trajectory"])
    arms_of(given)["sft"]["warning"] = made.watched(**changes)
    given["models"]["m"]["tasks"]["addition"]["warning"] = made.pooled()
    return given


def facts_of(given: dict[str, Any]) -> WarningFacts:
    """The warning of SFT on the watched task."""
    (panel,) = read_panels(given)
    (watched_task,) = [task for arm in panel.arms for task in read_watched_tasks(arm)]
    return judge_warning(watched_task)


def test_what_gradients_foretold_beside_what_was_measured() -> None:
    given = warned()
    text = drawn(given)
    page = read(text)
    for key in ("loss", "integral", "cosine"):
        (mark,) = [one for one in page.figures if one.key == f"warning.tasks.mod_chain.{key}.320"]
        assert float(mark.value or "nan") == at(given, "sft", mark.key)
    crossings = [float(one.value or "nan") for one in page.figures if one.key == "warning.crossing"]
    assert crossings == [62, 66]
    (trough,) = [one for one in page.figures if one.key == "warning.tasks.mod_chain.trough"]
    assert trough.value == "40.0"
    facts = facts_of(given)
    assert write_warning(facts) in html.unescape(text)
    assert (facts.task, facts.explained_share, facts.watch_share) == ("mod_chain", 0.87, 0.124)
    assert not facts.is_single_seed
    assert facts.crossing is not None
    assert (facts.crossing.steps, facts.crossing.seeds, facts.crossing.missing_dip) == ((62, 66), 3, None)
    assert facts.crossing.trough is not None
    assert facts.crossing.trough[:3] == (40, 20, 80)
    assert facts.crossing.lead is not None
    assert facts.crossing.lead.value == -24
    assert facts.alarm is not None
    assert (facts.alarm.steps, facts.alarm.seeds, facts.alarm.threshold) == ((22, 22, 22), 3, 0.02)
    assert facts.alarm.lead is not None
    assert facts.alarm.lead[:3] == (18, 5, 31)
    (lines,) = re.findall(r'<path d="(M[^"]+)" fill="none" stroke="#2b7bba" stroke-width="1.8"', text)
    assert 20 < lines.count("L") <= foretold.MAX_POINTS + 1  # 321 looks are drawn as few
    assert "67 [9, 99]" in text  # hits of every signal, with their exact interval


def test_the_foretold_loss_is_drawn_where_it_is() -> None:
    """Both lines start at no change and the measured one reaches its peak above the foretold one."""
    text = drawn(warned())
    lines = {
        colour: [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", path)]
        for path, colour in re.findall(r'<path d="(M[^"]+)" fill="none" stroke="([^"]+)" stroke-width="1.8"', text)
    }
    measured, predicted = lines[foretold.MEASURED], lines[foretold.FORETOLD]
    assert measured[0] == predicted[0]
    rise = measured[0][1] - min(y for _, y in measured)
    assert 0.88 < (predicted[0][1] - min(y for _, y in predicted)) / rise < 0.92  # planted: nine tenths


@pytest.mark.parametrize(("shape", "false"), [("flat", True), ("monotone-up", True), ("peak-decline", False)])
def test_an_alarm_where_nothing_dips_is_false_unless_accuracy_declines(shape: str, false: bool) -> None:
    given = warned(shape=shape, seeds=1)
    facts = facts_of(given)
    assert facts.is_single_seed
    assert facts.crossing is not None
    assert facts.alarm is not None
    assert (facts.crossing.trough, facts.alarm.lead) == (None, None)
    assert facts.crossing.missing_dip == facts.alarm.missing_dip == MissingDip(shape, counts_as_false=false)
    text = drawn(given)
    assert write_warning(facts) in text
    assert 'key="warning.tasks.mod_chain.trough"' not in text


def test_what_is_not_known_of_a_warning_is_no_fact() -> None:
    silent = facts_of(warned(signals={"gradient": {"threshold": 0.02, "alarm": [None, None]}}))
    assert silent.alarm is not None
    assert (silent.alarm.steps, silent.alarm.seeds, silent.alarm.missing_dip) == ((), 2, None)
    bare = facts_of(warned(explained={}, crossing={}, signals={}))
    assert (bare.explained_share, bare.crossing, bare.alarm) == (None, None, None)


@pytest.mark.parametrize("odd", [None, 3, {"tasks": None}, {"tasks": {"x": None}, "steps": None}, {"tasks": {"x": {}}}])
def test_what_is_no_warning_is_not_drawn(odd: Any) -> None:
    given = by_hand("dip-recover", 0.93)
    plain = drawn(given)
    arms_of(given)["sft"]["warning"] = odd
    text = drawn(given)
    assert text == plain or ("None" not in text and "nan" not in text)
