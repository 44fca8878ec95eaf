"""Plans against runs, smaller designs, and rows that stand in for a benchmark that is not here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from elicit.comparison.planning import designs, roofline
from elicit.comparison.planning.arms_here import plan_here
from elicit.comparison.planning.basis import ModelBasis, read_model_basis
from elicit.comparison.planning.machine import estimate_cell_seconds
from elicit.comparison.planning.plan import estimate_plan
from elicit.comparison.planning.stand_ins import read_spec_for_plan
from elicit.comparison.planning.token_costs import CellPrice
from elicit.comparison.spec import build_task, check_spec
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.errors import ElicitError
from elicit.runs import read_rows
from elicit.statistics import detectable_difference
from tests.support.comparisons import elicit, write_spec
from tests.support.planning import invent_fewer_rows

LLAMA = Path(__file__).parents[2] / "experiments" / "configs" / "llama-3.1-8b"


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path_factory):
    """The machine's speed is measured once for this file and kept nowhere else."""
    monkeypatch.setenv("ELICIT_CACHE", str(tmp_path_factory.getbasetemp() / "speed"))


def test_planned_tokens_and_seconds_against_a_run(tmp_path: Path) -> None:
    """What cells recorded: answers' tokens, at most the limit of each; and their time corrects the next plan."""
    spec = {"models": ["cued"], "task": "addition", "arms": ["base"], "test": 30, "samples": 4, "kl_problems": 0}
    planned = estimate_plan(check_spec(spec), None, workers=1)
    assert elicit("run", write_spec(tmp_path, spec), "--out", tmp_path / "run", "--workers", "1").code == 0
    rows = read_rows(tmp_path / "run" / "cells" / "cued" / "base" / "0" / "rows" / "addition.jsonl")
    tokens = sum(row.tokens for row in rows)
    assert len(rows) == 30 + planned.samples
    assert 0.5 * planned.generated_tokens < tokens <= planned.limit_tokens
    answers = [row for row in rows if row.sample == 0]
    prompt = sum(row.prompt_tokens for row in answers) / len(answers)
    assert planned.models[0].lengths.prompt == pytest.approx(prompt, rel=0.2)
    more = check_spec({**spec, "arms": ["base", "self_consistency"]})
    (base_cell,) = [cell for cell in list_cells(more) if cell.arm == "base"]
    assert base_cell.name == "cued/base/0"
    found = estimate_plan(more, tmp_path / "run", workers=1, fresh=False)
    assert (found.finished, found.correction.cells) == (1, 1)
    fresh = estimate_plan(more, None, arms=["self_consistency"], workers=1, fresh=False)
    measured = json.loads((tmp_path / "run" / "cells" / "cued" / "base" / "0" / "status.json").read_text())["seconds"]
    basis = read_model_basis("cued", more)
    own = estimate_cell_seconds(
        basis, basis.price(base_cell, 30), basis.estimate_cost("base"), basis.profile.threads, fresh=False
    )
    assert found.correction.factor == pytest.approx(measured / own, rel=1e-6)
    assert (found.seconds > fresh.seconds) == (found.correction.factor > 1)


def test_smaller_designs_cost_less_and_detect_less() -> None:
    fields = {"models": ["cued"], "task": "addition", "seeds": 3, "test": 100, "samples": 16}
    plan = estimate_plan(check_spec({**fields, "arms": ["base", "sft", "self_consistency"]}), None, fresh=False)

    def clock(basis: ModelBasis, cell: Cell, price: CellPrice) -> roofline.Interval:
        hours = sum(item.tokens for item in price.work)
        return roofline.Interval(hours, hours)

    whole, half, quarter, *fewer, one_seed = designs.price_designs(plan.bases, plan.pending, None, clock)
    assert whole.hours.low == pytest.approx(plan.generated_tokens + plan.read_tokens + plan.trained_tokens, abs=3)
    assert whole.hours.low > half.hours.low > quarter.hours.low
    assert max(whole.answers) < max(half.answers) < max(quarter.answers)
    assert max(half.answers) == detectable_difference(50, (3, 1))
    assert [cost.design.apply(plan.bases[0].spec).samples.n for cost in fewer] == [8, 4, 2]
    assert all(cost.answers == whole.answers and cost.samples > whole.samples for cost in fewer)
    assert (whole.cells, one_seed.cells) == (7, 3)
    assert one_seed.hours.low < whole.hours.low
    counted = designs.count_comparisons(plan.bases, None)
    assert {size.runs: count for size, count in counted.items()} == {(3, 1): 2, (3, 3): 1}
    same = designs.find_same([whole, half, quarter, *fewer, one_seed])
    assert same is None or same.detects_as_much(whole)
    assert designs.find_same([whole, half]) is None
    limited = designs.price_designs(plan.bases, plan.pending, 10, clock)
    assert max(limited[0].answers) == max(limited[1].answers) == max(limited[2].answers)  # 100, 50 and 25 are over 10


def test_invented_rows_stand_in_for_a_benchmark_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as it has and as long as they are; a path of one's own is left as it is, and a run never sees them."""
    invent_fewer_rows(monkeypatch)
    arms = {"base": {"method": "base"}}
    fields = {"models": ["cued"], "task": {"task": "gsm8k", "reading": "strict", "download": True}, "arms": arms}
    spec, _ = read_spec_for_plan(write_spec(tmp_path, fields), tmp_path / "rows")
    task = build_task(spec.task, where="task")
    test, train = task.problems("test", 400), task.problems("train", 700)
    assert len({problem.prompt for problem in (*test, *train)}) == 1100
    assert sum(len(problem.prompt) for problem in test) / 400 == pytest.approx(240, abs=25)
    assert task.verify(test[0], "so\n#### 33").correct
    with pytest.raises(ElicitError):
        task.problems("test", 401)
    assert elicit("run", write_spec(tmp_path, {**fields, "task": "gsm8k"}), "--out", tmp_path / "run").code == 2
    (tmp_path / "mine.jsonl").write_text('{"question": "1+1?", "answer": "#### 2"}\n' * 1)
    own = {**fields, "task": {"task": "gsm8k", "path": "mine.jsonl"}}
    spec, _ = read_spec_for_plan(write_spec(tmp_path, own), tmp_path / "rows2")
    assert Path(spec.task["path"]).name == "mine.jsonl"
    wrong = {**fields, "task": {"task": "gsm8k", "reading": "backwards"}}
    with pytest.raises(ElicitError, match="reading"):
        read_spec_for_plan(write_spec(tmp_path, wrong), tmp_path / "rows")


def test_a_plan_names_the_arms_here_and_what_it_invented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    invent_fewer_rows(monkeypatch)
    arms = {"base": {"method": "base"}, "sft": {"method": "sft", "demonstrations": 8}}
    spec = write_spec(tmp_path, {"models": ["cued"], "task": "addition", "arms": arms, "test": 8, "seeds": 2})
    found = elicit("run", spec, "--plan", "--gpus", "cpu")
    assert found.code == 0, found.err
    rows = {line.split()[0]: line.split() for line in found.out.split("estimated\n")[1].splitlines()[1:3]}
    assert [rows["base"][1], rows["sft"][1]] == ["1", "2"]
    assert "not on this machine" not in found.out
    plan = estimate_plan(check_spec(yaml.safe_load(spec.read_text())), None, fresh=False)
    here = plan_here(plan, None)
    assert sum(arm.generated for arm in here) == pytest.approx(plan.generated_tokens, abs=2)
    assert sum(arm.trained for arm in here) == pytest.approx(plan.trained_tokens, abs=2)
    assert 3600 * sum(arm.hours for arm in here) < plan.seconds
    longest = plan.at_limit()
    assert sum(arm.generated for arm in plan_here(longest, None)) > plan.generated_tokens
    assert all(basis.lengths.plain == basis.lengths.limit for basis in longest.bases)
    outside = write_spec(tmp_path, {"models": {"m": str(LLAMA)}, "task": "gsm8k", "arms": ["base"], "test": 8})
    found = elicit("run", outside, "--plan", "--gpus", "H100")
    assert found.out.splitlines()[-1].startswith("gsm8k is not on this machine: 900 train and 400 test rows")
