"""reasoning-gym's generators as tasks: its answers and scores, right or wrong, and no text of a model run as code."""

from __future__ import annotations

import pickle
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.errors import ElicitError
from elicit.tasks import Problem, get
from elicit.tasks.answers.tagged import TaggedReader
from elicit.tasks.core import SPLITS
from elicit.tasks.gym import scores
from elicit.tasks.gym.task import GymTask, iter_entry_ids

#: Numbers, words, several lines, leading zeros, a list, an expression.
GENERATORS = ["chain_sum", "gcd", "spell_backward", "number_sorting", "rotate_matrix", "coin_flip", "syllogism"]


def of(generator: str, **parameters: Any) -> GymTask:
    task = get(f"reasoning_gym:{generator}", **parameters)
    assert isinstance(task, GymTask)
    return task


def first_problem(task: GymTask) -> Problem:
    """The first entry as a problem, without the pool: countdown's thousand entries take sympy half a minute."""
    return task._make_problem(next(iter_entry_ids(task.generator, seed=0)))


def message(name: str, **parameters: Any) -> str:
    with pytest.raises(ElicitError) as error:
        get(name, **parameters)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("generator", GENERATORS)
def test_answers_and_scores_are_the_generators_own(generator: str) -> None:
    """Over several texts a verdict is right exactly where the generator's own score is at least 1."""
    import reasoning_gym

    task = of(generator)
    problems = task.problems("test", 3)
    for problem, other in zip(problems, [*problems[1:], problems[0]], strict=True):
        entry = task._load_entry(problem.content)
        fresh = reasoning_gym.create_dataset(generator, seed=problem.content.seed, size=500)
        assert fresh[problem.content.position] == entry
        assert (problem.prompt, problem.answer) == (entry["question"].strip(), entry["answer"].strip())
        assert task.verify(problem, task.direct(problem)).correct
        for text in (problem.answer, other.answer, "7", problem.answer + "x", ""):
            own = fresh.score_answer(text, entry)
            verdict = task.verify(problem, f"I think so.\nThen:\n<answer>{text}</answer> That is it.")
            if not TaggedReader(problem.answer).numeric:  # around a number, words are left out
                assert verdict.correct == (own >= 1.0), (text, own)
            elif own >= 1.0:
                assert verdict.correct
            assert verdict.has_trace
        assert not task.verify(problem, "").correct


def test_partial_credit_is_none() -> None:
    """Its scorers give something for nothing."""
    import reasoning_gym

    data = reasoning_gym.create_dataset("countdown", seed=1, size=3)
    assert data.score_answer(None, data[0]) == 0.01
    assert data.score_answer("1+1", data[0]) == 0.05
    task = of("countdown")
    problem = first_problem(task)
    assert not task.verify(problem, "<answer>1+1</answer>").correct
    assert task.verify(problem, f"<answer>{problem.answer}</answer>").correct


def test_the_given_numbers_must_be_used() -> None:
    """puzzle24's own scorer takes any four numbers that make 24; ours does not."""
    import reasoning_gym

    entry = {"answer": "", "metadata": {"numbers": [1, 1, 4, 6]}}
    own = reasoning_gym.create_dataset("puzzle24", seed=1, size=1)
    for answer, right in (("6*4*1*1", 1.0), ("8*3*1*1", 0.0), ("6*4", 0.0), ("4*6+1-1", 1.0)):
        assert scores.score_answer("puzzle24", {}, (1, 1), entry, answer) == right
    assert own.score_answer("8*3*1*1", entry) == 1.0


@pytest.mark.parametrize("generator", ["binary_matrix", "n_queens", "spiral_matrix", "string_insertion", "countdown"])
def test_no_text_is_run_as_code(generator: str, tmp_path: Any) -> None:
    """The scorers of these generators call `eval` (countdown: sympy's) on what a model wrote."""
    task = of(generator)
    problem = first_problem(task)
    target = tmp_path / "made"
    task.verify(problem, f"<answer>__import__('pathlib').Path({str(target)!r}).touch()</answer>")
    assert not target.exists()
    assert task.verify(problem, task.direct(problem)).correct


def test_every_other_scorer_runs_no_code() -> None:
    """A new version of the package may bring new ones: no scorer that is used names `eval` or sympy's parser."""
    import inspect

    from reasoning_gym.factory import DATASETS

    trusted = {"number_sorting"}  # of its own answer only
    special = {*scores.REFUSED, *scores._VERBATIM, "countdown", "puzzle24", *trusted}
    for name, (kind, _) in DATASETS.items():
        source = inspect.getsource(kind.score_answer)
        assert name in special or not any(word in source for word in ("eval(", "parse_expr", "sympify", "exec(")), name


def test_splits_share_no_question() -> None:
    """Not even where there are few questions, and whatever the seeds and parameters."""
    small = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    homes: dict[str, set[str]] = {}
    for parameters in (small, {}):
        for split in SPLITS:
            for seed in (0, 1):
                for problem in of("chain_sum", **parameters).problems(split, 30, seed):
                    homes.setdefault(problem.prompt, set()).add(split)
    assert all(len(splits) == 1 for splits in homes.values())
    assert set.union(*homes.values()) == set(SPLITS)


def test_problems_belong_to_their_seed() -> None:
    task = of("gcd")
    assert task.problems("train", 5) == task.problems("train", 9)[:5] == of("gcd").problems("train", 5)
    assert task.problems("train", 5, seed=1) != task.problems("train", 5)
    assert pickle.loads(pickle.dumps(task)) == task
    said = dict(of("gcd", min_value=2, answers="tags").description)
    assert said == {"task": "reasoning_gym:gcd", "min_value": 2, "answers": "tags"}
    assert get(said.pop("task"), **said) == of("gcd", min_value=2, answers="tags")


def test_parameters_are_the_generators_own() -> None:
    for problem in of("chain_sum", min_terms=5, max_terms=5, min_digits=1, max_digits=1).problems("train", 5):
        assert problem.prompt.count("+") + problem.prompt.count(" - ") == 4
    few = of("chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=1)
    assert 10 < len(few.problems("select")) < 200
    with pytest.raises(ElicitError, match="500 different problems were asked for, but only"):
        few.problems("select", 500)


def test_mistakes_are_one_line() -> None:
    said = message("reasoning_gym:chain_sun")
    assert "unknown generator of reasoning_gym 'chain_sun'. Did you mean 'chain_sum'?" in said
    assert message("reasoning_gym").endswith("Type: reasoning_gym:chain_sum")
    assert "Did you mean 'max_terms'?" in message("reasoning_gym:chain_sum", max_term=3)
    assert message("reasoning_gym:chain_sum", max_terms=1) == (
        "task 'reasoning_gym:chain_sum': max_terms: 1: max_terms must be >= min_terms."
    )
    assert "min_terms: 'x': " in message("reasoning_gym:chain_sum", min_terms="x")
    assert "unknown answers of task 'reasoning_gym:gcd' 'tag'. Did you mean 'tags'?" in message(
        "reasoning_gym:gcd", answers="tag"
    )
    for name in scores.REFUSED:
        assert f"task 'reasoning_gym:{name}' cannot be used here: " in message(f"reasoning_gym:{name}")
    assert "Did you mean 'reasoning_gym:NAME'?" in message("reasoning_gim:chain_sum")


def test_without_the_extra_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    assert message("reasoning_gym:gcd") == (
        "task 'reasoning_gym' needs the package 'reasoning_gym', which is not installed. "
        "Type: pip install 'elicit-reasoning[tasks]'"
    )


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "completion", "answer", "tags"),
    [
        ("12", "<answer>12</answer>", "12", "12"),
        ("12", "<answer>1</answer> no <answer> 12 apples </answer>", "12", "12"),
        ("12", "so <answer>12", "12", "12"),
        ("12", "3 and 9 make 12.", "12", None),
        ("1000", "It is 1,000", "1000", None),
        ("0101", "first\nThe answer is 0101.", "101", None),
        ("tac", "I spell it.\n**tac**", "tac", None),
        ("tac", "The answer is: tac", "tac", None),
        ("tac", "Answer: tac.", "tac", None),
        ("1 2\n3 4", "Turned:\n1 2\n3 4\n", "1 2 3 4", None),
        ("tac", "", None, None),
        ("12", "none", None, None),
    ],
)
def test_reading(gold: str, completion: str, answer: str | None, tags: str | None) -> None:
    for mode, expected in (("any", answer), ("tags", tags)):
        found = TaggedReader(gold, mode).parse_answer(completion)
        assert (None if found is None else found.answer) == expected


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["<answer>", "</answer>", "12", "tac", " ", "\n", "answer is ", ".", "**", "-3"]))
    .map("".join) | st.text(),
    st.sampled_from(["12", "tac", "1 2\n3 4", "0101"]),
    st.sampled_from(["any", "tags"]),
)  # fmt: skip
def test_any_text_is_read(text: str, gold: str, mode: str) -> None:
    reading = TaggedReader(gold, mode)
    found = reading.parse_answer(text)
    assert reading.has_trace(text) in (True, False)
    if found is not None:
        said = text[found.start : found.end]
        assert said == said.strip() != ""


@pytest.mark.parametrize("answer", ["1e999999999", "9" * 3999, "1/" * 1999, "(" * 3000, "\x00", "٣", "nan", "inf/inf"])
def test_hostile_answers_get_a_verdict_in_bounded_time(answer: str) -> None:
    """`Fraction("1e999999999")` would take the machine's memory; coin_flip's scorer calls it."""
    task = of("coin_flip")
    problem = task.problems("train", 1)[0]
    start = time.monotonic()
    assert not task.verify(problem, f"<answer>{answer}</answer>").correct
    score = scores.score_answer("coin_flip", {}, problem.content, task._load_entry(problem.content) or {}, answer)
    assert score < 1
    assert time.monotonic() - start < 60
