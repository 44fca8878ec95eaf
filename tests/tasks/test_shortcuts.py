"""Shortcuts: the right answer, the last step, and half of the working gone, for every generated task."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.errors import ElicitError
from elicit.tasks import get
from elicit.tasks.catalog import FAMILIES
from elicit.tasks.generated.shortcuts import shorten_solution
from tests.tasks.test_corruption import SPEECHES, problems, steps_of, task_of


@given(st.sampled_from(list(FAMILIES)), st.sampled_from(SPEECHES), st.integers(0, 39), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_half_of_the_steps_are_gone_and_nothing_else(name: str, speech: str, at: int, seed: int) -> None:
    task, problem = task_of(name, speech), problems(name, speech)[at]
    text, worked = shorten_solution(task, problem, seed=seed), str(task.worked(problem))
    assert text == shorten_solution(task, problem, seed=seed)
    steps, right = steps_of(text, speech), steps_of(worked, speech)
    assert len(steps) == max(1, len(right) // 2)
    assert steps[-1] == right[-1]
    remaining = iter(right)
    assert all(step in remaining for step in steps), "in order"
    assert (text == worked) == (len(right) == 1)
    assert len(text) <= len(worked)
    assert text.endswith(worked[worked.rindex(right[-1]) :])
    verdict = task.verify(problem, text)
    assert verdict.correct
    assert verdict.answer == problem.answer


@pytest.mark.parametrize("name", list(FAMILIES))
def test_the_verifier_sees_that_steps_are_missing(name: str) -> None:
    task = task_of(name, "early")
    for problem in problems(name, "early"):
        verdict = task.verify(problem, shorten_solution(task, problem, seed=0))
        one = len(steps_of(str(task.worked(problem)), "early")) == 1
        assert verdict.trace_valid is one


def test_the_seed_picks_which_steps() -> None:
    task = get("mod_chain", steps=(6, 6))
    problem = task.problems("train", 1)[0]
    right = steps_of(str(task.worked(problem)), "early")
    found = {shorten_solution(task, problem, seed=seed) for seed in range(100)}
    assert len(found) == len(list(itertools.combinations(right[:-1], 2))) == 10


def test_solutions_that_no_program_wrote_are_refused(tmp_path: Any) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        "".join(f'{{"prompt": "{i}+1=", "answer": "{i + 1}", "worked": "{i}+1={i + 1}"}}\n' for i in range(40))
    )
    task = get("jsonl", path=str(path))
    with pytest.raises(ElicitError, match="are not written by a program, so their steps cannot be left out") as error:
        shorten_solution(task, task.problems("train", 1)[0], seed=0)
    assert "\n" not in str(error.value)
