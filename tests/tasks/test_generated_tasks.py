"""What every generated family promises: total verifying, sound solutions, located errors, disjoint splits."""

from __future__ import annotations

import functools
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elicit.errors import ElicitError
from elicit.tasks import Dialect, GeneratedTask, Problem, Verdict, get, names
from elicit.tasks.catalog import FAMILIES
from elicit.tasks.core import SPLITS, content_id, split_of

EARLY, LATE, WORDY = Dialect(), Dialect(opening="", mark=""), Dialect(mark="Answer: ", separator="; ")
SETTINGS = [
    ("addition", {}),
    ("addition", {"digits": (1, 7)}),
    ("mod_chain", {"steps": (1, 9)}),
    ("permutation", {"letters": 6}),
    ("assign", {"steps": (1, 9)}),
    ("countdown", {}),
    ("countdown", {"numbers": 5, "bounds": [1, 50], "target": [1, 400]}),
    ("general_points", {"faces": "ten"}),
    ("general_points", {"faces": "rank", "require_face": True}),
    ("sums", {"terms": (2, 5), "digits": (1, 3)}),
    ("sums", {"signs": "+-"}),
    ("products", {"left": (1, 3), "right": (1, 2)}),
    ("stories", {}),
    ("stories", {"steps": (1, 8), "limit": 60}),
    ("transforms", {}),
    ("transforms", {"length": (3, 7), "count": (1, 5), "rotations": (1, 25), "noise": 0.2, "noise_kind": "mixed"}),
]
CASES = [pytest.param(*case, id=f"{case[0]}-{i}") for i, case in enumerate(SETTINGS)]
BOMBS = [
    "",
    "10**9**9",
    "#10**9**9",
    "#" + "9" * 10_000,
    "#" + "(" * 5000 + "1" + ")" * 5000,
    "#" + "(" * 59 + "1" + ")" * 59,
    "#" + "-" * 119 + "1",
    "#1" + "/0" * 50,
    "#1" + "/(1-1)",
    "#" + "*".join(["999999999"] * 12),
    "#__import__('os').getcwd()",
    "#(lambda: 1)()",
    "#1if 1else 2",
    "#\x00",
    "#\ud800",
    "#٣+٤",
    "=" * 30_000,
    "1=1," * 8_000 + "#1",
    "<think>" * 3000,
    "#1\n\r\x0b\x1c#",
    "#1+1=" + "1" * 3000,
]


def task_of(name: str, parameters: dict, dialect: Dialect = EARLY) -> GeneratedTask:
    task = get(name, dialect=dialect, **parameters)
    assert isinstance(task, GeneratedTask)
    return task


@functools.cache
def one_of_each() -> list[tuple[GeneratedTask, Problem]]:
    """A task and a problem of every setting. Their pools take seconds: not while tests are collected."""
    return [(task := task_of(*case), task.problems("train", 1)[0]) for case in SETTINGS]


def check_verdict(task: GeneratedTask, problem: Problem, text: str) -> None:
    verdict = task.verify(problem, text)
    assert isinstance(verdict, Verdict)
    assert verdict.has_trace == (verdict.trace_valid is not None)
    assert verdict.correct or not verdict.trace_valid
    assert (verdict.answer is not None) or not verdict.correct
    if verdict.answer is not None:  # canonical forms are fixed points, else majority votes would split
        assert task.family.normalize_answer(verdict.answer) == verdict.answer


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_verifying_survives_bombs(bomb: str) -> None:
    for task, problem in one_of_each():
        check_verdict(task, problem, bomb)
        check_verdict(task, problem, task.worked(problem) + bomb)
        task.family.is_correct(problem.content, bomb)
        task.family.is_valid_trace(problem.content, [], bomb)


@settings(max_examples=300, deadline=None)
@given(
    text=st.text() | st.text(alphabet="0123456789+-*/()=,#abc<>\n ", max_size=300),
    place=st.integers(0, len(SETTINGS) - 1),
)
@example(text="#1*2/3", place=5)
def test_verifying_is_total(text: str, place: int) -> None:
    task, problem = one_of_each()[place]
    check_verdict(task, problem, text)
    check_verdict(task, problem, "#" + text)


@pytest.mark.parametrize("dialect", [EARLY, LATE, WORDY], ids=["early", "late", "wordy"])
@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_worked_and_direct_solutions_verify(name: str, parameters: dict, dialect: Dialect) -> None:
    task = task_of(name, parameters, dialect)
    for problem in task.problems("test", 25):
        worked = task.worked(problem)
        assert task.verify(problem, worked) == Verdict(problem.answer, True, True, True), worked
        assert task.verify(problem, task.direct(problem)) == Verdict(problem.answer, True, False, None)
        assert problem.opening is not None
        assert worked.startswith(problem.opening)
        assert problem.cue_prompt == dialect.cue + problem.prompt


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_planted_errors_are_where_they_are_said_to_be(name: str, parameters: dict) -> None:
    task = task_of(name, parameters)
    kinds = set()
    for problem in task.problems("train", 25):
        worked = task.worked(problem).removeprefix("<think>").split(",")
        for seed in range(8):
            noisy = task.noisy(problem, seed)
            assert noisy == task.noisy(problem, seed)
            kinds.add(noisy.error)
            parts = noisy.text.removeprefix("<think>").split(",")
            verdict = task.verify(problem, noisy.text)
            if noisy.error is None:
                assert (parts, verdict.trace_valid, noisy.step) == (worked, True, None)
                assert noisy.critique.endswith("verdict: right")
                continue
            assert not noisy.correct
            assert verdict.trace_valid is False, noisy
            assert noisy.critique.endswith("verdict: wrong")
            first = next(i for i, (a, b) in enumerate(zip(worked, parts, strict=False)) if a != b)
            assert first + 1 == noisy.step, noisy
            if noisy.error == "calculation":
                check_calculation(worked[first], parts[first], noisy.critique)
            elif noisy.error == "skip":
                assert parts == worked[:first] + worked[first + 1 :]
                assert worked[first] in noisy.critique
            else:
                assert (noisy.error, parts[:-1]) == ("answer", worked[:-1])
                assert not verdict.correct
    assert kinds == {None, "calculation", "skip", "answer"}


def check_calculation(right: str, wrong: str, critique: str) -> None:
    """The same left side, another value, and a critique that names both."""
    expression, _, value = right.rpartition("=")
    assert wrong.startswith(expression + "=")
    assert critique.startswith(f"step {critique.split()[1]} {expression} is {value}, not {wrong.rpartition('=')[2]}.")


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_a_foreign_trace_is_not_valid(name: str, parameters: dict) -> None:
    """The steps of one problem before the right answer of another."""
    task = task_of(name, parameters)
    problems = task.problems("train", 12)
    for one, other in pairwise(problems):
        steps = task.worked(one).partition("#")[0]
        if one.prompt != other.prompt and steps != task.worked(other).partition("#")[0]:
            verdict = task.verify(other, f"{steps}#{other.answer}")
            assert (verdict.correct, verdict.has_trace, verdict.trace_valid) == (True, True, False)


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_problems_depend_on_split_and_seed_alone(name: str, parameters: dict) -> None:
    for split in SPLITS:
        first = task_of(name, parameters).problems(split, 20, seed=1)
        assert first == task_of(name, parameters).problems(split, 20, seed=1)
        assert first != task_of(name, parameters).problems(split, 20, seed=2)
        assert first[:7] == task_of(name, parameters).problems(split, 7, seed=1)
        assert len({problem.id for problem in first}) == 20
        assert [p.prompt for p in first] == task_of(name, parameters).prompts(split, 20, seed=1)
        assert all(split_of(problem.id) == split for problem in first)


SYMMETRIC = {
    "addition": lambda content: content[::-1],
    "assign": lambda content: (tuple("jihgfedcba"[: len(content[0])]), content[1], content[2], content[3][::-1]),
    "countdown": lambda content: (content[0][::-1], content[1]),
    "transforms": lambda content: (content[0], tuple(sorted(content[1], key=lambda one: one[0] == "rot"))),
    "general_points": lambda content: (content[0][::-1], {"ten": "rank", "rank": "ten"}[content[1]]),
}


@pytest.mark.parametrize("name", list(FAMILIES))
def test_splits_share_no_content_under_any_parameters(name: str) -> None:
    """Test problems of one setting never turn up in training problems of another, symmetric forms included."""
    tasks = [task_of(other, parameters) for other, parameters in SETTINGS if other == name]
    of_split = {split: {p.id for task in tasks for p in task.problems(split, 60)} for split in SPLITS}
    for one, other in [("train", "select"), ("train", "test"), ("select", "test")]:
        assert not of_split[one] & of_split[other]
    if name in SYMMETRIC:
        for task in tasks:
            for problem in task.problems("test", 30):
                twin = SYMMETRIC[name](problem.content)
                assert content_id(name, task.family.canonical_key(twin)) == problem.id


def test_a_hand_has_one_split_under_both_rules() -> None:
    ids = {
        faces: {p.id for s in SPLITS for p in get("general_points", faces=faces).problems(s, 60)}
        for faces in ("ten", "rank")
    }
    assert len(ids["ten"] & ids["rank"]) > 10


def test_pools_that_run_out_say_so() -> None:
    with pytest.raises(ElicitError) as error:
        get("mod_chain", steps=1).problems("test", 50)
    found = len(get("mod_chain", steps=1).problems("test"))
    assert str(error.value) == (
        f"task 'mod_chain', split 'test': 50 different problems were asked for, but only {found} could be found with "
        f"these parameters. Ask for at most {found}, or widen the parameters."
    )
    assert 0 < found < 50


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get("adition"), "unknown task 'adition'. Did you mean 'addition'?"),
        (lambda: get("mod_chain", step=3), "unknown parameter of task 'mod_chain' 'step'. Did you mean 'steps'?"),
        (lambda: get("mod_chain", steps=[5, 2]), "steps is [5, 2]; the first must not exceed the second."),
        (lambda: get("mod_chain", steps=(1, 2, 3)), "steps is (1, 2, 3); expected a number or a pair"),
        (lambda: get("assign", steps=True), "steps is True; expected a whole number from 1 to 9."),
        (lambda: get("permutation", letters="4"), "letters is '4'; expected a whole number from 3 to 8."),
        (lambda: get("addition", carries="yes"), "carries is 'yes'; expected true, false or null."),
        (lambda: get("countdown", numbers=9), "numbers is 9; expected a whole number from 3 to 5."),
        (lambda: get("general_points", faces="tens"), "Did you mean 'ten'? Known: rank, ten."),
        (lambda: get("general_points", faces=["ten"]), "unknown rule 'faces' of task 'general_points' ['ten']."),
        (lambda: get("general_points", require_face=1), "require_face is 1; expected true or false."),
        (lambda: get("addition", max_new_tokens=0), "max_new_tokens is 0; expected a whole number of at least 1."),
        (lambda: get("addition").problems("tests"), "unknown split 'tests'. Did you mean 'test'?"),
        (lambda: get("addition").problems("test", -1), "task 'addition': -1 problems were asked for"),
        (lambda: get("addition").problems("test", 2.5), "2.5 problems were asked for"),
        (lambda: Dialect(question="Q:"), "question is 'Q:'; expected a template with one {question} in it."),
        (lambda: Dialect(separator=""), "separator is ''; expected text without an equals sign"),
        (
            lambda: get("countdown", bounds=1, target=[900, 1000]).problems("test", 1),
            "no target from 900 to 1000 was found for 3 to 4 numbers from 1 to 1.",
        ),
        (lambda: get("countdown").make_problem(((1, 1, 1), 50)), "the numbers 1, 1, 1 cannot make 50."),
    ],
)
def test_bad_input_is_explained_on_one_line(call, message: str) -> None:
    with pytest.raises(ElicitError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_every_family_is_listed_and_tried_here() -> None:
    assert names() == [*FAMILIES, "refusal", "jsonl", "dataset", "gsm8k", "math", "reasoning_gym:NAME"]
    assert {name for name, _ in SETTINGS} == set(FAMILIES)
