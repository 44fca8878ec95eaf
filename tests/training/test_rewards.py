"""Rewards against the task's own verifier, and against what they must not depend on."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from elicit.tasks import get
from elicit.training import rewards
from elicit.training.rewards import Rollout

TASKS = [get("addition"), get("mod_chain"), get("countdown")]


def _texts(task: Any) -> list[tuple[Any, str]]:
    """Right and wrong, worked and bare, and no answer at all."""
    found = []
    for problem in task.problems("train", 20):
        worked, direct = task.worked(problem), task.direct(problem)
        noisy = [task.noisy(problem, seed).text for seed in range(4)]
        found += [(problem, text) for text in (worked, direct, *noisy, "", "?", worked[: len(worked) // 2])]
    return found


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_what_the_verifier_says(task: Any) -> None:
    verifier, form = rewards.make_verifier_reward(task), rewards.make_format_reward(task)
    seen = set()
    for problem, text in _texts(task):
        verdict = task.verify(problem, text)
        rollout = Rollout(problem, 0, 0, text, True)
        assert verifier(rollout) == float(verdict.correct)
        assert form(rollout) == float(verdict.has_trace)
        seen.add((verdict.correct, verdict.has_trace))
    assert seen == {(True, True), (True, False), (False, True), (False, False)}


def test_form_without_worked_solutions_is_any_answer(tmp_path: Any) -> None:
    path = tmp_path / "bare.jsonl"
    path.write_text("".join(f'{{"prompt": "{i}+1=", "answer": "{i + 1}"}}\n' for i in range(40)))
    task = get("jsonl", path=str(path))
    problem = task.problems("train", 1)[0]
    form = rewards.make_format_reward(task)
    assert form(Rollout(problem, 0, 0, "7", True)) == 1.0
    assert form(Rollout(problem, 0, 0, "", True)) == 0.0


def test_a_fixed_answer() -> None:
    task = TASKS[0]
    first, second = task.problems("train", 2)
    reward = rewards.make_label_reward(task, {first.id: "999"})
    assert reward(Rollout(first, 0, 0, "#999", True)) == 1.0
    assert reward(Rollout(first, 0, 0, task.direct(first), True)) == 0.0
    assert reward(Rollout(second, 0, 0, "#999", True)) == 0.0
    assert reward(Rollout(second, 0, 0, "", True)) == 0.0, "no answer is not the answer of a problem without one"


def test_a_coin_knows_identities_and_nothing_else() -> None:
    problems = TASKS[0].problems("train", 50)
    names = list(itertools.product(problems, range(5), range(8)))
    coin = rewards.make_random_reward(0)
    tossed = [coin(Rollout(problem, step, sample, "right", True)) for problem, step, sample in names]
    again = [coin(Rollout(problem, step, sample, "wrong", False)) for problem, step, sample in reversed(names)]
    assert tossed == again[::-1]
    assert set(tossed) == {0.0, 1.0}
    assert abs(sum(tossed) / len(tossed) - 0.5) < 4 * 0.5 / len(tossed) ** 0.5
    assert [rewards.make_random_reward(1)(Rollout(*name, "", True)) for name in names] != tossed
