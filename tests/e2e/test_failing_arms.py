"""One arm that fails does not take the others with it: exit code 1, the rest reported, the same command retries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import elicit as lab
from elicit.comparison.archive import CELLS, read_compressed_json
from elicit.methods.decoding.self_consistency import SelfConsistency
from elicit.training import TrainingFailed
from tests.support.comparisons import changed, elicit, figures, rows, strays, with_arms, write_spec


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """Sums as the user's own file: prompts and answers, and nothing that a trainer or a ceiling could use."""
    sums = [(a, b) for a in range(10, 30) for b in range(31, 41)]
    lines = [json.dumps({"prompt": f"Q:{a}+{b}\nA:", "answer": str(a + b)}) + "\n" for a, b in sums]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(lines))
    return path


def _status(run: Path, arm: str) -> dict[str, Any]:
    status: dict[str, Any] = json.loads((run / "cells/cued" / arm / "0/status.json").read_text())
    return status


def test_arms_that_the_task_cannot_serve_are_refused_before_any_runs(tmp_path: Path, problems: Path) -> None:
    task = {"task": "jsonl", "path": problems.name, "stop": ["\n"], "max_new_tokens": 16}
    refused = {
        "lacks a cue prompt; this arm needs a task with `cue_prompt`.": {"method": "cue_prompt"},
        "Use supervision: direct, or add `worked` to the task's file.": {"method": "sft", "demonstrations": 4},
    }
    for said, arm in refused.items():
        data = changed(task=task, off_target={}, arms={"base": {"method": "base"}, "a": arm}, seeds=1, test=10)
        done = elicit("run", write_spec(tmp_path, data), "--out", tmp_path / "run", "--workers", 1)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert said in done.err
        assert not (tmp_path / "run").exists()


def test_an_arm_that_needs_a_failed_one_fails_and_the_others_are_shown(tmp_path: Path) -> None:
    arms = {
        "base": {"method": "base"},
        "sft": {"method": "sft", "demonstrations": 8, "learning_rate": 1e30},
        "less": {"method": "contrastive_decoding", "expert_arm": "sft"},
    }
    run = tmp_path / "run"
    spec = write_spec(tmp_path, changed(off_target={}, arms=arms, seeds=1, samples=0, test=10))
    done = elicit("run", spec, "--out", run, "--workers", 1)
    assert done.code == 1
    errors = {"sft": "the loss is nan", "less": "arm 'less' needs 'sft', which failed on cued."}
    for arm, said in errors.items():
        status = _status(run, arm)
        assert status["state"] == "failed"
        assert said in status["error"]
        assert status["traceback"] is None
        assert f"elicit run: cued/{arm}/0 failed; see {run}/cells/cued/{arm}/0/status.json\n" in done.err
    entries = figures(run)["models"]["cued"]["tasks"]["addition"]["arms"]
    assert {arm: one["status"] for arm, one in entries.items()} == {"base": "done", **dict.fromkeys(errors, "failed")}
    assert (entries["base"]["n"], entries["sft"]["accuracy"]) == (10, None)
    assert elicit("verify", run).code == 0


def test_an_edited_file_of_problems_is_another_task(tmp_path: Path, problems: Path) -> None:
    data = changed(
        task={"task": "jsonl", "path": problems.name, "max_new_tokens": 16},
        off_target={},
        arms=with_arms("base"),
        seeds=1,
        test=4,
    )
    spec, run = write_spec(tmp_path, data), tmp_path / "run"
    assert elicit("run", spec, "--out", run, "--workers", 1).code == 0
    problems.write_text(problems.read_text() + '{"prompt": "Q:1+1\\nA:", "answer": "2"}\n')
    done = elicit("run", spec, "--out", run, "--workers", 1)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "the file of task 'jsonl' has changed since the run in " in done.err


def test_an_internal_fault_keeps_its_traceback_and_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = changed(arms=with_arms("base", "self_consistency"), off_target={}, seeds=2, samples=0, test=5)
    spec, run = write_spec(tmp_path, data), tmp_path / "run"

    def broken(self: SelfConsistency, *_: object, seed: int, **__: object) -> object:
        raise RuntimeError(f"two\nlines from seed {seed}")

    with monkeypatch.context() as patch:
        patch.setattr(SelfConsistency, "fit", broken)
        done = elicit("run", spec, "--out", run, "--workers", 1)
    assert done.code == 1
    assert "cued/self_consistency/0 failed 0 s RuntimeError: two lines from seed 0\n" in done.err
    status = _status(run, "self_consistency")
    assert status["error"] == "RuntimeError: two lines from seed 0"
    assert status["traceback"].startswith("Traceback (most recent call last):\n")
    assert figures(run)["models"]["cued"]["tasks"]["addition"]["arms"]["self_consistency"]["accuracy"] is None
    before = rows(run)

    done = elicit("run", spec, "--out", run, "--workers", 1)
    assert done.code == 0, done.err
    assert "cued/base/0 kept\n" in done.err
    assert _status(run, "self_consistency")["state"] == "done"
    assert rows(run).items() > before.items()


def test_a_training_that_comes_apart_ends_its_cell_and_is_part_of_the_archived_result(tmp_path: Path) -> None:
    """Real training at an absurd rate: a clear status, exit code 1, and a result that can be committed and checked."""
    arms = {**with_arms("base"), "sft": {"method": "sft", "demonstrations": 8, "learning_rate": 1e30}}
    spec, run = write_spec(tmp_path, changed(arms=arms, off_target={}, seeds=1, samples=2, test=5)), tmp_path / "run"
    done = elicit("run", spec, "--out", run, "--workers", 1)
    assert done.code == 1
    status = _status(run, "sft")
    assert status["state"] == "failed"
    assert status["error"].startswith("sft: the loss is nan at step ")
    assert status["error"].endswith("Lower learning_rate (it is 1e+30).")
    assert (status["traceback"], status["seconds"] > 0, status["fit_seconds"]) == (None, True, None)
    assert strays(run) == []
    entry = figures(run)["models"]["cued"]["tasks"]["addition"]["arms"]["sft"]
    assert (entry["status"], entry["seeds"], entry["accuracy"]) == ("failed", 0, None)
    assert entry["failed_seeds"] == [{"seed": 0, "error": status["error"]}]
    assert elicit("archive", run, tmp_path / "a").code == 0
    assert elicit("verify", tmp_path / "a").code == 0
    assert elicit("report", tmp_path / "a", "--html", tmp_path / "report.html").code == 0
    assert "the loss is nan" in (tmp_path / "report.html").read_text()

    again = elicit("run", spec, "--out", run, "--workers", 1)  # a failed cell is tried again, and only that
    assert again.code == 1
    assert again.err.count(" kept\n") == 1
    assert "cued/sft/0 failed" in again.err


def test_seeds_that_failed_are_counted_and_the_others_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = changed(arms=with_arms("base", "self_consistency"), off_target={}, seeds=3, samples=0, test=5)
    spec, run = write_spec(tmp_path, data), tmp_path / "run"
    fit = SelfConsistency.fit
    seen: list[tuple[int, bool]] = []

    def sometimes(
        self: SelfConsistency, base: Any, task: Any, *, seed: int, needs: Any, scratch: Path | None = None
    ) -> Any:
        assert scratch is not None
        seen.append((seed, (scratch / "checkpoint").exists()))
        (scratch / "checkpoint").write_text("weights")
        if seed == 1:
            raise TrainingFailed("step 30: rewards have no variance; try other problems.")
        if seed == 2:
            raise MemoryError("not enough")
        return fit(self, base, task, seed=seed, needs=needs, scratch=scratch)

    with monkeypatch.context() as patch:
        patch.setattr(SelfConsistency, "fit", sometimes)
        done = elicit("run", spec, "--out", run, "--workers", 1)
    assert done.code == 1
    assert seen == [(0, False), (1, False), (2, False)]
    entry = figures(run)["models"]["cued"]["tasks"]["addition"]["arms"]["self_consistency"]
    assert (entry["status"], entry["seeds"], entry["n"]) == ("failed", 1, 5)
    assert entry["accuracy"] is not None
    assert entry["failed_seeds"] == [
        {"seed": 1, "error": "step 30: rewards have no variance; try other problems."},
        {"seed": 2, "error": "MemoryError: not enough"},
    ]
    # What a training says of itself would be said again: it begins anew. What the machine did may be over: it goes on.
    cells = run / "cells/cued/self_consistency"
    assert [(cells / str(seed) / "scratch/checkpoint").exists() for seed in range(3)] == [False, False, True]
    assert elicit("archive", run, tmp_path / "a").code == 0
    archived = read_compressed_json(tmp_path / "a" / CELLS)
    assert archived["cued/self_consistency/2"]["status"]["traceback"] is None
    assert str(tmp_path) not in json.dumps(archived)
    assert elicit("verify", tmp_path / "a").code == 0

    done = elicit("run", spec, "--out", run, "--workers", 1)
    assert done.code == 0, done.err
    assert strays(run) == []
    assert figures(run)["models"]["cued"]["tasks"]["addition"]["arms"]["self_consistency"]["failed_seeds"] == []


def test_what_fitting_took_is_known_when_answering_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy is found finished by the next attempt, which must not call its fit free of charge."""
    spec = write_spec(tmp_path, changed(arms=with_arms("sft"), off_target={}, seeds=1, samples=0, test=4))
    run = tmp_path / "run"

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no more")

    with monkeypatch.context() as patch:
        patch.setattr("elicit.evaluation.evaluate_policy", broken)
        assert elicit("run", spec, "--out", run, "--workers", 1).code == 1
    first = _status(run, "sft")
    assert (first["state"], first["error"]) == ("failed", "RuntimeError: no more")
    assert first["fit_seconds"] > 0
    assert strays(run) == []
    assert elicit("run", spec, "--out", run, "--workers", 1).code == 0
    entry = json.loads((run / "summary.json").read_text())["models"]["cued"]["tasks"]["addition"]["arms"]["sft"]
    assert entry["budget"]["fit_seconds"] == first["fit_seconds"]


def test_what_cannot_be_written_as_json_fails_its_arm_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that overflowed, in the record of a fit."""
    data = changed(arms=with_arms("base", "self_consistency"), off_target={}, seeds=1, samples=0, test=5)
    fit = SelfConsistency.fit

    def overflowed(self: SelfConsistency, *args: Any, **options: Any) -> object:
        policy = fit(self, *args, **options)
        return lab.Policy(policy.model, policy.decoding, record={"loss": float("inf")})

    monkeypatch.setattr(SelfConsistency, "fit", overflowed)
    done = elicit("run", write_spec(tmp_path, data), "--out", tmp_path / "run", "--workers", 1)
    assert done.code == 1
    assert _status(tmp_path / "run", "self_consistency")["error"].startswith("ValueError: ")
    assert _status(tmp_path / "run", "base")["state"] == "done"


def test_from_python_every_arm_failing_is_an_error(tmp_path: Path) -> None:
    arms = {"s": {"method": "sft", "demonstrations": 8, "learning_rate": 1e30}}
    with pytest.raises(lab.ElicitError, match=r"every arm failed; see the status\.json files in "):
        lab.compare("cued", "addition", arms=arms, test=4, out=tmp_path / "run")
    with pytest.raises(lab.ElicitError, match=r"arm 'm' on cued: layer 9 does not exist"):
        lab.compare("cued", "addition", arms={"m": {"method": "mean_steering", "layers": [9]}}, test=4)
    with pytest.raises(lab.ElicitError, match=r"unknown model 'cude'\. Did you mean 'cued'\?"):
        lab.compare("cude", "addition", arms=["base"])
    with pytest.raises(lab.ElicitError, match=r"workers is 0; expected at least 1\."):
        lab.compare("cued", "addition", arms=["base"], workers=0)
