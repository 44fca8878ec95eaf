"""Arms followed over their training: every figure against the policies themselves, and a run killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elicit import model as models
from elicit import runs, statistics
from elicit.analysis.curves import classify_curve, measure_stopping_cost
from elicit.comparison.running.engine import run_cells
from elicit.comparison.spec import build_model_task, check_spec
from elicit.comparison.summary.summarise import write_summary
from elicit.policy import Policy
from tests.support.comparisons import figures, strays
from tests.support.trajectories import END, LABELS, PROBE, PROBLEMS, SPEC, STEPS, Plain, arms_of, whole


@pytest.fixture(scope="module")
def followed() -> dict[tuple[int, int], Policy]:
    """(seed, step) -> the policy that the run saved."""
    base = models.load("cued", device="cpu")
    found: dict[tuple[int, int], Policy] = {}
    for seed in range(SPEC["seeds"]):
        last = Policy.load(whole() / f"cells/cued/sft/{seed}/policy", base)
        found |= {(seed, step): last.at(step) for step in (0, *STEPS, END)}
    return found


def test_answers_are_those_of_the_policies_themselves(followed: dict[tuple[int, int], Policy]) -> None:
    """Accuracy, rates, tokens, shape and stopping, from answers given once more."""
    found = arms_of(whole())["sft"]["trajectory"]
    assert (found["steps"], found["ends"], found["seeds"]) == ([0, *STEPS, END], [END, END], 2)
    assert list(found["tasks"]) == list(LABELS)
    base = followed[0, 0].model
    for label, description in (("addition", {"task": "addition"}), ("chains", {"task": "mod_chain"})):
        task, mine = build_model_task(base, description, where=label), found["tasks"][label]
        problems = task.problems("test", PROBLEMS)
        correct, lengths, ended = (np.zeros((2, 5, PROBLEMS)) for _ in range(3))
        for (seed, step), policy in followed.items():
            place = seed, found["steps"].index(step)
            for i, answer in enumerate(policy.answer(problems, task, label=label, seed=seed)):
                correct[(*place, i)] = task.verify(problems[i], answer.text).correct
                lengths[(*place, i)], ended[(*place, i)] = answer.tokens, answer.finished
        assert mine["n"] == PROBLEMS
        for k in range(5):
            seeds = slice(0, 1 if k == 0 else 2)
            assert mine["accuracy"][k] == statistics.estimate_accuracy(correct[seeds, k]).to_json()
            assert mine["finished_rate"][k] == statistics.estimate_accuracy(ended[seeds, k]).to_json()
            assert mine["tokens"][k] == statistics.estimate_table_mean(lengths[seeds, k]).to_json()
        curve = classify_curve(correct, found["steps"])
        assert mine["curve"]["shape"] == curve.shape
        assert mine["curve"]["probabilities"] == curve.probabilities
        assert mine["curve"]["danger"]["probability"] == list(curve.danger.probability)
        assert mine["curve"]["end_minus_start"] == curve.end_minus_start.to_json()
        losses = np.array(found["tasks"]["addition"]["loss"])  # of the target task, whatever the task that is judged
        stopped = measure_stopping_cost(correct, found["steps"], losses)
        assert mine["stopping"]["step"] == stopped.step == found["steps"][int(losses.argmin())]
        assert mine["stopping"]["to_best"] == stopped.to_best.to_json()
    assert len({json.dumps(one["accuracy"]) for one in found["tasks"].values()}) == 2


def test_losses_and_entropies_are_those_of_transformers(followed: dict[tuple[int, int], Policy]) -> None:
    found = arms_of(whole())["sft"]["trajectory"]
    base = followed[0, 0].model
    for label, description in (("addition", {"task": "addition"}), ("chains", {"task": "mod_chain"})):
        task = build_model_task(base, description, where=label)
        for k, step in enumerate(found["steps"]):
            if step in (2, 8):
                continue
            plain = [Plain(followed[seed, step]) for seed in range(1 if step == 0 else 2)]
            pairs = [(problem, task.worked(problem) or "") for problem in task.problems("select", PROBE)]
            taught = [one.taught(pairs) for one in plain]
            wanted = {
                "loss": np.mean([np.mean(losses) for losses, _ in taught]),
                "token_accuracy": np.mean([np.mean(hits) for _, hits in taught]),
                "entropy": np.mean([np.mean(one.entropies(task)) for one in plain]),
            }
            mine = {name: found["tasks"][label][name][k] for name in wanted}
            assert mine == pytest.approx(wanted, rel=2e-4, abs=1e-5)
    losses = found["tasks"]["addition"]["loss"]
    assert losses[-1] < losses[0] / 2  # it was trained on such solutions


def test_kl_is_zero_at_the_start_and_the_arms_own_at_the_end() -> None:
    arms = arms_of(whole())
    found = arms["sft"]["trajectory"]
    assert arms["base"]["trajectory"] is None
    assert found["kl"][0]["value"] == pytest.approx(0, abs=1e-6)
    assert found["kl_ways"][-1] == arms["sft"]["kl"]
    assert found["kl"][-1] == arms["sft"]["kl"]["task"]["arm_base"]
    assert found["neutral_perplexity"][0] == pytest.approx(arms["base"]["neutral_perplexity"])
    assert found["neutral_perplexity"][-1] == arms["sft"]["neutral_perplexity"]
    values = [one["value"] for one in found["kl"]]
    assert min(values[1:]) > 1e-5
    assert values[-1] > 0.1


def test_no_other_figure_knows_of_checkpoints(tmp_path: Path) -> None:
    """Without their folders, everything but the trajectory and what is read off it is as it was."""
    run = Path(shutil.copytree(whole(), tmp_path / "run"))
    before = arms_of(run)
    for folder in run.glob("cells/cued/sft/*/steps"):
        shutil.rmtree(folder)
    after = arms_of(run)
    assert before["sft"].pop("trajectory") is not None
    assert after["sft"].pop("trajectory") is None
    for arms in (before, after):
        arms["sft"].pop("warning")  # alarms are set against the trajectory's trough
    assert after == before
    assert before["sft"]["n"] == SPEC["test"]
    assert strays(whole()) == []
    assert not (whole() / "cells/cued/base/0/steps").exists()


def _dies(chance: int) -> None:
    """Make this process kill itself at its n-th chance while it writes about a checkpoint: before, within and after."""
    left = iter(range(chance, -1, -1))

    def maybe(path: str | Path) -> None:
        if "/steps/" in str(path) and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    append, rename = runs.append_lines, os.replace

    def torn(path: Path, records: list[Any]) -> None:
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_size if path.exists() else 0
        with path.open("a") as file:
            file.write(text[: len(text) * 2 // 3])
        maybe(path)
        os.truncate(path, before)
        append(path, records)
        maybe(path)

    def replaced(source: str | Path, target: str | Path) -> None:
        maybe(target)
        rename(source, target)

    runs.append_lines, os.replace = torn, replaced  # type: ignore[assignment]


def _killed(run: Path, chance: int) -> bool:
    child = os.fork()
    if child == 0:
        try:
            _dies(chance)
            os._exit(len(run_cells(check_spec(SPEC), run, workers=1)))
        except BaseException:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_killed_at_any_moment_it_goes_on(tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole(), tmp_path / "run"))
    home = run / "cells/cued/sft/1"
    wanted = _bytes(home / "steps")
    shutil.rmtree(home / "steps")
    (home / "status.json").unlink()
    # While rows are written, right after, and when all rows of a checkpoint are there.
    for chance in (1, 5, 3, 5):
        assert _killed(run, chance)
    assert 0 < len(_bytes(home / "steps")) < len(wanted)
    assert not _killed(run, 1000)
    assert _bytes(home / "steps") == wanted
    write_summary(run)
    assert figures(run) == figures(whole())


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
