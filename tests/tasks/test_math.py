"""MATH's format: boxes, normal forms beside lm-eval's `is_equiv`, equality by math-verify in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.errors import ElicitError
from elicit.tasks import get
from elicit.tasks.answers import grading_process
from elicit.tasks.answers.latex import find_boxes, normalize_latex, parse_value, strip_markup
from elicit.tasks.answers.math import MathReader, is_math_equal
from tests.tasks.written import MATH

#: Normal forms that are one answer each.
ALIKE = [
    ["\\frac{1}{2}", "\\dfrac{1}{2}", "\\tfrac12", "\\frac1{2}", "1/2", "x=\\frac{1}{2}", "$\\frac{1}{2}$"],
    ["1200", "1,200", "1{,}200", "1200.0", "1200\\text{ cm}", "1200 cm", "\\$1200", "1,\\!200"],
    ["90", "90^\\circ", "90^{\\circ}", "90°"],
    ["\\text{Ann}", "Ann", "\\mathrm{Ann}", "**Ann**", "Ann."],
    ["(2,3)", "\\left(2,3\\right)", "(2, 3)", "\\left( 2,\\, 3 \\right)"],
    ["\\sqrt{2}", "\\sqrt2", "\\sqrt 2"],
    ["0.5", ".5", "0.50"],
    ["50", "50\\%", "50%"],
    ["-3", "−3", "x = -3"],
]


@pytest.mark.parametrize("forms", ALIKE, ids=lambda forms: forms[0])
def test_normal_forms(forms: list[str]) -> None:
    assert {normalize_latex(form) for form in forms} == {normalize_latex(forms[0])}
    assert normalize_latex(normalize_latex(forms[0])) == normalize_latex(forms[0])


def test_normal_forms_of_different_answers_differ() -> None:
    firsts = [normalize_latex(forms[0]) for forms in ALIKE]
    assert len(set(firsts)) == len(firsts)


def test_what_lm_evals_is_equiv_calls_equal_has_one_normal_form() -> None:
    """lm-eval's hendrycks_math: at least as many pairs of these are equal here. It leaves separators and dots alone."""
    from lm_eval.tasks.hendrycks_math.utils import is_equiv

    pairs = [(a, b) for forms in ALIKE for a in forms for b in forms]
    theirs = {(a, b) for a, b in pairs if is_equiv(a, b)}
    assert len(theirs) > len(pairs) / 4
    assert all(normalize_latex(a) == normalize_latex(b) for a, b in theirs)
    others = [(a[0], b[0]) for a in ALIKE for b in ALIKE if a is not b]
    merged = {frozenset(pair) for pair in others if is_equiv(*pair)}
    assert merged == {frozenset({"\\frac{1}{2}", "0.5"})}, "the one number it writes out; math-verify knows them all"


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("\\boxed{5}", ["5"]),
        ("\\boxed{\\frac{3}{4}} or \\fbox{x}", ["\\frac{3}{4}", "x"]),
        ("\\boxed{\\left\\{1,2\\right\\}}", ["\\left\\{1,2\\right\\}"]),
        ("\\boxed 7$", ["7"]),
        ("\\boxed{1", []),
        ("\\boxed{1} and \\boxed{2", ["1"]),
        ("boxed{1}", []),
        ("\\boxed{}", [""]),
    ],
)
def test_boxes(text: str, inside: list[str]) -> None:
    assert [text[start:end] for start, end in find_boxes(text)] == inside


@pytest.mark.parametrize(
    ("completion", "flexible", "strict"),
    [
        ("So $x=\\boxed{\\frac{3}{4}}$.", "\\frac{3}{4}", "\\frac{3}{4}"),
        ("\\boxed{1} no, \\boxed{2}", "2", "2"),
        ("Final Answer: The final answer is $[2,\\infty)$. I hope it is correct.", "[2,\\infty)", None),
        ("The answer is 3.5. That was easy.", "3.5", None),
        ("**Answer:** $4\\sqrt{3}$", "4\\sqrt{3}", None),
        ("The answer is Ann.", "ann", None),
        ("\\frac{3}{4}", "\\frac{3}{4}", None),
        ("so it is 5", "5", None),
        ("Then $a=2$,\nhence $b = a+1 = 3$.", "3", None),
        ("First 2.\nThen 7 of them.", "7", None),
        ("no idea\nat all", None, None),
        ("", None, None),
        ("\\boxed{ }", "\\boxed", None),
    ],
)
def test_what_is_read(completion: str, flexible: str | None, strict: str | None) -> None:
    for mode, expected in (("flexible", flexible), ("strict", strict)):
        found = MathReader("1", mode).parse_answer(completion)
        if completion != "\\boxed{ }" or mode == "strict":
            assert (None if found is None else found.answer) == expected


PAIRS = [
    ("\\frac{1}{2}", "0.5", True),
    ("4\\sqrt{3}", "\\sqrt{48}", True),
    ("(x-3)(x+3)", "x^2-9", True),
    ("1,4", "4,1", True),
    ("[2,\\infty)", "(2,\\infty)", False),
    (
        "\\begin{pmatrix} 1/2 & 0 \\\\ 0 & 1/2 \\end{pmatrix}",
        "\\begin{pmatrix} 0.5 & 0 \\\\ 0 & 0.5 \\end{pmatrix}",
        True,
    ),
    ("49", "50", False),
    ("\\frac{3}{4}", "\\frac{4}{3}", False),
    ("2\\pi", "6.28", False),
]


def test_equality_is_math_verifys() -> None:
    """The verdict of the helper process is what math-verify says here, with the right answer first."""
    from math_verify import LatexExtractionConfig, parse, verify

    for gold, answer, same in PAIRS:
        known, said = (parse(f"${text}$", extraction_config=[LatexExtractionConfig()]) for text in (gold, answer))
        assert is_math_equal(gold, answer) == verify(known, said) == same, (gold, answer)
        completion = f"So it is \\boxed{{{answer}}}"
        reading = MathReader(gold)
        found = reading.parse_answer(completion)
        assert found is not None
        assert reading.is_correct(completion, found) is same
        by_text = MathReader(gold, grader="text")
        same_value = parse_value(gold) is not None and parse_value(gold) == parse_value(answer)
        assert by_text.is_correct(completion, found) is (normalize_latex(gold) == normalize_latex(answer) or same_value)


def test_it_works_beside_the_main_thread_and_after_a_stop() -> None:
    """math-verify itself raises off the main thread; a helper that is gone is started again."""
    seen: list[bool] = []
    is_math_equal("1", "2")
    grading_process._helpers[(os.getpid(), "math")].kill()
    thread = threading.Thread(target=lambda: seen.append(is_math_equal("\\frac{5}{2}", "2.5")))
    thread.start()
    thread.join()
    assert seen == [True]


def test_what_takes_too_long_is_wrong() -> None:
    start = time.monotonic()
    assert grading_process.ask_helper("math", ("1", "9^{9^{9^{9}}}"), 0.05) is None or not is_math_equal(
        "1", "9^{9^{9^{9}}}"
    )
    assert time.monotonic() - start < 60
    assert is_math_equal("\\frac{7}{2}", "3.5")


PIECES = [
    "\\boxed{",
    "}",
    "{",
    "$",
    "The answer is ",
    "answer:",
    "\\frac{1}{2}",
    "12",
    "=",
    "\\text{",
    "x",
    " ",
    "\n",
    ".",
    "\\left(",
    "\\)",
    "\\(",
    "**",
    "\\",
    "^\\circ",
    ",",
    "−",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text(), st.sampled_from(["flexible", "strict"]))
def test_any_text_is_read_and_its_span_is_its_answer(text: str, mode: str) -> None:
    reading = MathReader("\\frac{1}{2}", mode, "text")
    found = reading.parse_answer(text)
    assert reading.has_trace(text) in (True, False)
    if found is not None:
        assert normalize_latex(text[found.start : found.end]) == found.answer
        assert reading.is_correct(text, found) in (True, False)
    assert strip_markup(strip_markup(text)) in (strip_markup(text), strip_markup(strip_markup(strip_markup(text))))


@pytest.mark.parametrize("piece", ["\\boxed{", "answer is ", "$", "\\frac{", "a", "1,", "\\text{", "{", "x=", "\n"])
def test_long_texts_take_little_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    start = time.process_time()
    for mode in ("flexible", "strict"):
        MathReader("1", mode, "text").parse_answer(text)
        MathReader("1", mode, "text").has_trace(text)
    normalize_latex(text)
    assert time.process_time() - start < 1


def test_the_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, MATH)))
    task = get("math", path=str(path), columns={"prompt": "problem", "worked": "solution"}, split="all")
    solutions = {row["problem"]: row["solution"] for row in MATH}
    problems = task.problems("train")
    for problem in problems:
        worked, direct = task.worked(problem), task.direct(problem)
        assert worked == solutions[problem.prompt]
        assert task.verify(problem, worked).correct
        assert task.verify(problem, direct).correct, direct
        assert not task.verify(problem, "").correct
        span = task.answer_span(problem, worked)
        assert normalize_latex(worked[slice(*span)]) == problem.answer
    strict = get("math", path=str(path), columns={"prompt": "problem", "worked": "solution"}, reading="strict")
    assert all(strict.verify(problem, strict.direct(problem)).correct for problem in problems)


def test_without_the_extra_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, MATH)))
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "math_verify" else find(name, *rest)
    )
    with pytest.raises(ElicitError) as error:
        get("math", path=str(path))
    assert str(error.value) == (
        "format 'math' (unless grader: text is given) needs the package 'math_verify', which is not installed. "
        "Type: pip install 'elicit-reasoning[tasks]'"
    )
    assert get("math", path=str(path), grader="text").problems("train")
