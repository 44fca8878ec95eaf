"""The figure "reasoning up against refusal down": where marks stand, what is said, and what is not drawn."""

from __future__ import annotations

import re

import numpy as np
import pytest

from elicit.analysis.asymmetry import Answers, measure_asymmetry
from elicit.report.charts import safety_tax as figure
from elicit.report.charts.safety_tax import write_path
from elicit.report.charts.tradeoff import judge_path, read_path
from elicit.report.data.summary_view import read_panels
from tests.report.reading import read
from tests.report.support import arm, summary

#: Of 200: right answers and refusals lost at steps 10, 40 and 160; the base has 20 and none.
FOLLOWED = {10: (20, 0), 40: (120, 0), 160: (150, 80)}


def rows(right, seeds=1, n=200):
    found = np.zeros((seeds, n))
    found[:, :right] = 1
    return found


def measured(points, *, seeds=3, twin=True):
    gains = Answers(rows(20), tuple(rows(right, seeds) for right, _ in points.values()))
    losses = Answers(rows(200), tuple(rows(200 - lost, seeds) for _, lost in points.values()))
    over = Answers(rows(200), tuple(rows(199, seeds) for _ in points)) if twin else None
    return {"twin": "twin" if twin else None, **measure_asymmetry(list(points), gains, losses, twin=over).to_json()}


def made(label="refusal", **arms):
    """Arms with these measurements; `__` stands for `/`."""
    data = summary()
    known = data["models"]["m"]["tasks"]["addition"]["arms"]
    for name, found in arms.items():
        method = "sft" if name == "sft" else "mean_steering"
        known[name.replace("__", "/")] = arm(0.6, method=method, asymmetry={label: found})
    return data


@pytest.fixture(scope="module")
def section():
    data = made(
        sft=measured(FOLLOWED),
        mean_steering=measured({0: (180, 0)}, seeds=1),
        mean_steering__random_vector=measured({0: (21, 1)}, seeds=1),
    )
    return figure.render_safety_tax(read_panels(data)[0]), data["models"]["m"]["tasks"]["addition"]["arms"]


def facts_of(data):
    """Facts about SFT at its end."""
    (panel,) = read_panels(data)
    return judge_path(read_path(next(one for one in panel.arms if one.name == "sft"), "refusal"))


def planes(text):
    return text[text.index('<div class="wide">') : text.index('<div class="narrow">')]


def marks(text):
    """(arm, key) -> (x, y) of circles, (x, y) of the corner of squares."""
    places = {}
    for attributes in re.findall(r"<(?:circle|rect|polygon) [^>]*data-arm[^>]*>", planes(text)):
        given = dict(re.findall(r'([\w-]+)="([^"]*)"', attributes))
        x, y = given.get("cx"), given.get("cy")
        if x is None and "x" in given:
            x, y = (float(given[at]) + float(given[size]) / 2 for at, size in (("x", "width"), ("y", "height")))
        places[given["data-arm"], given["data-key"]] = (float(x), float(y), float(given["data-value"]))
    return places


def test_every_point_stands_at_its_gain_and_loss(section):
    """Across grows with the gain, down with the loss, in proportion: the origin is where both are 0."""
    text, arms = section
    found = {key: place for (name, key), place in marks(text).items() if name == "sft" and ".loss." in key}
    assert len(found) == 3
    entry = arms["sft"]["asymmetry"]["refusal"]
    across = [entry["gain"][i]["difference"] for i in range(3)]
    drawn = [found[f"asymmetry.refusal.loss.{i}"] for i in range(3)]
    assert [value for _, _, value in drawn] == [one["difference"] for one in entry["loss"]]
    scale = (drawn[1][0] - drawn[0][0]) / (across[1] - across[0])
    assert drawn[2][0] - drawn[1][0] == pytest.approx(scale * (across[2] - across[1]), abs=0.2)
    assert drawn[0][1] == pytest.approx(drawn[1][1], abs=0.11), "nothing lost: the same height"
    assert drawn[2][1] > drawn[1][1] + 100, "forty points lost: far down"
    base = marks_of_base(text)
    assert base[0] == pytest.approx(drawn[0][0], abs=0.2), "step 10 has gained nothing"
    assert base[1] == pytest.approx(drawn[0][1], abs=0.2)


def marks_of_base(text):
    found = re.search(r'transform="rotate\(45 ([\d.]+) ([\d.]+)\)"[^>]*><title>base</title>', planes(text))
    return float(found[1]), float(found[2])


def test_facts_at_the_end_are_said(section):
    text, arms = section
    entry = arms["sft"]["asymmetry"]["refusal"]
    facts = facts_of(made(sft=entry))
    assert facts.outcome == "tax"
    assert facts.gain[:3] == (0.65, *entry["gain"][2]["ci"])
    assert facts.refusal_change[:3] == (-0.4, *(-bound for bound in reversed(entry["loss"][2]["ci"])))
    assert facts.price.value == pytest.approx(80 / 130)
    assert (facts.over_refusal, facts.tax_free_steps) == (None, (40,))
    assert write_path(facts) in text


def test_what_does_not_apply_at_the_end_is_no_fact():
    kept = facts_of(made(sft=measured({10: (20, 0), 40: (120, 0)})))
    assert (kept.outcome, kept.price, kept.tax_free_steps) == ("kept", None, ())
    refusing = measured(FOLLOWED)
    refusing["over"][2] = {"difference": 0.2, "ci": [0.1, 0.3], "n": 200}
    assert facts_of(made(sft=refusing)).over_refusal.value == 0.2
    refusing["verdicts"][2] = "odd"
    assert facts_of(made(sft=refusing)).outcome == "unclear"


def test_both_intervals_are_drawn_at_the_end(section):
    text, _ = section
    x, y, _ = marks(text)["sft", "asymmetry.refusal.loss.2"]
    lines = re.findall(r'<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', planes(text))
    crossing = [tuple(map(float, ends)) for ends in lines]
    assert any(a < x < b and c == d == pytest.approx(y, abs=0.2) for a, c, b, d in crossing), "across"
    assert any(a == b == pytest.approx(x, abs=0.2) and min(c, d) < y < max(c, d) for a, c, b, d in crossing), "up"


def test_only_what_was_followed_has_a_line(section):
    text, _ = section
    joined = re.findall(r'<path d="(M[^"]*L[^"]*)"', planes(text))
    assert [path.count("L") for path in joined] == [3, 3], "sft in both planes: origin, two checkpoints, end"


def test_cells_hold_the_summarys_figures_and_the_markup_closes(section):
    text, arms = section
    for one in read(text).figures:
        _, label, name, i = one.key.split(".")
        entry = arms[one.arm]["asymmetry"][label][name][int(i)]
        assert (None if one.value is None else float(one.value)) == (None if entry is None else entry["difference"])


def test_without_a_twin_there_is_one_plane_and_without_refusals_nothing():
    alone = figure.render_safety_tax(read_panels(made(sft=measured(FOLLOWED, twin=False)))[0])
    both = figure.render_safety_tax(read_panels(made(sft=measured(FOLLOWED)))[0])
    named = ">unmarked requests answered</text>"
    assert (alone.count(named), both.count(named)) == (0, 2), "once for a desk, once for a phone"
    assert figure.render_safety_tax(read_panels(summary())[0]) == ""


@pytest.mark.parametrize(
    "broken",
    [
        None,
        {},
        {"steps": [1, 2], "gain": [None], "loss": "x"},
        {"steps": [1], "gain": [{"difference": None, "ci": [None, None]}], "loss": [{"difference": 0.1}]},
        {"steps": [1], "gain": [{"difference": 0.1, "ci": None}], "loss": [{"difference": 0.1, "ci": [0, None]}]},
    ],
)
def test_holes_in_a_summary_are_no_error(broken):
    read(figure.render_safety_tax(read_panels(made(sft=broken))[0]))


def test_names_are_text():
    text = figure.render_safety_tax(read_panels(made("<script>&", sft=measured(FOLLOWED)))[0])
    assert "<script" not in text
    assert "&lt;script&gt;&amp;" in text
