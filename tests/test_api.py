"""The lab from Python: `elicit.compare` and its results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import elicit
from elicit.api import Results
from elicit.errors import ElicitError

N = 12


def _compare(out: Path) -> Results:
    task = elicit.tasks.get("addition", max_new_tokens=32)
    arms = ["base", "cue_prompt", "self_consistency"]
    return elicit.compare(elicit.load("cued"), task, arms=arms, seeds=2, test=N, samples=2, out=out)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return _compare(tmp_path_factory.mktemp("api") / "run")


def test_tables_hold_what_the_summary_says(results: Results) -> None:
    frame = results.to_df().set_index("arm")
    arms = json.loads((results.run / "summary.json").read_text())["models"]["cued"]["tasks"]["addition"]["arms"]
    assert list(frame.index) == list(arms)
    for arm, figures in arms.items():
        assert frame.loc[arm, "accuracy"] == figures["accuracy"]
        assert (frame.loc[arm, "ci_low"], frame.loc[arm, "ci_high"]) == tuple(figures["ci"])
    assert list(frame["seeds"]) == [1, 1, 2]
    rows = results.rows_df()
    assert len(rows) == (1 + 1 + 2) * N * (1 + 2)
    own = rows[rows["sample"] == 0].groupby("arm")["correct"].mean()
    assert own["cue_prompt"] == pytest.approx(arms["cue_prompt"]["accuracy"])


def test_flips_are_the_problems_that_changed(results: Results) -> None:
    rows = results.rows_df()
    rows = rows[(rows["sample"] == 0) & (rows["seed"] == 0)].set_index("problem")
    base, cued = (rows[rows["arm"] == arm]["correct"] for arm in ("base", "cue_prompt"))
    expected = {problem for problem in base.index if base[problem] != cued[problem]}
    flips = results.flips("base", "cue_prompt")
    assert set(flips["problem"]) == expected
    assert expected  # the organism is made so that the cue changes what it does
    assert (flips["correct_base"] != flips["correct_cue_prompt"]).all()
    with pytest.raises(ElicitError, match=r"unknown arm 'sft'\. Known: base, cue_prompt, self_consistency\."):
        results.flips("base", "sft")


def test_text_and_page_show_the_same_figures(results: Results, tmp_path: Path) -> None:
    accuracy = f"{results.to_df()['accuracy'][1]:.3f}"
    assert accuracy in repr(results)
    assert accuracy in results._repr_html_()
    assert results.save_html(tmp_path / "mine.html").read_text().startswith("<!doctype html>")
    with pytest.raises(ElicitError, match=r"cannot write .*/none/mine\.html: No such file or directory\."):
        results.save_html(tmp_path / "none" / "mine.html")


def test_a_second_call_goes_on_in_the_same_folder(results: Results) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.run.glob("cells/**/*.jsonl")}
    again = _compare(results.run)
    assert again.summary == results.summary
    assert {path: path.stat().st_mtime_ns for path in results.run.glob("cells/**/*.jsonl")} == before


def test_a_task_of_a_file_is_given_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("".join(f'{{"prompt": "Q:{i}+1", "answer": "{i + 1}"}}\n' for i in range(40)))
    task = elicit.tasks.get("jsonl", path=tmp_path / "mine.jsonl", max_new_tokens=16)
    by_task = elicit.compare("cued", task, arms=["base"], test=2)
    assert list(by_task.to_df()["n"]) == [2]
    described = {"task": "jsonl", "path": str(tmp_path / "mine.jsonl"), "stop": ["\n"], "max_new_tokens": 4}
    results = elicit.compare("cued", described, arms=["base"], test=2, out=tmp_path / "run")
    assert list(results.to_df()["n"]) == [2]
