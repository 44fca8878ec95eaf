# ruff: noqa: E501 - tables
"""Answers that a completion takes back, units and times of day, and readings beside lm-eval's and math-verify's."""

from __future__ import annotations

from fractions import Fraction

import pytest

from elicit.tasks.answers.free_text import TextReader
from elicit.tasks.answers.gsm8k import Gsm8kReader
from elicit.tasks.answers.latex import find_boxes, normalize_latex
from elicit.tasks.answers.letters import LetterReader
from elicit.tasks.answers.math import MathReader
from elicit.tasks.answers.tagged import TaggedReader

#: (completion, the answer it comes to)
TAKEN_BACK = [
    ("The answer is 20. Wait, that is wrong. The answer is 18.", "18"),
    ("The answer is 20? No, it's 18.", "18"),
    ("The answer is 20. Oops, I made a mistake. It should be 18 apples.", "18"),
    ("The answer is 20. Sorry, 18.", "18"),
    ("The answer is 20. Actually, the total is $18.", "18"),
    ("The answer is 20 - wait, no: 18.", "18"),
    ("#### 20\nWait, that's wrong.\n#### 18", "18"),
    ("#### 20. Correction: 18", "18"),
    ("\\boxed{20}... no, \\boxed{18}", "18"),
    ("\\boxed{20}. Wait, that is wrong. The answer is 18.", "18"),
    ("\\boxed{20}. No, it's 18.", "18"),
    ("The answer is 18, not 20.", "18"),
    ("The answer is 18. The answer is not 20.", "18"),
    ("The answer is 18. No, 20 is wrong.", "18"),
    ("The answer is 18. There is no other.", "18"),
]
#: What goes on with another question takes nothing back.
GOES_ON = ["#### 18\n\nQuestion: There are no pens.\n#### 20", "The answer is 18.\nProblem: wait for 20\nAnswer: 20"]


@pytest.mark.parametrize(("completion", "answer"), TAKEN_BACK)
def test_the_answer_that_stands_counts(completion: str, answer: str) -> None:
    for gold in ("18", "20"):
        for reading in (Gsm8kReader(gold), MathReader(gold, grader="text")):
            if "####" in completion and isinstance(reading, MathReader):
                continue
            found = reading.parse_answer(completion)
            assert found is not None
            assert reading.is_correct(completion, found) is (gold == answer), (reading, found)
            assert completion[found.start : found.end].strip("$") == answer


@pytest.mark.parametrize("completion", GOES_ON[:1])
def test_another_question_takes_nothing_back(completion: str) -> None:
    found = Gsm8kReader("18").parse_answer(completion)
    assert found is not None
    assert found.answer == "18"


@pytest.mark.parametrize(
    ("completion", "letter"),
    [
        ("The answer is (A). Wait, no: (B)", "B"),
        ("The answer is A. No, it's B.", "B"),
        ("A. Hmm, actually the correct option is B.", "B"),
        ("\\boxed{A}. Wait, that is wrong: the answer is B.", "B"),
        ("The answer is B. Actually A is wrong because it is a metal.", "B"),
        ("The answer is B. No, A cannot be.", "B"),
        ("B. There is no doubt: A is a metal.", "B"),
    ],
)
def test_letters_that_are_taken_back(completion: str, letter: str) -> None:
    found = LetterReader("B", ("iron", "air", "neon")).parse_answer(completion)
    assert found is not None
    assert found.answer == letter


#: (one answer, another, whether they are equal to the grader text, to math_verify)
ANSWERS = [
    ("2 x", "2x", True), ("3+4i", "3 + 4 i", True), ("x^2y", "x^2 y", True), ("5", "5 i", False), ("5", "5\\mathrm{i}", False),
    ("10 AM", "10:00 a.m.", True), ("10 AM", "10\\text{ PM}", False), ("10 AM", "10", False), ("10:00", "12:00", False),
    ("9:30\\text{ p.m.}", "9:30 AM", False), ("9:30", "9:30", True), ("12", "1 2", False), ("2", "1 2", False), ("3", "1 2", False),
    ("1000", "1 000", True), ("1000", "1\\,000", True), ("1000", "1{,}000", True), ("1000", "1,\\!000", True), ("7", " 7\\ ", True),
    ("5/2", "2 1/2", True), ("2.5", "2\\frac12", True), ("1", "2 1/2", False), ("-2.5", "-2 1/2", True), ("3/2", "2 1/2", False),
    ("1500000", "1.5\\text{ million}", True), ("1.5", "1.5 million", False), ("150000", "1.5 \\times 10^5", True), ("0.5", "\\frac12", True),
    ("10", "10 km", True), ("10", "10km", True), ("10 km", "10 miles", False), ("10 km", "10\\text{ kilometers}", True),
    ("3", "3 apples", True), ("7", "7 bananas", True), ("15", "15\\text{ square units}", True), ("10", "10\\text{ cm}^2", True),
    ("10 cm^2", "10 cm", False), ("5", "5\\text{ m}", True), ("5", "5 m", False), ("5", "5 t", False), ("90", "90^\\circ", True),
    ("5000", "5k", False), ("x+1", "x + 1 units", True), ("2\\sqrt{3}", "2 \\sqrt{3} cm", True), ("-5", "-\\$5", True), ("5", "5 or 7", False),
]  # fmt: skip


@pytest.mark.parametrize("grader", ["text", "math_verify"])
def test_units_go_and_variables_stay(grader: str) -> None:
    wrong = []
    for gold, said, same in ANSWERS:
        for one, other in ((gold, said), (said, gold)):
            reading, completion = MathReader(one, grader=grader), f"So it is \\boxed{{{other}}}."
            found = reading.parse_answer(completion)
            if found is None or reading.is_correct(completion, found) is not same:
                wrong.append((one, other, found))
    assert not wrong


def test_nested_boxes_are_found_in_one_pass() -> None:
    many = "\\boxed{" * 100_000 + "5" + "}" * 100_000
    assert many[slice(*find_boxes(many)[-1])] == "5"
    assert [r"\\boxed{5}"[slice(*span)] for span in find_boxes(r"\\boxed{5}")] == ["5"]
    assert normalize_latex("\\boxed") == "\\boxed"


def test_in_plain_text_and_in_tags() -> None:
    for said in ("It is –3", "It is minus 3.", "**－3**", "a<answer> ‑3 </answer>"):
        for reading in (TextReader("-3", None), TaggedReader("-3")):
            found = reading.parse_answer(said)
            assert found is not None
            assert found.answer == "-3"
    found = TaggedReader("5").parse_answer("<answer>2 1/2</answer>")
    assert found is not None
    assert found.answer == "2.5"


def test_plain_numbers_are_those_of_math_verify() -> None:
    """Where a number is written in one of these plain ways, math-verify's own extraction finds the same value."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    for text in ("12", "-7", "1,250", "3.50", "1/2", r"$\frac{3}{4}$", r"$2\frac{1}{2}$", "0.25"):
        found = Gsm8kReader("1").parse_answer(f"The final answer is {text}")
        assert found is not None
        [value, *_] = parse(text, extraction_config=[LatexExtractionConfig(), ExprExtractionConfig()])
        assert abs(float(value) - float(Fraction(found.answer))) < 1e-9, text
