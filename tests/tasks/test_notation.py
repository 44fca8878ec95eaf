r"""Signs, units, bases, brackets and groups of digits in answers, as a mathematician reads them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from elicit.tasks.answers.free_text import TextReader
from elicit.tasks.answers.gsm8k import Gsm8kReader
from elicit.tasks.answers.letters import LetterReader
from elicit.tasks.answers.math import MathReader
from elicit.tasks.answers.numerals import find_numerals

#: (text, the numbers in it; None: several that make no single one)
NUMBERS: list[tuple[str, list[str | None]]] = [
    ("18 m^2", ["18"]),
    ("18 in^{3} of it", ["18"]),
    ("18 cm2", ["18"]),
    ("18cm3", ["18"]),
    ("18 \\text{ cm}^2", ["18"]),
    ("18 g of CO2", ["18"]),
    ("x_1 = 5", ["5"]),
    ("\\log_2 8", ["8"]),
    ("USD18", ["18"]),
    ("(3)^2", ["3", "2"]),
    ("**10^5**", ["100000"]),
    ("2**5", ["32"]),
    ("It costs **15**", ["15"]),
    ("1'234'567", ["1234567"]),
    ("1_234_567", ["1234567"]),
    ("1.234,50", [None]),
    ("1.234.567", [None]),
    ("on 5.6.2020", [None]),
    ("0.125,0.25", ["1/8", "1/4"]),
    ("(3.5,4.5)", ["7/2", "9/2"]),
    ("It is 3.5.", ["7/2"]),
    ("0.\\overline{3}", ["1/3"]),
    ("0.1\\overline{6}", ["1/6"]),
    ("-2.\\overline{142857}", ["-15/7"]),
]


@pytest.mark.parametrize(("text", "values"), NUMBERS)
def test_numbers_of_a_text(text: str, values: list[str | None]) -> None:
    assert [numeral.value for numeral in find_numerals(text)] == [None if v is None else Fraction(v) for v in values]


#: (right answer, another, whether it is right)
ANSWERS = [
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", True),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix} 2 \\\\ 1 \\end{pmatrix}", False),
    ("12\\pi", "12\\pi\\text{ cm}^2", True),
    ("12\\pi\\text{ square units}", "12 \\pi", True),
    ("12\\pi\\text{ cm}", "12\\pi\\text{ m}", False),
    ("10\\text{ cm}", "10\\text{ cm}^2", False),
    ("18", "18 in^2", True),
    ("\\log_2 8", "3", True),
    ("11_2", "11_3", False),
    ("11_2", "11_{2}", True),
    ("(3,4)", "\\{3,4\\}", False),
    ("\\{3,4\\}", "\\{4,3\\}", True),
    ("\\sqrt{2}", "√2", True),
    ("x^2-1", "x² − 1", True),
    ("[2,\\infty)", "[2, ∞)", True),
    ("\\emptyset", "\\varnothing", True),
    ("\\frac13", "0.\\overline{3}", True),
    ("90^\\circ", "90\\degree", True),
    ("18", "18 €", True),
    ("18", "US$18", True),
    ("18", "\\approx 18", True),
    ("18", "approximately 18", True),
    ("18", "18 + \\pi", False),
]


@pytest.mark.parametrize(("right", "other", "equal"), ANSWERS)
def test_answers_in_boxes(right: str, other: str, equal: bool) -> None:
    completion = f"So it is $\\boxed{{{other}}}$."
    found = MathReader(right).parse_answer(completion)
    assert found is not None
    assert MathReader(right).is_correct(completion, found) is equal


def test_a_dollar_sign_within_a_formula() -> None:
    for completion in ("The answer is $\\$18$.", "The cost is \\$5, and the answer is $\\$18.00$", "He pays $\\$18$."):
        found = MathReader("18").parse_answer(completion)
        assert found is not None, completion
        assert MathReader("18").is_correct(completion, found)


@pytest.mark.parametrize("said", ["3\\pi", "3π", "3\\sqrt{2}", "3 \\log 2"])
def test_a_multiple_is_not_its_factor(said: str) -> None:
    for completion in (f"#### {said}", f"The answer is ${said}$."):
        found = Gsm8kReader("3").parse_answer(completion)
        assert found is None or not Gsm8kReader("3").is_correct(completion, found)


@pytest.mark.parametrize(
    "said", ["18 (90%)", "18 out of 20", "**18** (not 20)", "18 apples (9 each)", "$18 out of $20"]
)
def test_what_stands_beside_an_answer_is_not_the_answer(said: str) -> None:
    found = Gsm8kReader("18").parse_answer(f"She has 20. The answer is {said}.")
    assert found is not None
    assert found.answer == "18"


@pytest.mark.parametrize("unit", ["m^2", "cm²", "in^3", "km2", "J/kg"])
def test_the_power_of_a_unit_is_not_the_answer(unit: str) -> None:
    for completion in (f"The answer is 18 {unit}.", f"So it is **18 {unit}**."):
        for reading in (Gsm8kReader("18"), Gsm8kReader("2"), TextReader("18", None), TextReader("2", None)):
            found = reading.parse_answer(completion)
            assert found is not None
            assert reading.is_correct(completion, found) is (reading.target == "18")


@pytest.mark.parametrize("words", ["Scratch that:", "Strike that.", "Edit:", "My bad,", "Ignore that. It's"])
def test_ways_to_take_back(words: str) -> None:
    completion = f"The answer is 20. {words} 18."
    for reading in (Gsm8kReader("18"), MathReader("18", grader="text")):
        found = reading.parse_answer(completion)
        assert found is not None
        assert found.answer == "18"
    letters = LetterReader("B", ("iron", "air", "neon"))
    found = letters.parse_answer(f"The answer is A. {words} B.")
    assert found is not None
    assert found.answer == "B"


#: (completion, the letter it gives; None: no single one)
LETTERS: list[tuple[str, str | None]] = [
    ("b", "B"),
    ("answer: b", "B"),
    ("The answer is (b).", "B"),
    ("\\boxed{\\text{B. air}}", "B"),
    ("\\boxed{air}", "B"),
    ("A is a metal. B is correct", "B"),
    ("The answer is air.", "B"),
    ("So the answer is **gold**, not iron", "D"),
    ("The answer is `B`", "B"),
    ("The answer is “B”", "B"),
    ("<answer>B</answer>", "B"),
    ("（Ｂ）", "B"),
    ("Answer: B\n\nQuestion: Which?\nA. x\nB. y\nAnswer: A", "B"),
    ("The answer is B, not A.", "B"),
    ("The answer is B, and A is wrong.", "B"),
    ("The answer is A or B", None),
    ("The answer is A and B.", None),
    ("A, B", None),
    ("The choices: A, B, C. I pick B.", "B"),
    ("The answer is both A and B. So it is C", "C"),
    ("B or C", None),
    ("The answer is not A", None),
    ("The answer is a metal", None),
    ("A car", None),
    ("D'accord", None),
]


@pytest.mark.parametrize(("completion", "letter"), LETTERS)
def test_letters_of_completions(completion: str, letter: str | None) -> None:
    found = LetterReader("B", ("iron", "air", "neon", "gold")).parse_answer(completion)
    assert (found and found.answer) == letter
