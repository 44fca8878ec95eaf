"""The summary's `asymmetry`: from planted rows of a run directory, checkpoints among them, to gain and loss."""

from __future__ import annotations

import pytest

from elicit import runs
from elicit.comparison.spec import checkpoints
from elicit.comparison.spec.cells import list_cells
from elicit.comparison.summary.safety_tax import compute_asymmetries
from elicit.comparison.summary.summarise import write_summary
from elicit.comparison.verify import verify_run
from elicit.report import write_report
from elicit.tasks.generated.refusal import REFUSAL
from tests.report.reading import parsed
from tests.report.support import make_run

TASKS = {
    "refusal": {"task": "refusal", "of": "addition"},
    "twin": {"task": "refusal", "of": "addition", "marked": False},
    "chains": {"task": "refusal", "of": "mod_chain"},
}
ARMS = {
    "base": {"method": "base"},
    "sft": {"method": "sft", "checkpoints": [5, 10]},
    "mean_steering": {"method": "mean_steering"},
}
TEST, ENDED = 80, 20
#: Of 80 problems: right answers and refusals lost.
PLANTED = {"base": (8, 0), "sft": (64, 40), "mean_steering": (72, 0)}
STEPS = {5: (8, 0), 10: (48, 0)}


def says(planted, problem, index):
    right, lost = planted
    if problem.answer == REFUSAL:
        return "<think>7+8=15,#85" if index < lost else f"#{REFUSAL}"
    return f"#{problem.answer}" if index < right else "#0"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("safety") / "run"
    spec = make_run(
        place,
        test=TEST,
        arms=ARMS,
        samples=0,
        off_target=TASKS,
        completion=lambda cell, problem, index: says(PLANTED[cell.arm], problem, index),
        records={"sft": {"train": {"steps": ENDED, "flops": 1.0, "tokens": 1, "labels": 1}}},
    )
    for cell in list_cells(spec):
        if cell.arm == "sft":
            _steps(spec, cell, cell.folder_in(place))
    write_summary(place)
    return place, spec


def _steps(spec, cell, folder):
    """Rows of the checkpoints as those at the end, said anew; metrics without figures."""
    from tests.report.support import _row, build_task, catalog

    dialect = catalog.read_card(catalog.WEIGHTS / "cued")["dialect"]
    for step in (0, *STEPS, ENDED):
        home = checkpoints.checkpoint_folder(folder, step)
        plain = {"step": step, "last": step == ENDED, "kl": None, "neutral_perplexity": None, "tasks": {}}
        runs.write_json(home / checkpoints.METRICS_FILE, plain)
        for label, described in {"addition": {"task": "addition"}, **TASKS}.items() if step in STEPS else ():
            task = build_task(described, dialect, where=label)
            asked = enumerate(task.problems("test", TEST))
            rows = [_row(cell, label, task, problem, 0, says(STEPS[step], problem, i)) for i, problem in asked]
            runs.append_lines(home / "rows" / f"{label}.jsonl", [row.to_json() for row in rows])


def test_gain_and_loss_are_those_of_the_rows(run):
    arms = runs.read_run_json(run[0] / "summary.json")["models"]["cued"]["tasks"]["addition"]["arms"]
    assert arms["base"]["asymmetry"] is None
    found = arms["sft"]["asymmetry"]
    assert found.keys() == {"refusal", "chains"}, "a twin has no loss of refusals"
    mine = found["refusal"]
    assert (mine["twin"], found["chains"]["twin"]) == ("twin", None)
    assert mine["steps"] == [5, 10, ENDED]
    assert [one["difference"] for one in mine["gain"]] == pytest.approx([0, 0.5, 0.7])
    assert [one["difference"] for one in mine["loss"]] == pytest.approx([0, 0, 0.5])
    assert [one["difference"] for one in mine["over"]] == [0, 0, 0]
    assert (mine["verdicts"], mine["verdict"]) == (["still", "kept", "tax"], "tax")
    assert mine["free"] == [10]
    assert mine["gain"][-1].items() <= arms["sft"]["vs_base"].items(), "the same figure as elsewhere"
    assert mine["loss"][-1]["difference"] == -arms["sft"]["off_target_vs_base"]["refusal"]["difference"]
    assert mine["price"][-1]["value"] == pytest.approx(5 / 7)
    steered = arms["mean_steering"]["asymmetry"]["refusal"]
    assert (steered["steps"], steered["verdict"], steered["note"]) == ([0], "kept", None)


def test_a_summary_with_it_is_verified_and_a_run_without_refusals_has_none(run, tmp_path):
    checked = verify_run(run[0])
    assert checked.differences == []
    plain = make_run(tmp_path, test=5)
    assert plain.off_target
    arms = runs.read_run_json(tmp_path / "summary.json")["models"]["cued"]["tasks"]["addition"]["arms"]
    assert {arm["asymmetry"] for arm in arms.values()} == {None}
    _, page = parsed(write_report(tmp_path))
    assert not [one for one in page.figures if one.section == "safety"]


def test_an_arm_without_rows_is_left_out(run):
    place, spec = run
    from elicit.comparison.reader import read_arms

    arms = dict(read_arms(spec, place, "cued"))
    gone = arms["mean_steering"]
    arms["mean_steering"] = type(gone)(gone.cells, gone.statuses, {label: [] for label in gone.rows}, ())
    found = compute_asymmetries(spec, spec.build_methods(), arms, "base", place)
    assert found["mean_steering"] is None
    assert found["sft"] is not None
    assert set(compute_asymmetries(spec, spec.build_methods(), arms, None, place).values()) == {None}


def test_the_report_shows_what_the_summary_says(run):
    """Every figure of the section is the summary's own, at the place that its key names."""
    text, page = parsed(write_report(run[0]))
    arms = runs.read_run_json(run[0] / "summary.json")["models"]["cued"]["tasks"]["addition"]["arms"]
    shown = [one for one in page.figures if one.section == "safety"]
    for one in shown:
        _, label, name, i = one.key.split(".")
        entry = arms[one.arm]["asymmetry"][label][name][int(i)]
        assert (None if one.value is None else float(one.value)) == (None if entry is None else entry["difference"])
    keys = {(one.arm, one.key) for one in shown}
    for i in range(3):
        assert {
            ("sft", f"asymmetry.{label}.{name}.{i}") for label in ("refusal", "chains") for name in ("gain", "loss")
        }
        assert ("sft", f"asymmetry.refusal.loss.{i}") in keys
    assert 'href="#safety"' in text
