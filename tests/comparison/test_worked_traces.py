"""Exact lower bounds of pass@k in a summary, what they settle, and their way through an archive."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elicit import runs
from elicit.comparison.archive import open_run_directory, write_archive
from elicit.comparison.summary.summarise import write_summary
from elicit.comparison.summary.worked_traces import average_trace_probabilities, probability_within, settle_expansion
from elicit.comparison.verify import verify_run
from elicit.report import write_report
from elicit.report.data.summary_view import read_panels
from elicit.report.verdict import judge_summary
from tests.report.support import make_run
from tests.report.verdict_support import find_arm

#: Probability of the worked solution of every third problem, in turn.
P = (0.5, 0.001, None)


def make_scored_run(folder: Path) -> list[str]:
    """A run in which the base solves nothing and SFT six of ten, with the base's probabilities. Returns problem ids."""

    def completion(cell: Any, problem: Any, index: int) -> str:
        right = cell.arm == "sft" and index % 10 < 6
        return f"#{problem.answer}" if right else "#0"

    make_run(folder, completion=completion, samples={"n": 2, "problems": 12, "arms": ["base", "sft"]})
    rows = runs.read_rows(folder / "cells/cued/base/0/rows/addition.jsonl")
    problems = list(dict.fromkeys(row.problem for row in rows if row.sample))[:12]
    logs = {problem: None if P[i % 3] is None else math.log(P[i % 3] or 0) for i, problem in enumerate(problems)}
    path = folder / "cells/cued/base/0/metrics.jsonl"
    path.write_text(json.dumps({"kl": None, "neutral_perplexity": 1.25, "worked_logprobs": logs}) + "\n")
    write_summary(folder)
    return problems


def verify_run_at(archive: Path) -> list[str]:
    with open_run_directory(archive) as run:
        return verify_run(run).differences


def test_the_bounds_are_those_of_independent_draws(tmp_path: Path) -> None:
    make_scored_run(tmp_path)
    arms = runs.read_run_json(tmp_path / "summary.json")["models"]["cued"]["tasks"]["addition"]["arms"]
    bounds = arms["base"]["pass_at_k_exact_trace"]
    for k in (1, 4, 1024):
        assert bounds[str(k)]["value"] == pytest.approx((1 - 0.5**k + 1 - 0.999**k) / 2)
        assert bounds[str(k)]["n"] == 8  # two thirds of the problems have a solution that was scored
    assert "pass_at_k_exact_trace" not in arms["sft"]


def test_a_problem_that_only_the_arm_solved_has_the_draws_that_the_base_needs(tmp_path: Path) -> None:
    make_scored_run(tmp_path)
    data = runs.read_run_json(tmp_path / "summary.json")
    expansion = data["models"]["cued"]["tasks"]["addition"]["arms"]["sft"]["expansion"]
    known = sorted(value for value in expansion["expected_draws"].values() if value is not None)
    assert set(expansion["expected_draws"]) == set(expansion["arm_ids"])
    assert {round(value) for value in known} == {2, 1000}
    assert expansion["expected_misses"] == pytest.approx(4 * 0.5**2 + 4 * 0.999**2)
    (verdict,) = judge_summary(data)
    facts = find_arm(verdict, "sft").expansion
    assert facts is not None
    assert facts.draws == pytest.approx(known)
    assert len(read_panels(data)) == 1


def test_archived_and_changed_they_are_checked(tmp_path: Path) -> None:
    make_scored_run(tmp_path / "run")
    archive = write_archive(tmp_path / "run", tmp_path / "archive")
    assert verify_run_at(archive) == []
    write_report(tmp_path / "run")
    assert "draws on average" in (tmp_path / "run" / "report.html").read_text()
    path = tmp_path / "run/cells/cued/base/0/metrics.jsonl"
    assert verify_run(tmp_path / "run").differences == []
    entry = json.loads(path.read_text())
    entry["worked_logprobs"] = {name: None if v is None else v - 0.1 for name, v in entry["worked_logprobs"].items()}
    path.write_text(json.dumps(entry) + "\n")
    differences = verify_run(tmp_path / "run").differences
    assert any("pass_at_k_exact_trace" in line for line in differences)
    assert any("expected_draws" in line for line in differences)


def test_tiny_and_certain_probabilities_keep_their_digits() -> None:
    assert probability_within(np.array([1e-18]), 1000)[0] == pytest.approx(1e-15, rel=1e-9)
    assert probability_within(np.array([1.0]), 3)[0] == 1.0
    settled = settle_expansion({"arm_ids": ["a", "b", "c"], "k": 2}, {"a": 0.0, "b": 0.25}, ["a", "b", "c"])
    assert settled["expected_draws"] == {"a": None, "b": 4.0, "c": None}
    assert settled["base_trace_probability"] == {"a": 0.0, "b": 0.25, "c": None}
    assert settled["expected_misses"] == pytest.approx(1 + 0.75**2)


def test_seeds_are_averaged_as_probabilities() -> None:
    class Data:
        metrics = ({"worked_logprobs": {"a": math.log(0.2), "b": None}}, {"worked_logprobs": {"a": math.log(0.4)}}, {})

    assert average_trace_probabilities(Data()) == pytest.approx({"a": 0.3})  # type: ignore[arg-type]
