# ruff: noqa: E501 - tables
"""Numbers as people write them, against exact fractions; a variable makes no number; time is bounded."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.tasks.answers import grading_process
from elicit.tasks.answers.free_text import TextReader
from elicit.tasks.answers.gsm8k import Gsm8kReader
from elicit.tasks.answers.math import MathReader
from elicit.tasks.answers.numerals import LONGEST, find_numerals, render_number, single_number

VULGAR = {Fraction(1, 2): "½", Fraction(1, 4): "¼", Fraction(3, 4): "¾", Fraction(1, 3): "⅓", Fraction(7, 8): "⅞"}
SIGNS = ["-", "−", "–", "‐", "‑", "－", "﹣"]


@st.composite
def written_numbers(draw: st.DrawFn) -> tuple[str, Fraction]:
    """(a number as somebody may write it, its value)."""
    whole = draw(st.integers(0, 10**9))
    below = draw(st.integers(2, 40))
    part = Fraction(draw(st.integers(1, below - 1)), below)
    over, under = part.numerator, part.denominator
    decimals = draw(st.from_regex(r"[0-9]{1,6}", fullmatch=True))
    power = draw(st.integers(-9, 9))
    vulgar = draw(st.sampled_from(sorted(VULGAR)))
    forms = [
        (str(whole), Fraction(whole)),
        (f"{whole:,}", Fraction(whole)),
        (f"{whole:,}".replace(",", "{,}"), Fraction(whole)),
        (f"{whole:,}".replace(",", r"\,"), Fraction(whole)),
        (f"{whole:,}".replace(",", " "), Fraction(whole)),
        (f"{whole:,}".replace(",", "\u202f"), Fraction(whole)),
        (f"{whole:,}.{decimals}", Fraction(f"{whole}.{decimals}")),
        (f".{decimals}", Fraction(f"0.{decimals}")),
        (f"{over}/{under}", part),
        (f"{over} / {under}", part),
        (f"{over}⁄{under}", part),
        (rf"\frac{{{over}}}{{{under}}}", part),
        (rf"\dfrac {{{over}}} {{{under}}}", part),
        (f"{whole} {over}/{under}", whole + part),
        (rf"{whole}\frac{{{over}}}{{{under}}}", whole + part),
        (rf"{whole} \tfrac{{{over}}}{{{under}}}", whole + part),
        (rf"{whole}\frac12", whole + Fraction(1, 2)),
        (f"{whole}{VULGAR[vulgar]}", whole + vulgar),
        (f"{whole} {VULGAR[vulgar]}", whole + vulgar),
        (VULGAR[vulgar], vulgar),
        (f"{whole}.{decimals}e{power}", Fraction(f"{whole}.{decimals}e{power}")),
        (f"{whole}E+{abs(power)}", Fraction(whole) * 10 ** abs(power)),
        (rf"{whole} \times 10^{{{power}}}", whole * Fraction(10) ** power),
        (f"{whole} x 10^{power}", whole * Fraction(10) ** power),
        (f"{under}^{abs(power)}", Fraction(under) ** abs(power)),
        (f"{under}³", Fraction(under) ** 3),
        (f"{whole}.{decimals} million", Fraction(f"{whole}.{decimals}") * 10**6),
        (f"{over}/{under} billion", part * 10**9),
        (f"{whole}k", Fraction(whole) * 1000),
        (str(whole).translate({ord(d): ord(d) + 0xFEE0 for d in "0123456789"}), Fraction(whole)),
    ]
    text, value = draw(st.sampled_from(forms))
    sign = draw(st.sampled_from(["", *SIGNS]))
    money = draw(st.sampled_from(["", "", "$", r"\$", "€"])) if text[0].isdigit() and "k" not in text else ""
    text = draw(st.sampled_from([f"{sign}{money}{text}", f"{money}{sign}{text}"]))
    return text, -value if sign else value


@settings(max_examples=200, deadline=None)
@given(written_numbers())
def test_numbers_are_read_in_full_in_every_place(pair: tuple[str, Fraction]) -> None:
    """Alone, after ####, in a box, in a sentence; as the file's answer and as a completion's; never a part of one."""
    text, value = pair
    assert single_number(text) == value
    assert [numeral.value for numeral in find_numerals(f"so it is {text}.")] == [value]
    gold = render_number(value)
    assert Fraction(gold) == value
    for said in (f"#### {text}", f"The answer is {text}.", rf"It is \boxed{{{text}}}", f"Two of 7, so {text}"):
        for reading in (Gsm8kReader(gold), Gsm8kReader(text), TextReader(gold, None), TextReader(text, None)):
            found = reading.parse_answer(said)
            assert found is not None, said
            assert reading.is_correct(said, found), (said, found)
        wrong = Gsm8kReader(render_number(value + 1))
        assert not wrong.is_correct(said, wrong.parse_answer(said) or found)
    if "k" not in text:  # in mathematics k is a variable
        boxed = MathReader(gold, grader="text")
        said = rf"\boxed{{{text}}}"
        assert boxed.is_correct(said, boxed.parse_answer(said) or found)


COMPOUND = ["5 or 7", "3 and 4", "5-7", "5–7", "3:4", "9:30", "5/6/2020", "48 + 24", "2 * 3", "3, 4", "1 2", "20 to 30", "9^9^9",
            "2 1/2 or 3", "5 feet 3 inches", "2 hours and 30 minutes", "7 2/1", "1/0"]  # fmt: skip


@pytest.mark.parametrize("text", COMPOUND)
def test_no_part_of_several_numbers_is_read(text: str) -> None:
    for part in find_numerals(" ".join(text.replace("-", " ").split())):
        for gold in {render_number(part.value)} if part.value is not None else {"5", "2", "30"}:
            for said in (f"#### {text}", rf"\boxed{{{text}}}", f"The answer is {text}."):
                reading = Gsm8kReader(gold)
                assert reading.explain_unusable_target() is None
                found = reading.parse_answer(said)
                assert found is None or not reading.is_correct(said, found), (gold, said, found)
    assert single_number(text) is None


@pytest.mark.parametrize(
    "given_answer", ["10 AM", "5 dollars and 50 cents", "3 apples and 4 pears", "none", "2 hours 30 minutes"]
)
def test_answers_that_no_completion_could_give_are_refused(given_answer: str) -> None:
    assert Gsm8kReader(given_answer).explain_unusable_target() is not None


LETTERS = st.sampled_from("abcefijknpqrtuvwxyz")
FORMS = ["{} {}", "{}{}", "{} + {}", r"{}\,{}", "{}{}^2", r"{} \mathit{{{}}}", "{} - {}"]


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 99),
    LETTERS,
    st.sampled_from(["{} {}", "{}{}", "{} + {}", r"{}\,{}", "{}{}^2", r"{} \mathit{{{}}}", "{} - {}"]),
)
def test_a_variable_makes_no_number(number: int, letter: str, form: str) -> None:
    said = rf"\boxed{{{form.format(number, letter)}}}"
    for grader in ("text", "math_verify"):
        reading = MathReader(str(number), grader=grader)
        found = reading.parse_answer(said)
        assert found is not None
        assert not reading.is_correct(said, found), (said, grader)
        itself = MathReader(form.format(number, letter), grader=grader)
        assert itself.is_correct(said, found)


def nasties() -> list[str]:
    return [
        "9^{9^{9^{9}}}", "2^{1000000000}", "(9^{9999})^{9999}", "10^{-1000000000}", "1000000000!", "1000!!!!", "(10^9)!",
        r"\binom{10^9}{10^8}", r"\sum_{k=1}^{10^9} k^{k}", r"\prod_{k=1}^{10^7} k", r"\int_0^1 x^{x^{x}} dx", "(a+b+c+d)^{60}",
        "{" * 200 + "5" + "}" * 200, "(" * 200 + "1" + ")" * 200, r"\sqrt{" * 60 + "2" + "}" * 60, "9" * 480, "7^{123456789}",
        r"\frac{1}{" * 70 + "2" + "}" * 70, "1e999999999", r"\gcd(10^{100000}, 3)", "x^{100}" * 60, "aaaa " * 99 + "!",
    ]  # fmt: skip


def test_every_answer_is_judged_in_bounded_time_and_so_are_all() -> None:
    start = time.process_time()
    began = time.monotonic()
    for nasty in nasties():
        for reading in (MathReader("17"), MathReader(nasty), Gsm8kReader("17"), TextReader("17", None)):
            for said in (rf"\boxed{{{nasty}}}", f"#### {nasty}", f"The answer is {nasty}."):
                found = reading.parse_answer(said)
                if found is not None and reading.target == "17":
                    assert not reading.is_correct(said, found), said
    assert time.process_time() - start < 5
    assert time.monotonic() - began < 120  # the helper's share: few of them are asked at all


def test_a_batch_of_slow_answers_has_a_bound_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once unanswered questions have cost the batch's seconds, each further one gets little."""
    monkeypatch.setattr(grading_process, "_lost", {})
    monkeypatch.setattr(grading_process, "BATCH", 0.5)
    with pytest.warns(UserWarning, match="take too long to judge"):
        assert grading_process.ask_helper("math", ("1", "9^{9^{9^{9}}}"), 0.6) is None
    monkeypatch.setattr(grading_process, "IMPATIENT", 0.05)
    start = time.monotonic()
    for _ in range(3):
        assert grading_process.ask_helper("math", ("1", "9^{9^{9^{9}}}"), 60.0) is None
    assert time.monotonic() - start < 20
    monkeypatch.setattr(grading_process, "_lost", {})
    assert grading_process.ask_helper("math", ("\\frac{7}{2}", "3.5"), 20.0) is True  # the worker was replaced


@pytest.mark.parametrize("piece", ["1 ", "1/", "2 1/2 ", "-", "$", r"\frac", r"\frac{1}{", "1^", "1 and ", "1,", "½", "minus ",
                                   "no ", "wait, it is ", "answer: 1 2 ", "aa", "1 a", "#### ", "(A) "])  # fmt: skip
def test_long_texts_take_linear_time(piece: str) -> None:
    def spent(size: int) -> float:
        text = piece * (size // len(piece))
        start = time.process_time()
        find_numerals(text)
        return time.process_time() - start

    spent(1_000)
    assert spent(100_000) < 60 * max(spent(10_000), 0.005)
    text = piece * (50_000 // len(piece)) + " no"
    start = time.process_time()
    for reading in (Gsm8kReader("1"), MathReader("1", grader="text"), TextReader("1", None)):
        reading.parse_answer(text)
    assert time.process_time() - start < 2


def test_numbers_longer_than_any_answer_have_no_value() -> None:
    for text in ("9" * (LONGEST + 1), "1e301", "10^400", "2^99999", "9" * 10_000):
        assert [numeral.value for numeral in find_numerals(text)] == [None], text
