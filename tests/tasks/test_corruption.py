"""Corrupted traces: right answers, the worked solution's length and characters, and steps that do not lead there."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.errors import ElicitError
from elicit.tasks import Dialect, English, GeneratedTask, Task, get
from elicit.tasks.catalog import FAMILIES
from elicit.tasks.core import content_id, split_of
from elicit.tasks.generated.corruption import CORRUPTIONS, Corruption, corrupt_solution, measure_distance

PARAMETERS: dict[str, dict[str, Any]] = {
    "addition": {"digits": (2, 5)},
    "mod_chain": {"steps": (2, 6)},
    "permutation": {"letters": 6},
    "assign": {"steps": (1, 6)},
    "sums": {"terms": (3, 5), "signs": "+-"},
    "transforms": {"length": (3, 6), "rotations": (1, 25)},
}
SPEECHES = ["early", "late", "wordy", "english", "asked", "chat"]
SPOILT: list[Corruption] = ["swapped", "shuffled", "filler", "random"]


def chat(messages: Any) -> str:
    return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"


@cache
def task_of(name: str, speech: str) -> Task:
    parameters = PARAMETERS.get(name, {})
    if speech in ("asked", "chat"):
        asked: Any = get(name, prompts={}, **parameters)
        return asked.bind(chat if speech == "chat" else None, "m")  # type: ignore[no-any-return]
    dialects = {
        "early": Dialect(),
        "late": Dialect(opening="", mark=""),
        "wordy": Dialect(mark="Answer: ", separator="; "),
    }
    if speech == "english":
        return get(name, dialect=English(), **parameters).inner  # type: ignore[attr-defined, no-any-return]
    return get(name, dialect=dialects[speech], **parameters)


@cache
def problems(name: str, speech: str) -> list[Any]:
    return task_of(name, speech).problems("train", 40)


@cache
def characters(name: str, speech: str) -> frozenset[str]:
    task = task_of(name, speech)
    return frozenset("".join(str(task.worked(p)) for p in task.problems("train", 300)))


def steps_of(text: str, speech: str) -> list[str]:
    """The working, cut by hand."""
    if speech in ("english", "asked", "chat"):
        return text.strip().split("\n")[:-1]
    return re.split(r"; |,", text.removeprefix("<think>"))[:-1]


@given(
    st.sampled_from(list(FAMILIES)),
    st.sampled_from(SPEECHES),
    st.integers(0, 39),
    st.sampled_from(SPOILT),
    st.integers(0, 99),
)
@settings(max_examples=300, deadline=None)
def test_form_and_answer_are_kept(name: str, speech: str, at: int, kind: Corruption, seed: int) -> None:
    task, problem = task_of(name, speech), problems(name, speech)[at]
    text, worked = corrupt_solution(task, problem, kind, seed=seed), str(task.worked(problem))
    verdict = task.verify(problem, text)
    assert verdict.correct
    assert verdict.answer == problem.answer
    assert text == corrupt_solution(task, problem, kind, seed=seed)
    steps, right = steps_of(text, speech), steps_of(worked, speech)
    missed = measure_distance(task, problem, text)
    assert missed == (abs(len(steps) - len(right)), abs(len(text) - len(worked)))
    assert missed.steps == 0
    assert missed.characters <= (0 if kind in ("shuffled", "filler") else 4)
    assert set(text) <= characters(name, speech)
    assert text.endswith(worked[worked.rindex(right[-1]) + len(right[-1]) :])
    assert steps != right
    if kind == "shuffled" and len(set(right)) > 1:
        assert sorted(steps) == sorted(right)
    if kind == "filler":
        assert set("".join(steps)) <= {"=", " "}
        assert [len(step) for step in steps] == [len(step) for step in right]
    if kind in ("swapped", "random") and speech not in ("english", "asked", "chat"):
        shape = re.compile(r"[^=]+(=[^=]+)+")
        assert all(shape.fullmatch(step) for step in steps), steps


@given(st.sampled_from(list(FAMILIES)), st.sampled_from(["early", "late", "wordy"]), st.sampled_from(SPOILT))
@settings(max_examples=30, deadline=None)
def test_the_verifier_finds_them_out(name: str, speech: str, kind: Corruption) -> None:
    """In an organism's dialect a trace is judged whole: none of 40 gets through (an order of countdown's might)."""
    task = task_of(name, speech)
    passed = [
        task.verify(p, corrupt_solution(task, p, kind, seed=1)).trace_valid is True for p in problems(name, speech)
    ]
    assert sum(passed) == 0
    assert all(task.verify(p, corrupt_solution(task, p, "correct", seed=1)).trace_valid for p in problems(name, speech))


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("speech", SPEECHES)
def test_the_ends_of_the_scale(name: str, speech: str) -> None:
    task = task_of(name, speech)
    for problem in problems(name, speech)[:10]:
        assert corrupt_solution(task, problem, "correct", seed=3) == task.worked(problem)
        assert corrupt_solution(task, problem, "none", seed=3) == task.direct(problem)
        assert measure_distance(task, problem, str(task.worked(problem))) == (0, 0)


@pytest.mark.parametrize("kind", ["swapped", "shuffled", "random"])
@pytest.mark.parametrize("speech", ["early", "asked"])
def test_random_numbers_belong_to_seed_problem_and_kind(kind: Corruption, speech: str) -> None:
    task, chosen = task_of("transforms", speech), problems("transforms", speech)
    texts = [[corrupt_solution(task, p, kind, seed=seed) for p in chosen] for seed in range(3)]
    backwards = [corrupt_solution(task, p, kind, seed=0) for p in reversed(chosen)]
    assert backwards[::-1] == texts[0]
    assert texts[0] != texts[1] != texts[2]


def test_both_speeches_have_the_same_steps() -> None:
    """What is drawn depends on the problem, not on how it is asked."""
    bare, asked = task_of("permutation", "english"), task_of("permutation", "asked")
    for one, other in zip(problems("permutation", "english"), problems("permutation", "asked"), strict=True):
        for kind in CORRUPTIONS:
            assert " " + corrupt_solution(bare, one, kind, seed=2) == corrupt_solution(asked, other, kind, seed=2)


def test_swapped_steps_come_from_the_same_split() -> None:
    """The donor is found by brute force among all small problems: it is worked right, and never a test problem."""
    task = get("mod_chain", steps=2)
    assert isinstance(task, GeneratedTask)
    operands = [(op, n) for op in "*+" for n in range(1, 7)]
    every = [(a, (b, c)) for a in range(1, 7) for b in operands for c in operands]
    owner: dict[str, set[str]] = {}
    for content in every:
        worked = ",".join(step.text for step in task.family.solve(content, {}).steps)
        owner.setdefault(worked, set()).add(split_of(content_id("mod_chain", task.family.canonical_key(content))))
    for split in ("train", "test"):
        for problem in task.problems(split, 20):
            steps = corrupt_solution(task, problem, "swapped", seed=0).removeprefix("<think>").partition(",#")[0]
            assert split in owner[steps]
            assert steps not in task.worked(problem)


def test_random_steps_are_no_sums() -> None:
    """Their two sides are unrelated: true about as often as chance has it, where swapped steps are all true."""
    task = get("mod_chain", steps=(3, 3))

    def true(text: str) -> list[bool]:
        found = re.findall(r"(\d)([*+])(\d)=(\d)", text)
        return [(int(a) * int(b) if op == "*" else int(a) + int(b)) % 7 == int(c) for a, op, b, c in found]

    drawn = task.problems("train", 200)
    random = [ok for p in drawn for ok in true(corrupt_solution(task, p, "random", seed=0))]
    swapped = [ok for p in drawn for ok in true(corrupt_solution(task, p, "swapped", seed=0))]
    assert len(random) == len(swapped) == 600
    assert all(swapped)
    assert 0.08 < sum(random) / 600 < 0.22


def test_shuffling_reaches_every_other_order() -> None:
    task = get("mod_chain", steps=(3, 3))
    problem = task.problems("train", 1)[0]
    worked = str(task.worked(problem))
    found = {corrupt_solution(task, problem, "shuffled", seed=seed) for seed in range(80)}
    assert len(found) == 5
    assert worked not in found


def test_equal_steps_take_another_problems() -> None:
    task = get("addition")
    assert isinstance(task, GeneratedTask)
    problem = task.make_problem((11, 11))
    text, worked = corrupt_solution(task, problem, "shuffled", seed=0), task.worked(problem)
    first, second, _ = worked.removeprefix("<think>").split(",")
    verdict = task.verify(problem, text)
    assert (first == second, verdict.correct, verdict.trace_valid, len(text)) == (True, True, False, len(worked))
    twins = [p for p in task.problems("train", 1000) if len(set(steps_of(task.worked(p), "early"))) == 1]
    assert twins
    for problem in twins:
        verdict = task.verify(problem, corrupt_solution(task, problem, "shuffled", seed=0))
        assert (verdict.correct, verdict.trace_valid) == (True, False)


def test_what_cannot_be_corrupted_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        "".join(f'{{"prompt": "{i}+1=", "answer": "{i + 1}", "worked": "{i}+1={i + 1}"}}\n' for i in range(40))
    )
    filed = get("jsonl", path=str(path))
    one = get("mod_chain", steps=1)
    cases = [
        (filed, "shuffled", "task 't': its solutions are not written by a program, so their steps"),
        (get("jsonl", path=str(path), prompts={"chat": False}), "none", "are not written by a program"),
        (one, "shuffled", "its one worked step has no other order, so it cannot be shuffled."),
        (one, "shufled", "unknown corruption 'shufled'. Did you mean 'shuffled'?"),
    ]
    for task, kind, message in cases:
        with pytest.raises(ElicitError) as error:
            corrupt_solution(task, task.problems("train", 1)[0], kind, seed=0)  # type: ignore[arg-type]
        assert message in str(error.value)
        assert "\n" not in str(error.value)
