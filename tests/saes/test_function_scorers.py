"""A scorer of one's own: what it gets, how its column ranks, what is refused, and the same search with it in a spec."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import elicit
import saes
from elicit.comparison.spec import build_task
from elicit.errors import ElicitError
from elicit.methods.catalog import configure_method

CODE = "def score(positive, negative):\n    return positive.mean - negative.mean\n"


def test_a_function_gets_the_conditions_and_ranks_features(tmp_path: Path) -> None:
    model = elicit.load("cued")
    task = build_task({"task": "addition"}, model.card["dialect"], where="test")
    problems = task.problems("train", 16)
    sae = saes.load("cued/L1")
    cued = [saes.Span.last(model.encode(problem.cue_prompt or "")) for problem in problems]
    plain = [saes.Span.last(model.encode(problem.prompt)) for problem in problems]
    seen = []

    def largest(positive, negative):  # type: ignore[no-untyped-def]
        seen.append((positive, negative))
        return positive.sample_activations().max(0) - negative.sample_activations().max(0)

    table = saes.discover(model.hf, sae, cued, plain, scorers=["contrast", largest])
    ((positive, negative),) = seen
    rows = sae.encode(model.residuals([problem.cue_prompt or "" for problem in problems])[1]).double().numpy()
    others = sae.encode(model.residuals([problem.prompt for problem in problems])[1]).double().numpy()
    ordered = table.sort_index()
    np.testing.assert_allclose(positive.mean, rows.mean(0), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(negative.density, (others != 0).mean(0), atol=1e-9)
    np.testing.assert_allclose(ordered["largest"], rows.max(0) - others.max(0), rtol=1e-4, atol=1e-3)
    assert ordered["rank_largest"].min() == 1
    (tmp_path / "mine.py").write_text(CODE)
    again = saes.discover(model.hf, sae, cued, plain, scorers=["contrast", f"{tmp_path / 'mine.py'}:score"])
    np.testing.assert_allclose(again["score"], again["contrast"], rtol=1e-9, atol=1e-12)
    faults = {"return 3": "shape", "return 1 / 0": "ZeroDivisionError", "return positive.mean / 0": "finite"}
    for body, message in faults.items():
        (tmp_path / "bad.py").write_text(f"def bad(positive, negative):\n    {body}\n")
        with np.errstate(all="ignore"), pytest.raises(ElicitError, match=message):
            saes.discover(model.hf, sae, cued, plain, scorers=[f"{tmp_path / 'bad.py'}:bad"])


def test_a_search_by_the_same_score_finds_the_same(tmp_path: Path) -> None:
    model = elicit.load("cued")
    task = build_task({"task": "addition"}, model.card["dialect"], where="test")
    (tmp_path / "mine.py").write_text(CODE)
    options = {"layers": (1,), "strengths": (1.5,), "candidates": 2, "train_problems": 16, "select_problems": 4}
    built_in = configure_method("sae_steering", options).fit(model, task, seed=0, needs={})
    own = configure_method("sae_steering", {**options, "scorer": f"{tmp_path / 'mine.py'}:score"}).fit(
        model, task, seed=0, needs={}
    )
    assert [edit.sha256 for edit in own.edits] == [edit.sha256 for edit in built_in.edits]
    assert own.record["scored_on"]["by"] == "score"
    with pytest.raises(ElicitError, match="scorer"):
        configure_method("sae_steering", {"scorer": "contrst"})
