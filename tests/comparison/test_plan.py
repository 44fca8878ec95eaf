"""What a run will cost, counted by hand."""

from __future__ import annotations

from pathlib import Path

from elicit.comparison.plan import plan
from elicit.comparison.spec import check_spec
from tests.support.comparisons import elicit, write_spec

SPEC = {
    "models": ["cued", "incapable"],
    "task": {"task": "addition", "max_new_tokens": 10},
    "off_target": {"chains": {"task": "mod_chain", "max_new_tokens": 20}},
    "arms": {
        "base": {"method": "base"},
        "sft": {"method": "sft"},
        "self_consistency": {"method": "self_consistency", "n": 4},
    },
    "seeds": 3,
    "test": 50,
    "samples": {"n": 8, "problems": 20, "arms": ["base", "sft"]},
}


def test_answers_votes_and_samples_are_counted_for_every_cell() -> None:
    found = plan(check_spec(SPEC), None)
    assert found.cells == 2 * (1 + 3 + 3)
    assert found.samples == 2 * (1 + 3) * 8 * 20
    answers = 2 * 50 * (10 + 20) * (1 + 3 + 3 * 4)
    assert found.generated_tokens == answers + 10 * found.samples


def test_a_limit_bounds_the_sampled_problems_too() -> None:
    found = plan(check_spec(SPEC), None, limit=5, arms=["base"])
    assert (found.test_problems, found.samples) == (5, 2 * 8 * 5)
    assert found.generated_tokens == 2 * (5 * 30 + 8 * 5 * 10)


def test_the_plan_says_what_it_leaves_out(tmp_path: Path) -> None:
    done = elicit("run", write_spec(tmp_path, SPEC), "--out", tmp_path / "run", "--plan")
    assert done.code == 0, done.err
    assert "samples                    1,280 at temperature 1\n" in done.out
    assert "fitting (training, rollouts, tuning) and searches other than votes are not counted" in done.out
    assert not (tmp_path / "run").exists()
