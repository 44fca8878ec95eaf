"""Stronger and weaker bases: where marks stand, whose figures they hold, and when nothing is drawn."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from elicit.report import write_report
from elicit.report.charts import ladder
from elicit.report.data.summary_view import read_panels
from tests.report import over_training as made
from tests.report.support import arm, estimate, make_run, versus

#: Model -> (the base by default, what its cue brings out) on the run's task, not in the order of ability.
BASES = {"middle": (0.30, 0.45), "strong": (0.44, 0.99), "weak": (0.20, 0.15)}
#: The same on the other task.
OTHER = {"middle": (0.10, 0.05), "strong": (0.10, 0.60), "weak": (0.12, 0.14)}


def summary(models: dict[str, tuple[float, float]] = BASES) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for i, (model, (default, cued)) in enumerate(models.items()):
        sft = made.trained(
            0.6,
            trajectory=made.trajectory(addition="rises", mod_chain="dips"),
            vs_base={**versus(0.1 * i, 0.05), "n": 200},
            off_target_vs_base={"mod_chain": {**versus(-0.02 * i, 0.1), "n": 200}},
        )
        for task in sft["trajectory"]["tasks"].values():
            task["tokens"][0], task["tokens"][-1] = estimate(4.0, (3.9, 4.1)), estimate(4.0 * (i + 1), (3.0, 20.0))
        whole = made.over_training(sft=made.trajectory(addition="rises", mod_chain="dips"))
        entry = copy.deepcopy(whole["models"]["m"])
        entry["tasks"]["addition"]["arms"] = {
            "base": arm(default, method="base", off_target={"mod_chain": estimate(OTHER[model][0], (0.0, 0.2))}),
            "ceiling": arm(cued, method="cue_prompt", off_target={"mod_chain": estimate(OTHER[model][1], (0.0, 0.7))}),
            "sft": sft,
        }
        found[model] = entry
    return {**whole, "models": found}


def marks(text: str) -> list[dict[str, str]]:
    wide = text[text.index('<div class="wide">') : text.index('<div class="narrow">')]
    found = re.findall(r"<(?:circle|rect|polygon) [^>]*data-model[^>]*>", wide)
    return [dict(re.findall(r'([\w-]+)="([^"]*)"', one)) for one in found]


def test_every_mark_holds_the_summarys_own_figure() -> None:
    given = summary()
    seen = set()
    for one in marks(ladder.render_ladders(read_panels(given))):
        entry = given["models"][one["data-model"]]["tasks"]["addition"]["arms"][one["data-arm"]]
        value: Any = entry
        for key in one["data-key"].split("."):
            value = value[int(key)] if isinstance(value, list) else value[key]
        assert float(one["data-value"]) == value.get("difference", value.get("value"))
        seen.add((one["data-model"], one["data-key"]))
    last = len(made.STEPS) - 1
    keys = {"vs_base", "off_target_vs_base.mod_chain"}
    keys |= {
        f"trajectory.tasks.{task}.{name}.{last}"
        for task in ("addition", "mod_chain")
        for name in ("tokens", "valid_trace_rate")
    }
    assert seen == {(model, key) for model in BASES for key in keys}


def test_bases_stand_at_what_they_can_do_on_average_when_asked_best() -> None:
    found = [one for one in marks(ladder.render_ladders(read_panels(summary()))) if one["data-key"] == "vs_base"]
    assert [one["data-model"] for one in found] == ["weak", "middle", "strong"]
    across = [float(one["cx"]) for one in found]
    best = [max(BASES[one["data-model"]]) + max(OTHER[one["data-model"]]) for one in found]
    scale = (across[2] - across[0]) / (best[2] - best[0])
    assert across[1] - across[0] == pytest.approx(scale * (best[1] - best[0]), abs=0.1)


def test_lengths_are_over_those_at_the_start() -> None:
    rungs = ladder.collect_ladders(read_panels(summary()))["sft"]
    assert [(one.model, one.longer.value) for one in rungs if one.label == "mod_chain"] == [
        ("weak", 3.0),
        ("middle", 1.0),
        ("strong", 2.0),
    ]
    gains = [rung.gain[:3] for rung in rungs if rung.label == "mod_chain"]
    assert gains[:2] == [pytest.approx((-0.04, -0.14, 0.06)), pytest.approx((0.0, -0.1, 0.1))]
    assert ladder.write_rungs([rung for rung in rungs if rung.label == "mod_chain"]) in ladder.render_ladder("", rungs)


def test_two_bases_are_no_ladder_and_neither_are_three_tasks() -> None:
    two = dict(list(BASES.items())[:2])
    assert ladder.render_ladders(read_panels(summary(two))) == ""
    given = summary()
    for i, entry in enumerate(given["models"].values()):
        entry["tasks"] = {f"task{i}": entry["tasks"]["addition"]}
    assert ladder.render_ladders(read_panels(given)) == ""


def test_two_ladders_on_different_tasks_stand_apart() -> None:
    given = summary()
    again = summary()["models"]
    for model, entry in again.items():
        entry["tasks"] = {"countdown": entry["tasks"]["addition"]}
        given["models"][f"{model}-2"] = entry
    found = ladder.collect_ladders(read_panels(given))
    assert {name: {one.model for one in rungs} for name, rungs in found.items()} == {
        "sft, addition": set(BASES),
        "sft, countdown": {f"{model}-2" for model in BASES},
    }


def test_rungs_know_their_problems_and_seeds() -> None:
    rungs = ladder.collect_ladders(read_panels(summary()))["sft"]
    assert {(rung.gain.n, rung.after.n, rung.arm.seeds) for rung in rungs} == {(200, 100, 3)}


def test_what_is_not_known_is_left_out() -> None:
    given = summary()
    weak = given["models"]["weak"]["tasks"]["addition"]["arms"]
    weak["sft"]["trajectory"]["tasks"]["mod_chain"]["tokens"] = None
    weak["sft"]["off_target_vs_base"] = None
    rungs = ladder.collect_ladders(read_panels(given))["sft"]
    assert [
        (rung.gain.value, rung.longer.value) for rung in rungs if (rung.model, rung.label) == ("weak", "mod_chain")
    ] == [(None, None)]
    assert "None" not in ladder.render_ladders(read_panels(given))
    del weak["base"], weak["ceiling"]
    assert ladder.render_ladders(read_panels(given)) == "", (
        "without the base's ability a model has no place on the axis"
    )


def test_the_page_has_the_section_where_there_is_a_ladder(tmp_path: Path) -> None:
    make_run(tmp_path, test=4)
    path = tmp_path / "summary.json"
    plain = path.read_text()
    assert 'id="ladder"' not in write_report(tmp_path).read_text()
    given = {**json.loads(plain), "models": summary()["models"]}
    path.write_text(json.dumps(given))
    text = write_report(tmp_path).read_text()
    assert 'href="#ladder"' in text
    assert text.index('id="trajectory"') < text.index('id="ladder"') < text.index('id="forest"')
