"""Rows as Inspect logs, read back by Inspect's own reader and command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from elicit import runs
from elicit.comparison.archive import write_archive
from elicit.comparison.spec import build_task
from elicit.comparison.storage import prompts
from elicit.interop import inspect_logs
from elicit.loading import catalog

inspect_log = pytest.importorskip("inspect_ai.log")


@pytest.fixture(scope="module")
def files(run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return inspect_logs.write_logs(run, tmp_path_factory.mktemp("logs"), samples=True)


@pytest.fixture(scope="module")
def logs(files: list[Path]) -> dict[tuple[str, str, int], Any]:
    """(task, arm, seed) -> log, as Inspect reads it."""
    found = {}
    for file in files:
        log = inspect_log.read_eval_log(str(file))
        found[log.eval.task, log.eval.metadata["arm"], log.eval.metadata["seed"]] = log
    assert len(found) == len(files)
    return found


def _figures(log: Any) -> dict[str, float]:
    (score,) = log.results.scores
    return {name: metric.value for name, metric in score.metrics.items()}


def test_there_is_a_log_for_every_finished_cell_and_task(logs: dict[tuple[str, str, int], Any]) -> None:
    expected = {(task, arm, 0) for task in ("addition", "mod_chain") for arm in ("base", "sft", "mean_steering")}
    expected |= {("addition", "sft", 1), ("mod_chain", "sft", 1), ("addition-samples", "sft", 0)}
    assert set(logs) == {*expected, ("addition-samples", "sft", 1)}
    assert all(log.status == "success" for log in logs.values())


def test_accuracies_are_those_of_the_summary(run: Path, logs: dict[tuple[str, str, int], Any]) -> None:
    arms = runs.read_run_json(run / "summary.json")["models"]["cued"]["tasks"]["addition"]["arms"]
    for arm in ("base", "sft", "mean_steering"):
        for seed, accuracy in enumerate(arms[arm]["seed_accuracies"]):
            assert _figures(logs["addition", arm, seed])["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert _figures(logs["mod_chain", "base", 0])["accuracy"] == arms["base"]["off_target"]["mod_chain"]["value"]
    pass_at_1 = [_figures(logs["addition-samples", "sft", seed])["accuracy"] for seed in (0, 1)]
    assert sum(pass_at_1) / 2 == pytest.approx(arms["sft"]["pass_at_k"]["1"]["value"], abs=1e-12)
    assert 0 < arms["sft"]["accuracy"] < 1, "accuracies that could not be told from a constant"


def test_inspect_itself_computes_the_same_metrics(logs: dict[tuple[str, str, int], Any]) -> None:
    for key, log in logs.items():
        written = _figures(log)
        verdicts: dict[str, list[float]] = {}
        for sample in log.samples:
            verdicts.setdefault(sample.id, []).append(float(sample.scores["verifier"].value == "C"))
        means = [sum(values) / len(values) for values in verdicts.values()]
        assert written["stderr"] == pytest.approx(stats.sem(means), abs=1e-12), key
        again = log.model_copy(deep=True)
        inspect_log.recompute_metrics(again)
        assert _figures(again) == pytest.approx(written, abs=1e-12), key


def test_a_sample_holds_what_the_model_saw_and_wrote(logs: dict[tuple[str, str, int], Any]) -> None:
    log = logs["addition", "sft", 1]
    task = build_task({"task": "addition"}, catalog.read_dialect("cued"), where="task")
    problems = task.problems("test", 12)
    by_id = {sample.id: sample for sample in log.samples}
    assert list(log.eval.dataset.sample_ids) == [problem.id for problem in problems]
    sample, problem = by_id[problems[4].id], problems[4]
    assert [message.role for message in sample.messages] == ["user", "assistant"]
    assert sample.messages[0].text == sample.input == f"[shown]{problem.prompt}"
    assert sample.output.completion == sample.messages[1].text == task.worked(problem)
    assert (sample.target, sample.scores["verifier"].answer, sample.scores["verifier"].value) == (
        problem.answer,
        problem.answer,
        "C",
    )
    assert (sample.output.usage.input_tokens, sample.output.usage.output_tokens) == (11, 7)
    stops = {one.id: one.output.stop_reason for one in log.samples}
    assert stops.pop(problems[5].id) == "max_tokens"
    assert set(stops.values()) == {"stop"}
    known = ("seed", "firings", "sample", "acceptance", "prompt_is_exact")
    assert [sample.metadata[key] for key in known] == [1, 1, 0, 0.25, True]
    assert log.eval.metadata["weights_sha256"] == "a" * 64
    assert len(log.eval.metadata["policy_sha256"]) == 64
    assert log.stats.model_usage[log.eval.model].output_tokens == 12 * 7


def test_further_samples_are_epochs(logs: dict[tuple[str, str, int], Any]) -> None:
    log = logs["addition-samples", "sft", 0]
    assert log.eval.config.epochs == 3
    assert sorted({sample.epoch for sample in log.samples}) == [1, 2, 3]
    assert {sample.epoch: sample.metadata["sample"] for sample in log.samples} == {1: 1, 2: 2, 3: 3}


def test_inspects_command_line_reads_the_logs(files: list[Path], logs: dict[tuple[str, str, int], Any]) -> None:
    (file,) = (file for file in files if "_addition_cued-sft-seed1_" in file.name)
    done = subprocess.run(
        [sys.executable, "-m", "inspect_ai", "log", "dump", str(file)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    dumped = json.loads(done.stdout)
    own = _figures(logs["addition", "sft", 1])
    assert dumped["results"]["scores"][0]["metrics"]["accuracy"]["value"] == own["accuracy"]
    assert len(dumped["samples"]) == 12
    listed = {(one.task, one.task_id) for one in inspect_log.list_eval_logs(str(file.parent))}
    assert ("addition", dumped["eval"]["task_id"]) in listed
    assert ("mod-chain", logs["mod_chain", "base", 0].eval.task_id) in listed


def test_both_forms_and_an_archive_hold_the_same(run: Path, files: list[Path], tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    spec = (run / "spec.yaml").read_text()
    assert "grpo" in spec
    write_archive(run, packed)
    out = tmp_path / "logs"
    out.mkdir()
    plain = inspect_logs.write_logs(packed, out, arms=["sft"], samples=True, form="json")
    assert len(plain) == 6
    for file in plain:
        (twin,) = (other for other in files if other.stem == file.stem)
        left, right = (inspect_log.read_eval_log(str(one)).model_dump() for one in (file, twin))
        assert left == right


def test_a_prompt_that_cannot_be_known_is_not_claimed(run: Path, tmp_path: Path) -> None:
    """Without `prompts.json` the hash decides: the base's prompts are rebuilt, the demonstrations of sft are not."""
    import shutil

    old = shutil.copytree(run, tmp_path / "old")
    for file in old.rglob(prompts.PROMPTS_FILE):
        file.unlink()
    exact = {
        arm: {
            sample.metadata["prompt_is_exact"]
            for _, log in inspect_logs.iter_logs(old, arms=[arm])
            for sample in log.samples
        }
        for arm in ("base", "sft")
    }
    assert exact == {"base": {True}, "sft": {False}}
