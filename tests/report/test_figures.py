"""Every figure of the page against the summary it was drawn from, and the charts' own rules."""

from __future__ import annotations

import copy
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elicit.report import write_report
from elicit.report.charts import frontier, gap, leak, pass_at_k, svg
from elicit.report.data.summary_view import ModelPanel, read_panels
from tests.report.reading import looked_up, parsed, read
from tests.report.support import arm, make_run, summary
from tests.report.synthetic import big_summary

BIG = big_summary()


def panel(found: dict[str, Any], i: int = 0) -> ModelPanel:
    return read_panels(found)[i]


def entries(found: dict[str, Any]) -> dict[str, Any]:
    arms: dict[str, Any] = found["models"]["cued"]["tasks"]["addition"]["arms"]
    return arms


def wide(text: str) -> str:
    """The drawings for a desk alone."""
    return "".join(re.findall(r'<div class="wide">(.*?</svg>)</div>', text, re.S))


def marks(text: str) -> dict[tuple[str, str], str | None]:
    return {(one.arm, one.key): one.value for one in read(wide(text)).figures}


@pytest.mark.parametrize("large", [True, False])
def test_every_figure_on_the_page_is_the_summarys(tmp_path: Path, large: bool) -> None:
    make_run(tmp_path)
    if large:
        (tmp_path / "summary.json").write_text(json.dumps(big_summary(1)))
    data = json.loads((tmp_path / "summary.json").read_text())["models"]["cued"]["tasks"]["addition"]
    _, page = parsed(write_report(tmp_path))
    for one in page.figures:
        assert (None if one.value is None else float(one.value)) == looked_up(data, one.arm, one.key), one
    assert {one.arm for one in page.figures} == set(data["arms"]) | ({"reasoner"} if large else set())
    known = [one for one in page.figures if one.value is not None]
    assert len(known) > (1500 if large else 150)
    if large:
        in_tables = {one.section for one in known if one.tag == "td"}
        assert in_tables == {"table", "frontier", "passk", "expansion", "side", "costs"}
        in_charts = {one.section for one in known if one.tag != "td"}
        assert in_charts == {"verdict", "forest", "frontier", "passk", "expansion", "leak"}
        assert {one.arm for one in known if one.section == "forest"} == set(data["arms"]) - {"sft"}


def test_the_gap_chart_draws_every_ceiling_where_it_lies() -> None:
    text = gap.render_gap_chart(panel(BIG))
    drawn = marks(text)
    assert {key for _, key in drawn if key.startswith("ceilings")} == {"ceilings.0", "ceilings.1", "ceilings.2"}
    for name in ("cue prompt 99 %", "base pass@256 97 %", "reference 91 %"):
        assert f">{name}</text>" in text
    assert drawn["grpo", "gap_recovered"] == "0.86"
    assert ("base", "gap_recovered") not in drawn
    # 1 is the cue prompt by definition: its line stands where the tick of 1 does, the others in proportion.
    ticks = {name: float(x) for x, name in re.findall(r'<text x="([\d.]+)"[^>]*>([01]\.0)</text>', wide(text))}
    lines = {key: float(x) for x, key in re.findall(r'<line x1="([\d.]+)"[^>]*data-key="(ceilings\.\d)"', wide(text))}
    assert lines["ceilings.0"] == pytest.approx(ticks["1.0"], abs=0.11)
    share = (0.99 - 0.08 - 0.005) / (0.99 - 0.005)
    assert lines["ceilings.2"] == pytest.approx(ticks["0.0"] + share * (ticks["1.0"] - ticks["0.0"]), abs=0.2)


def test_where_the_gap_is_withheld_points_are_drawn_and_no_share_is_claimed() -> None:
    text = gap.render_gap_chart(panel(BIG, 3))
    assert "The gap is withheld" in text
    keys = {key for _, key in marks(text)}
    assert "vs_base" in keys
    assert "gap_recovered" not in keys
    assert "gap recovered" not in wide(text)


@pytest.mark.parametrize("draw", [gap.render_gap_chart, leak.render_leak_chart])
def test_controls_stand_right_under_their_arm(draw: Any) -> None:
    pattern = r'<text x="(0\.0|16\.0)"[^>]*>(?:<title>[^<]*</title>)?([^<]+)'
    labels = re.findall(pattern, wide(draw(panel(BIG))))
    names = [name for _, name in labels]
    at = names.index("grpo")
    assert names[at + 1 : at + 4] == ["/random_reward", "/format_only", "/wrong_label"]
    assert names[at - 1] == "Reinforcement learning"
    assert {x for x, name in labels if name.startswith("/")} == {"16.0"}


def test_the_frontier_has_the_bases_vote_in_the_same_figure_and_a_reading_with_the_fit() -> None:
    text = frontier.render_frontier(panel(BIG))
    votes = [one.key for one in read(wide(text)).figures if one.key.startswith("majority_at_k")]
    assert sorted(votes) == sorted(2 * [f"majority_at_k.{2**i}.accuracy" for i in range(9)])  # in both planes
    assert ">fit included</text>" in text
    bare = copy.deepcopy(BIG)
    for entry in entries(bare).values():
        entry |= {"budget": None, "majority_at_k": None}
    text = frontier.render_frontier(panel(bare))
    assert "fit included</text>" not in text
    assert "its majority vote is not known" in text


def test_tokens_with_the_fit_are_spread_over_the_test_problems() -> None:
    found = panel(BIG)
    grpo = next(arm for arm in found.arms if arm.name == "grpo")
    assert frontier.count_tokens_per_problem(found, grpo, fit=False) == 20
    assert frontier.count_tokens_per_problem(found, grpo, fit=True) == pytest.approx(20 + (48_000 + 350_000) / 200)


def test_an_arms_point_lies_where_its_tokens_and_accuracy_are() -> None:
    """Between two arms whose tokens differ by a known factor, and against the axis' own ticks."""
    text = wide(frontier.render_frontier(panel(BIG)))
    first = text[: text.index("fit included</text>")]
    places = {name: float(x) for name, x in re.findall(r'data-key="majority_at_k\.(\d+)[^>]*cx="([\d.]+)"', first)}
    places |= {k: float(x) for x, k in re.findall(r'<circle cx="([\d.]+)"[^>]*data-key="majority_at_k\.(\d+)', first)}
    assert places["4"] - places["1"] == pytest.approx(places["16"] - places["4"], abs=0.2)
    assert places["256"] - places["64"] == pytest.approx(places["4"] - places["1"], abs=0.2)


def test_pass_at_k_is_one_chart_with_the_crossover_and_the_guesser() -> None:
    text = pass_at_k.render_pass_at_k(panel(BIG))
    drawn = marks(text)
    for name in ("base", "sft", "grpo"):
        for key in ("pass_at_k", "pass_at_k_valid_trace"):
            assert {f"{key}.{2**i}" for i in range(9)} <= {mark for arm, mark in drawn if arm == name}
    assert {arm: value for (arm, key), value in drawn.items() if key == "crossover_k"} == {
        "sft": "32.0",
        "grpo": "64.0",
    }
    assert "The base overtakes sft at k = 32, grpo at k = 64." in text
    assert ">uniform guesser</text>" in text


def test_of_many_sampled_arms_the_figure_holds_one_of_each_family_and_the_table_all() -> None:
    every = copy.deepcopy(BIG)
    for entry in entries(every).values():
        entry["pass_at_k"] = entries(every)["base"]["pass_at_k"]
    text = pass_at_k.render_pass_at_k(panel(every))
    drawn = {arm for arm, _ in marks(text)}
    assert drawn == {"base", "sft", "critique", "grpo", "rl_steering", "hybrid_steering", "mean_steering"}
    assert {one.arm for one in read(text).figures if one.tag == "td"} == set(entries(every))
    assert "34 more arms are in the table below" in text


def test_the_leak_is_drawn_beside_the_gain_and_absent_where_nothing_is_known() -> None:
    drawn = marks(leak.render_leak_chart(panel(BIG)))
    assert {key for arm, key in drawn if arm == "best_of_n"} == {"vs_base", "leak"}
    assert float(drawn["best_of_n", "leak"] or 0) == 0.12
    assert leak.render_leak_chart(panel(BIG, 3)) == ""


@given(st.lists(st.floats(0, 100), max_size=30), st.floats(1, 20))
def test_labels_keep_their_distance_and_order_and_stay_inside(wanted: list[float], apart: float) -> None:
    places = svg.spread_labels(wanted, apart, 0, 100)
    assert len(places) == len(wanted)
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in places)
    apart = min(apart, 100 / max(1, len(wanted) - 1))
    ordered = sorted(places)
    assert all(b - a >= apart - 1e-6 for a, b in itertools.pairwise(ordered))
    assert [place for _, place in sorted(zip(wanted, places, strict=True))] == ordered


def test_a_label_that_fits_stays_where_it_is_wanted() -> None:
    assert svg.spread_labels([10, 50, 90], 12, 0, 100) == [10, 50, 90]


def test_figures_have_words_for_those_who_do_not_see_them() -> None:
    found = panel(BIG)
    text = "".join(
        draw(found)
        for draw in (gap.render_gap_chart, frontier.render_frontier, pass_at_k.render_pass_at_k, leak.render_leak_chart)
    )
    labels = re.findall(r'<svg[^>]*role="img" aria-label="([^"]+)"', text)
    assert len(labels) == text.count("<svg") == 8
    assert all("cued" in label for label in labels)


def test_a_difference_that_is_not_known_is_not_drawn_at_zero(tmp_path: Path) -> None:
    make_run(tmp_path)
    found = summary(mean_steering=arm(0.9, vs_sft=None), other=arm(0.3))
    (tmp_path / "summary.json").write_text(json.dumps(found))
    _, page = parsed(write_report(tmp_path))
    forest = {one.arm for one in page.figures if one.section == "forest"}
    assert forest == {"base", "cue_prompt", "other"}
