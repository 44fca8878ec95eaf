"""What a run will cost, counted by hand, against what was then measured, and for every spec that comes with the lab."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from elicit.comparison.cell_state import read_cell_status
from elicit.comparison.planning import speed
from elicit.comparison.planning.plan import estimate_plan
from elicit.comparison.planning.stand_ins import replace_missing_benchmarks
from elicit.comparison.spec import build_task, check_spec, read_spec
from elicit.comparison.spec.spec import check_form, check_tasks
from elicit.method import TokenLengths
from elicit.organisms.recipes import ORGANISMS
from elicit.organisms.train import build_card
from elicit.tasks import Task
from tests.support.comparisons import elicit, write_spec
from tests.support.planning import invent_fewer_rows

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
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


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path_factory):
    """The machine's speed is measured once for this file and kept nowhere else."""
    monkeypatch.setenv("ELICIT_CACHE", str(tmp_path_factory.getbasetemp() / "speed"))


def test_answers_votes_and_samples_are_counted_for_every_cell() -> None:
    found = estimate_plan(check_spec(SPEC), None)
    assert found.cells == 2 * (1 + 3 + 3)
    assert found.samples == 2 * (1 + 3) * 8 * 20
    answers = 2 * 50 * (10 + 20) * (1 + 3 + 3 * 4)
    assert found.limit_tokens == answers + 10 * found.samples
    assert 0 < found.generated_tokens < 2 * found.limit_tokens


def test_a_limit_bounds_the_sampled_problems_too() -> None:
    found = estimate_plan(check_spec(SPEC), None, limit=5, arms=["base"])
    assert (found.test_problems, found.samples) == (5, 2 * 8 * 5)
    assert found.limit_tokens == 2 * (5 * 30 + 8 * 5 * 10)


LENGTHS = TokenLengths(prompt=10, thinking=12, plain=4, worked=20, thought=30, limit=64, layers=5)


@pytest.mark.parametrize(
    ("arm", "generated", "trained"),
    [
        ({"method": "base"}, 0, 0),
        ({"method": "sft", "demonstrations": 8, "epochs": 5}, 0, 8 * 5 * 30),
        ({"method": "mean_steering", "strengths": [1.0, 2.0], "select_problems": 10}, 4 * 2 * 10 * 17, 0),
        ({"method": "mean_steering", "layers": [1], "strengths": [1.0], "select_problems": 10}, 10 * 17, 0),
        (
            {"method": "grpo", "steps": 3, "problems": 2, "generations": 4, "pilot_problems": 5, "pilot_samples": 6},
            30 * 4 + 24 * 17,
            24 * 27,
        ),
    ],
)
def test_fitting_costs_what_its_options_say(arm, generated, trained) -> None:
    (method,) = check_spec({"models": ["cued"], "task": "addition", "arms": {"a": arm}}).build_methods().values()
    wanted = method.estimate_cost(LENGTHS)
    assert sum(one.completions * one.length for one in wanted.fitting) == generated
    assert wanted.trained_tokens == trained


@pytest.mark.parametrize(("arm", "tokens"), [("self_consistency", 16 * 4), ("cot_decoding", 10 * 17), ("base", 4)])
def test_an_answer_costs_its_votes_and_branches(arm, tokens) -> None:
    (method,) = check_spec({"models": ["cued"], "task": "addition", "arms": [arm]}).build_methods().values()
    answer = method.estimate_cost(LENGTHS).answer
    assert answer.completions * answer.length == tokens


def test_a_slower_machine_and_more_tokens_take_longer() -> None:
    timed = speed.MachineSpeed((1e-9, 2e-9, 4e-9, 1e-8, 8e-8), 1e-6)
    assert timed.forward_seconds(8, 1e6, 0) == pytest.approx(speed._BESIDES * 2e-3)
    assert timed.forward_seconds(20, 1e6, 0) == pytest.approx(speed._BESIDES * 3e-3)
    assert timed.forward_seconds(2048, 1e6, 0) == pytest.approx(speed._BESIDES * 0.16)
    assert timed.forward_seconds(8, 0, 4) == pytest.approx(4 * speed._OPERATIONS * 1e-6)


def test_an_unknown_model_leaves_the_rest_of_the_plan(tmp_path: Path) -> None:
    spec = {**SPEC, "models": {"here": "cued", "there": "somebody/not-here"}, "off_target": {}}
    done = elicit("run", write_spec(tmp_path, spec), "--out", tmp_path / "run", "--plan")
    assert done.code == 0, done.err
    assert re.search(
        r"^time .* on this machine with . workers?; somebody/not-here: unknown until downloaded$", done.out, re.M
    )
    assert "samples                    1,280 at temperature 1\n" in done.out
    assert not (tmp_path / "run").exists()


def test_an_sae_that_no_release_has_is_refused_by_the_plan(tmp_path: Path) -> None:
    arms = {"a": {"method": "sae_steering", "saes": ["gemma-scope-2-270m-pt-res:layer_5_width_16k_l0_smal"]}}
    spec = {"models": {"m": "google/gemma-3-270m"}, "task": "sums", "arms": arms}
    done = elicit("run", write_spec(tmp_path, spec), "--plan")
    assert done.code == 2
    assert "Did you mean 'layer_5_width_16k_l0_small'" in done.err


def dialect_of(name: str) -> dict[str, Any] | None:
    """An organism's, trained or not; None for other models."""
    label = Path(name).name
    return build_card(label, *ORGANISMS[label])["dialect"] if label in ORGANISMS else None


def check_that_there_are_problems(path: Path) -> None:
    """Of the target, of every other task, and of those that arms train on or watch: in each model's own dialect."""
    spec = read_spec(path)
    drawn: dict[tuple[str, str, str], int] = {}
    for label, model in spec.models.items():
        mine, dialect = spec.for_model(label), dialect_of(model)

        def need(description: dict[str, Any], split: str, n: int, speech: Any = dialect) -> None:
            task: Task = build_task(description, speech, where=path.stem)
            key = (task.name, repr(sorted(description.items())), split)
            if drawn.get(key, 0) < n:
                assert len(task.problems(split, n)) == n  # type: ignore[arg-type]
                drawn[key] = n

        probe = mine.trajectory_or_default.probe
        for description in (mine.task, *mine.off_target.values()):
            need(description, "test", mine.test)
            need(description, "select", probe)
        for method in mine.build_methods().values():
            shown = getattr(method, "demonstrations", 0) or getattr(method, "pilot_problems", 0)
            need(getattr(method, "source", None) or mine.task, "train", shown)
            for watched in (getattr(method, "warn", None) or {}).values():
                need(watched, "select", method.warn_problems)  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_spec_that_comes_with_the_lab_can_be_planned(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the network. Files of models that are not here stand for hub ids.

    Those about generalization ask for problems of many kinds: there are as many as they ask for.
    """
    if "results" in path.parts:
        pytest.skip("a record of a run")
    text = yaml.safe_load(path.read_text())
    if isinstance(text["models"], dict):
        text["models"] = {
            label: "org/" + Path(name).stem
            if isinstance(name, str) and "/" in name and not (path.parent / name).exists()
            else name
            for label, name in text["models"].items()
        }
    invent_fewer_rows(monkeypatch)
    spec = replace_missing_benchmarks(check_form(text, where=str(path), folder=path.parent), tmp_path)
    check_tasks(spec, str(path))
    found = estimate_plan(spec, None, fresh=False)
    assert found.cells > 0
    assert found.seconds > 0
    assert all(model.gib or model.parameters is None for model in found.models)
    if path.parent.name == "generalization":
        check_that_there_are_problems(path)  # here, where the plan has drawn them


def test_a_run_ends_with_planned_and_measured(tmp_path: Path) -> None:
    """The factor of two itself is for quiet machines (see the benchmarks); here both figures are there, and near.

    In a process of its own: this one holds what other tests have loaded.
    """
    spec = {"models": ["cued"], "task": "addition", "arms": ["base"], "test": 20, "kl_problems": 0, "device": "cpu"}
    words = ["run", str(write_spec(tmp_path, spec)), "--out", str(tmp_path / "run"), "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "elicit.cli.main", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    found = re.fullmatch(r"planned (\d+) s, measured (\d+) s; memory planned ([\d.]+) GiB, measured ([\d.]+) GiB", last)
    assert found, last
    assert 0.5 <= float(found[3]) / float(found[4]) <= 2
    (cell,) = (tmp_path / "run" / "cells" / "cued" / "base").iterdir()
    assert (cell / "status.json").exists()
    from elicit.comparison.spec.cells import list_cells

    assert read_cell_status(list_cells(check_spec(spec))[0], tmp_path / "run")["peak_gib"] > 0.1
