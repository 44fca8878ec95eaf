"""Checkpoints in a run's life: verified, archived, amended, planned; and what is made of seeds that differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from elicit import model as models
from elicit import runs
from elicit.analysis.curves import classify_curve
from elicit.comparison.archive import ROWS, open_run_directory, read_compressed_json, write_archive
from elicit.comparison.planning.plan import estimate_plan
from elicit.comparison.spec import build_model_task, check_spec
from elicit.comparison.spec.cells import list_cells
from elicit.errors import ElicitError
from elicit.interop import frames
from elicit.policy import Policy
from elicit.schema import Row
from tests.support.comparisons import elicit, rows, write_spec
from tests.support.rundirs import Told, _row, make, right, wrong
from tests.support.trajectories import PROBLEMS, SPEC, STEPS, Plain, arms_of, changed, whole


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _same(left: Any, right: Any, *, digits: int) -> None:
    """Equal but for rounding: an archive keeps six digits of what was logged."""
    if isinstance(right, dict | list):
        assert type(left) is type(right)
        assert len(left) == len(right)
        for key in right if isinstance(right, dict) else range(len(right)):
            _same(left[key], right[key], digits=digits)
    else:
        assert left == (pytest.approx(right, rel=10.0**-digits, abs=1e-8) if isinstance(right, float) else right)


def test_verify_judges_checkpoints_too(tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole(), tmp_path / "run"))
    done = elicit("verify", run)
    assert done.code == 0, done.out
    # base and two seeds on both tasks, and three checkpoints of the two
    assert f" {3 * 16 * 2 + 2 * 3 * PROBLEMS * 2} verdicts checked, 0 differ" in done.out
    name = "cells/cued/sft/1/steps/000004/rows/addition.jsonl"
    lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
    lines[5]["correct"] = not lines[5]["correct"]
    (run / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = elicit("verify", run)
    assert done.code == 1
    assert f"{name}: problem {lines[5]['problem']}, sample 0: the verifier says " in done.out
    assert "arms.sft.trajectory.tasks.addition.accuracy[2].value: printed " in done.out
    assert "arms.sft.trajectory.tasks.addition.accuracy[1]" not in done.out
    assert "arms.sft.accuracy" not in done.out
    shutil.copyfile(whole() / name, run / name)
    metrics = run / "cells/cued/sft/0/steps/000008/metrics.json"
    metrics.write_text(metrics.read_text().replace('"entropy": 0', '"entropy": 1', 1))
    assert "arms.sft.trajectory.tasks.addition.entropy[3]: printed " in elicit("verify", run).out


def test_an_archive_keeps_checkpoints(tmp_path: Path) -> None:
    target = tmp_path / "a"
    assert elicit("archive", whole(), target).code == 0
    with open_run_directory(target) as run:
        assert rows(run) == rows(whole())
        told = arms_of(run)["sft"]["trajectory"]
        _same(arms_of(run), arms_of(whole()), digits=4)
        for path in whole().glob("cells/**/steps/*/metrics.json"):
            kept, logged = (json.loads((at / path.relative_to(whole())).read_text()) for at in (run, whole()))
            _same(kept, logged, digits=5)
    assert elicit("verify", target).out == elicit("verify", whole()).out
    frame = frames.trajectories_df(target, arms=["sft"]).set_index(["task", "metric", "step"])
    for k, step in enumerate(told["steps"]):
        low, high = told["tasks"]["chains"]["accuracy"][k]["ci"]
        assert list(frame.loc[("chains", "accuracy", step), ["low", "high", "n"]]) == [low, high, PROBLEMS]
        assert frame.loc[("chains", "loss", step), "value"] == told["tasks"]["chains"]["loss"][k]
        assert frame.loc[("addition", "kl", step), "value"] == told["kl"][k]["value"]
    steps = read_compressed_json(target / ROWS)["step"]
    assert [steps.count(step) for step in (None, *STEPS)] == [96, *[2 * 2 * PROBLEMS] * 3]
    assert len(steps) == 96 + 3 * 2 * 2 * PROBLEMS
    run = Path(shutil.copytree(whole(), tmp_path / "run"))
    for folder in run.glob("cells/cued/sft/*/steps"):
        shutil.rmtree(folder)
    write_archive(run, tmp_path / "b")
    assert list(read_compressed_json(tmp_path / "b" / ROWS)) == ["cell", *list(Row.__annotations__)[:-1]]


def test_a_run_can_ask_for_more(tmp_path: Path) -> None:
    """First nothing is said; then fewer problems, then more, and another task. The arm learns bare answers."""
    run, sft = tmp_path / "run", {"method": "sft", "epochs": 4, "supervision": "direct", "checkpoints": [4]}
    arms = {**SPEC["arms"], "sft": sft}
    small = {"arms": arms, "seeds": 1, "off_target": {}, "kl_problems": 0}
    name, before = "cells/cued/sft/0/steps/000004", {}

    def go(**fields: Any) -> dict[str, Any]:
        done = elicit("run", write_spec(tmp_path, changed(**small, **fields)), "--out", run, "--workers", 1)
        assert done.code == 0, done.err
        found: dict[str, Any] = arms_of(run)["sft"]["trajectory"]
        assert found["kl"] == [None, None, None]
        return found

    found = go(test=4, trajectory=None)
    assert found["tasks"]["addition"]["n"] == 4
    assert json.loads((run / name / "metrics.json").read_text())["tasks"]["addition"]["n"] == 32
    before = _bytes(run / name)
    assert go(test=4, trajectory={"problems": 2})["tasks"]["addition"]["n"] == 2
    assert _bytes(run / name) == before
    untouched = (run / "cells/cued/base/0/status.json").stat().st_mtime_ns
    found = go(test=4, trajectory={"problems": 4, "probe": 40})
    assert (run / "cells/cued/base/0/status.json").stat().st_mtime_ns == untouched
    after = _bytes(run / name)
    assert after["rows/addition.jsonl"] == before["rows/addition.jsonl"]
    assert json.loads(after["metrics.json"])["tasks"]["addition"]["n"] == 40
    small["off_target"] = {"chains": {"task": "mod_chain"}}
    found = go(test=8, trajectory={"problems": 6, "probe": 40})
    assert [one["n"] for one in found["tasks"].values()] == [6, 6]
    rows_now = _bytes(run / name)["rows/addition.jsonl"]
    assert rows_now.startswith(before["rows/addition.jsonl"])
    assert rows_now.count(b"\n") == 6
    # In domain is what the arm is taught.
    policy = Policy.load(run / "cells/cued/sft/0/policy", models.load("cued", device="cpu"))
    task = build_model_task(policy.model, {"task": "addition"}, where="task")
    pairs = [(problem, task.direct(problem)) for problem in task.problems("select", 40)]
    losses, hits = Plain(policy.at(4)).taught(pairs)
    assert found["taught"]["loss"][1] == pytest.approx(np.mean(losses), rel=2e-4)
    assert found["taught"]["token_accuracy"][1] == pytest.approx(np.mean(hits))
    assert found["taught"]["loss"] != found["tasks"]["addition"]["loss"]
    for fewer in ({"problems": 5, "probe": 40}, {"problems": 6, "probe": 39}, None):
        spec = write_spec(tmp_path, changed(**small, test=8, trajectory=fewer))
        done = elicit("run", spec, "--out", run)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "holds a run of another spec: trajectory was " in done.err


def test_seeds_and_problems_meet_where_all_have_been(tmp_path: Path) -> None:
    """Made by hand: one seed ended two steps early, and one lost an answer at a checkpoint."""
    base = "1000 1"
    answers = {
        "sft/0": {2: "0100 1", 4: "1100 1", 6: "1110 1", 8: "1111 1"},
        "sft/1": {2: "0000 0", 4: "0101 0", 6: "1111 0"},
    }

    def said(text: str) -> list[Any]:
        return [right(valid=True) if digit == "1" else wrong() for digit in text.replace(" ", "")]

    told = {"cued/base/0": Told(said(base))}
    told |= {f"cued/{name}": Told(said(one[max(one)])) for name, one in answers.items()}
    arms = {"base": {"method": "base"}, "sft": {"method": "sft", "checkpoints": [2, 4, 6]}}
    spec = make(tmp_path, {"arms": arms, "seeds": 2, "test": 5, "trajectory": {"problems": 4}}, told)
    for cell in list_cells(spec):
        mine = answers.get(f"{cell.arm}/{cell.seed}", {})
        for step, text in {0: "", **mine}.items() if mine else ():
            last, place = step == max(mine), cell.folder_in(tmp_path) / f"steps/{step:06d}"
            probed = {"loss": 9.0 - step + cell.seed, "token_accuracy": None, "entropy": 0.5, "n": 1}
            tasks = {"addition": probed} if step != 4 or cell.seed else {}
            found = {"step": step, "last": last, "kl": None, "neutral_perplexity": None, "tasks": tasks}
            runs.write_json(place / "metrics.json", found)
            lost = [3] if (step, cell.seed) == (4, 0) else []
            lines = [_row("addition", cell.seed, i, 0, one) for i, one in enumerate(said(text)) if i not in lost]
            runs.append_lines(place / "rows" / "addition.jsonl", [row.to_json() for row in lines if not last])
    found = arms_of(tmp_path)["sft"]["trajectory"]
    assert (found["steps"], found["ends"]) == ([0, 2, 4, 8], [8, 6])
    task = found["tasks"]["addition"]
    # Problem 3 was not answered everywhere, problem 4 is not among the first four.
    assert task["n"] == 3
    thirds = [[1, 1, 2, 3], [1, 0, 1, 3]]
    assert [one["value"] for one in task["accuracy"]] == pytest.approx(np.mean(thirds, axis=0) / 3)
    assert task["accuracy"] == task["valid_trace_rate"] == task["trace_rate"]
    table = [[[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1]], [[1, 0, 0], [0, 0, 0], [0, 1, 0], [1, 1, 1]]]
    assert task["curve"]["probabilities"] == classify_curve(np.array(table, float), [0, 2, 4, 8]).probabilities
    # The seeds' last points are those of steps 8 and 6; at step 4 one of them has no loss.
    assert task["loss"] == [9.5, 7.5, 6.0, (1 + 4) / 2]
    assert (task["token_accuracy"], task["stopping"]["step"]) == ([None] * 4, 8)
    assert found["kl"] == [None] * 4
    assert found["taught"] is None
    # In domain is what the arms are taught, where that is something else: its loss is lowest at the start.
    for path in tmp_path.glob("cells/cued/sft/*/steps/*/metrics.json"):
        metrics = runs.read_run_json(path)
        runs.write_json(path, {**metrics, "taught": {"loss": metrics["step"], "token_accuracy": None, "n": 1}})
    found = arms_of(tmp_path)["sft"]["trajectory"]
    assert found["taught"] == {"loss": [0, 2, 4, (8 + 6) / 2], "token_accuracy": [None] * 4}
    assert found["tasks"]["addition"]["stopping"]["step"] == 0


def test_what_a_spec_may_say_of_checkpoints() -> None:
    def refused(**fields: Any) -> str:
        with pytest.raises(ElicitError) as caught:
            check_spec(changed(**fields))
        return str(caught.value)

    sft = SPEC["arms"]["sft"]
    assert refused(arms={"sft": sft}).endswith(
        "arm 'sft' has checkpoints, and step 0 of a trajectory is the base's. Add an arm: base: {method: base}"
    )
    panel = {"panels": {"cued": {"arms": ["sft"]}}}
    assert "arm 'sft' has checkpoints" in refused(**panel)
    assert "trajectory: none of the arms has checkpoints. Type for an arm: " in refused(arms=["base", "sft"])
    assert "unknown field of trajectory 'problem'" in refused(trajectory={"problem": 3})
    assert "Did you mean 'problems'" in refused(trajectory={"problem": 3})
    assert "field 'trajectory.problems': -1: " in refused(trajectory={"problems": -1})
    assert "field 'trajectory.probe': -1: " in refused(trajectory={"probe": -1})
    assert "field 'trajectory'" in refused(trajectory=7)
    assert "problems is 17, but only 16 are tested" in refused(trajectory={"problems": 17})
    for steps in ([0, 2], [-1], [2.5], "all"):
        assert "checkpoints" in refused(arms={"base": {"method": "base"}, "sft": {**sft, "checkpoints": steps}})
    spec = check_spec(SPEC)
    assert check_spec(yaml.safe_load(yaml.safe_dump(spec.to_dict()))) == spec


def test_a_plan_counts_checkpoints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ELICIT_CACHE", str(tmp_path))
    off = {"chains": {"task": "mod_chain", "max_new_tokens": 20}}
    fields: dict[str, Any] = {"task": {"task": "addition", "max_new_tokens": 10}, "off_target": off}
    plain = {**SPEC["arms"], "sft": {key: one for key, one in SPEC["arms"]["sft"].items() if key != "checkpoints"}}
    without = estimate_plan(check_spec(changed(**fields, arms=plain, trajectory=None)), None, fresh=False)
    found = estimate_plan(check_spec(changed(**fields)), None, fresh=False)
    assert (without.checkpoints, found.checkpoints) == (0, 2 * len(STEPS))
    assert found.limit_tokens - without.limit_tokens == 2 * len(STEPS) * PROBLEMS * (10 + 20)
    assert found.generated_tokens > without.generated_tokens
    assert found.seconds > without.seconds
    one = estimate_plan(check_spec(changed(**fields)), None, arms=["base"], fresh=False)
    assert one.checkpoints == 0
    done = elicit("run", write_spec(tmp_path, SPEC), "--out", whole(), "--plan")
    assert "checkpoints" not in done.out  # all of them are there
    done = elicit("run", write_spec(tmp_path, SPEC), "--out", tmp_path / "run", "--plan")
    assert "\ncheckpoints                6 of trained arms, answered and probed\n" in done.out
