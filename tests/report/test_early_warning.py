"""Early warning on the page: what was foretold beside what was measured, the turn, the trough, and false alarms."""

from __future__ import annotations

import re
from typing import Any

import pytest

from elicit.report.trajectories import loss_forecast as foretold
from tests.report import over_training as made
from tests.report.over_training import arms_of, at, by_hand, drawn
from tests.report.reading import read


def warned(**changes: Any) -> dict[str, Any]:
    """SFT that dips on another task, watched while it trained."""
    given = made.over_training(sft=arms_of(by_hand("dip-recover", 0.93))["sft"]["trajectory"])
    arms_of(given)["sft"]["warning"] = made.watched(**changes)
    given["models"]["m"]["tasks"]["addition"]["warning"] = made.pooled()
    return given


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
    assert "the integral explains 87 % of the changes of the measured loss." in text
    assert "It turns at step 62–66 in 2 of 3 seeds; the trough of accuracy is at step 40 [20, 80]: lead −24" in text
    assert "is raised in 3 of 3 seeds, at step 22: 18 steps [5, 31] before the trough." in text
    assert "Watching took 12 % of the training time." in text
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


def test_an_alarm_where_nothing_dips_is_called_false_and_one_seed_is_said() -> None:
    text = drawn(warned(shape="flat", seeds=1))
    assert "accuracy there: no movement shown, so it counts as false." in text
    assert "is raised in 1 of 1 seeds, at step 22; accuracy there: no movement shown, so it counts as false." in text
    assert "One training seed: how much another would differ is not covered." in text
    assert "trough</text>" not in text
    declines = drawn(warned(shape="peak-decline"))
    assert "accuracy there: peaks, then declines, so it counts as neither a hit nor false." in declines


@pytest.mark.parametrize("odd", [None, 3, {"tasks": None}, {"tasks": {"x": None}, "steps": None}, {"tasks": {"x": {}}}])
def test_what_is_no_warning_is_not_drawn(odd: Any) -> None:
    given = by_hand("dip-recover", 0.93)
    plain = drawn(given)
    arms_of(given)["sft"]["warning"] = odd
    text = drawn(given)
    assert text == plain or ("None" not in text and "nan" not in text)
