"""Answers and steps in free English, against arithmetic done by Python and sentences that models write."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.tasks import English, GeneratedTask
from elicit.tasks.answers.numerals import plain_signs
from elicit.tasks.catalog import FAMILIES, get
from elicit.tasks.families.sums import Sums
from elicit.tasks.generated.english import add_spaces

SUMS = GeneratedTask(Sums(), English())
PROBLEM = SUMS.make_problem((23, (("+", 58), ("+", 17))))  # 98


@pytest.mark.parametrize("name", FAMILIES)
def test_solutions_are_read_back(name: str) -> None:
    task = get(name, dialect=English())
    for problem in task.problems("test", 40):
        worked, direct = task.verify(problem, task.worked(problem)), task.verify(problem, task.direct(problem))
        assert worked.correct
        assert direct.correct
        assert worked.has_trace
        assert not direct.has_trace
        assert task.verify(problem, task.theorem(problem)).correct
        span = task.answer_span(problem, task.worked(problem))
        assert span is not None
        assert task.worked(problem)[slice(*span)] == problem.answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("98", "98"),
        ("98.", "98"),
        ("The final number is **98**.", "98"),
        ("23 + 58 + 17 = 98", "98"),
        ("The answer is 98. I checked it 2 times.", "98"),
        ("\\[ \\boxed{98} \\] which took 3 steps", "98"),
        ("#### 98\n\nQuestion 2: what is 4 + 4?", "98"),
        ("Final Answer: 1,098", "1098"),
        ("so it is 98.5", None),
        ("I do not know.", None),
        ("minus: -98", "-98"),
        ("58-23", "23"),
        ("**Answer:** $98$", "98"),
    ],
)
def test_where_the_answer_stands(text: str, answer: str | None) -> None:
    assert SUMS.verify(PROBLEM, text).answer == answer
    span = SUMS.answer_span(PROBLEM, text)
    assert (span is None) == (answer is None)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("23 + 58 = 81, and 81 + 17 = 98.", True),
        ("58+17=75\n75 + 23 = 98", True),
        ("\\(23 + 58 = 81\\), so \\(81 + 17 = 98\\)", True),
        ("23 + 58 = 82, and 82 + 17 = 98.", False),
        ("23 + 58 = 81, and 81 + 17 = 99. The answer is 98.", False),
        ("23 + 58 + 17 = 81 + 17 = 98", True),  # a chain: every side is what it ends in
        ("23 + 58 + 17 = 82 + 17 = 98", False),
        ("23 + 58 = 81 + 17 = 98", False),  # as many write, and not what it says
        ("First the tens. Then the ones. The answer is 98.", None),
        ("98", None),
    ],
)
def test_claims_are_checked_as_they_stand(text: str, valid: bool | None) -> None:
    assert SUMS.verify(PROBLEM, text).trace_valid is valid


@pytest.mark.parametrize(
    ("text", "worked"),
    [
        ("98", False),
        ("98.", False),
        ("The answer is 98.", False),
        ("23 + 58 + 17 = 98", False),  # the question said again, and no step
        ("\\(23 + 58 + 17 = 98\\)", False),
        ("```python\n23 + 58 + 17\n```", False),  # nor is it in a block of code
        ("```python\na = 23 + 58\nprint(a + 17)\n```", True),
        ("Sure! It is 98.", False),
        ("98 is the final number. verdict: right", False),
        ("23 + 58 = 81, 81 + 17 = 98", True),
        ("23 + 58 + 17 = 81 + 17 = 98", True),
        ("23 + 58 = 81\n98", True),
        ("First 23 and 58. Then 17.", True),
    ],
)
def test_saying_the_question_again_is_no_working(text: str, worked: bool) -> None:
    assert SUMS.verify(PROBLEM, text).has_trace is worked


def test_a_family_with_rules_of_its_own_is_not_held_to_plain_arithmetic() -> None:
    task = get("mod_chain", dialect=English())
    problem = task.problems("test", 1)[0]
    assert task.verify(problem, task.worked(problem)).trace_valid is None


@given(st.text(alphabet=string.printable + "×÷−\\", max_size=300))
@settings(max_examples=300, deadline=None)
def test_reading_is_total(text: str) -> None:
    verdict = SUMS.verify(PROBLEM, text)
    span = SUMS.answer_span(PROBLEM, text)
    assert (verdict.answer is None) == (span is None)
    if span is not None:
        assert 0 <= span[0] < span[1] <= len(text)
        assert plain_signs(text[slice(*span)]).replace(",", "").replace("−", "-").lstrip("-").lstrip("0") in (
            verdict.answer.lstrip("-"),
            "" if int(verdict.answer) == 0 else verdict.answer.lstrip("-"),
        )


@given(st.lists(st.integers(0, 999), min_size=2, max_size=5))
@settings(max_examples=100, deadline=None)
def test_true_claims_are_valid_whatever_the_numbers(numbers: list[int]) -> None:
    problem = SUMS.make_problem((numbers[0], tuple(("+", n) for n in numbers[1:])))
    lines, total = [], numbers[0]
    for n in numbers[1:]:
        lines.append(f"{total} + {n} = {total + n}")
        total += n
    verdict = SUMS.verify(problem, "\n".join([*lines, f"So it is {sum(numbers)}."]))
    assert (verdict.correct, verdict.trace_valid) == (True, True)
    wrong = SUMS.verify(problem, "\n".join([*lines, f"{total} + 1 = {total}", f"So it is {sum(numbers)}."]))
    assert (wrong.correct, wrong.trace_valid) == (True, False)


def test_spacing() -> None:
    assert add_spaces("23+58*2-1=138") == "23 + 58 * 2 - 1 = 138"
    assert add_spaces("5--3=8") == "5 - -3 = 8"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is –98.", "-98"),
        ("\\boxed{－98}", "-98"),
        ("The answer is ９８.", "98"),
        ("The answer is 98 1/2.", None),
        ("The answer is 98\\frac{1}{2}.", None),
        ("The answer is 98/4.", None),
        ("The answer is 98 million.", None),
        ("The answer is 98:30.", None),
        ("The answer is 20. Wait, that is wrong. The answer is 98.", "98"),
        ("The answer is 20? No, it's 98.", "98"),
        ("#### 98\nActually, 20 is wrong.", "98"),
    ],
)
def test_numbers_are_read_in_full_or_not_at_all(text: str, answer: str | None) -> None:
    verdict = SUMS.verify(SUMS.make_problem((40, (("+", 58),))), text)
    assert (verdict.answer, verdict.correct) == (answer, answer == "98")
