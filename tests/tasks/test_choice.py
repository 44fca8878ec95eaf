"""Multiple choice: letters in sentences, beside lm-eval's pattern for them; and stops that keep a next question out."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elicit.tasks import get
from elicit.tasks.answers.choice_options import gold_letter, parse_options
from elicit.tasks.answers.letters import LetterReader
from elicit.tasks.datasets import stop_strings
from elicit.tasks.jsonl_fields import BadLine

TEXTS = ("oxygen", "carbon dioxide", "neon", "a noble gas")


def read(completion: str) -> str | None:
    found = LetterReader("B", TEXTS).parse_answer(completion)
    return None if found is None else found.answer


@pytest.mark.parametrize(
    ("completion", "letter"),
    [
        ("B", "B"),
        (" B.", "B"),
        ("b)", "B"),
        ("(C) neon", "C"),
        ("**B**", "B"),
        ("B. carbon dioxide\nPlants take it in.", "B"),
        ("The answer is (D).", "D"),
        ("the answer is B", "B"),
        ("Answer: C", "C"),
        ("A gas that glows is neon. The correct answer is option C: neon.", "C"),
        ("The answer is A. No, wait: the answer is B.", "B"),
        ("Plants need \\boxed{B}", "B"),
        ("Plants need \\boxed{\\text{B}}", "B"),
        ("Of (A) and (B), it must be (B) for plants", "B"),
        ("So we choose B.", "B"),
        ("carbon dioxide", "B"),
        ("Neon.", "C"),
        ("A plant needs air.", None),
        ("The answer is A plant.", None),
        ("The answer is E.", None),
        ("I like Bananas", None),
        ("", None),
    ],
)
def test_letters(completion: str, letter: str | None) -> None:
    assert read(completion) == letter


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["answer is ", "(", ")", "A", "B", "E", ".", " ", "\n", "\\boxed{", "}", "neon", "*"]))
    .map("".join) | st.text(),
    st.booleans(),
)  # fmt: skip
@example("a", False)
@example("Ｂ", False)
def test_any_text_is_read(text: str, long: bool) -> None:
    text = "b " * 3000 + text if long else text
    reading = LetterReader("B", TEXTS)
    found = reading.parse_answer(text)
    assert reading.has_trace(text) in (True, False)
    if found is not None:
        assert found.answer in "ABCD"
        said = text[found.start : found.end].strip()
        letters = unicodedata.normalize("NFKC", said).upper()  # a lone "b" and a wide letter are read as well
        assert found.answer in letters or said.lower().rstrip(".") == TEXTS["ABCD".index(found.answer)]


@pytest.mark.parametrize("piece", ["answer is ", "(A", "\\boxed{", "option ", " ", "\n"])
def test_long_texts_take_little_time(piece: str) -> None:
    start = time.process_time()
    LetterReader("B", TEXTS).has_trace(piece * (200_000 // len(piece)))
    assert time.process_time() - start < 1


def test_lm_evals_pattern_finds_the_same_letters() -> None:
    from lm_eval.filters.extraction import RegexFilter

    theirs = RegexFilter(r"(?i)answer is \(?([A-D])\b")
    said = ["The answer is (D).", "the answer is B", "So the answer is C because", "The answer is A."]
    assert [read(text) for text in said] == [found[0] for found in theirs.apply([[text] for text in said], [{}] * 4)]


# --- stops -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "first"),
    [
        ("Q: {prompt}\nA:", "\nQ:"),
        ("Solve this.\n\nProblem 1. {prompt}\nSolution:", "\nProblem 1."),
        ("### Question: {prompt}\n### Answer:", "\n### Question:"),
        ("{prompt}", "\nQ:"),
        ("Say it in words that nobody knows or has ever heard of before: {prompt}", "\nQ:"),
    ],
)
def test_stops_come_from_the_template(template: str, first: str) -> None:
    found = stop_strings.list_default_stops(template)
    assert found[0] == first
    assert {"\nQuestion:", "</s>", "<|im_end|>"} <= set(found), "lm-eval's own for gsm8k"
    assert len(set(found)) == len(found)


def test_an_invented_next_question_is_cut_off_and_a_solution_never_is(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"prompt": "1+1?", "answer": "2", "worked": "One more.\\nProblem: none. It is 2"}\n'
        '{"prompt": "2+2?", "answer": "4"}\n'
    )
    task = get("jsonl", path=str(path), template="Frage: {prompt}\nAntwort:")
    assert "\nFrage:" in task.stop
    assert "\nProblem:" not in task.stop, "a worked solution of the file holds it"
    assert get("jsonl", path=str(path), stop=["##"]).stop == ("##",)
    invented = " 4\nFrage: 5+5?\nAntwort: 10"
    cut = min(invented.find(stop) for stop in task.stop if stop in invented)
    reading = task.format.make_reader(task.records[0])
    assert reading.extract_answer(invented) == "10"
    assert reading.extract_answer(invented[:cut]) == "4"


@pytest.mark.parametrize(
    "choices",
    [
        ["w", None],
        [{"text": "w"}, {"text": "x"}],
        [["w"], ["x"]],
        {"text": ["w", "x", "y"], "label": ["A", "B"]},
        {"text": ["w", "x"], "label": ["A", "A"]},
    ],
)
def test_options_that_are_no_texts_and_labels_that_do_not_fit(choices: object) -> None:
    with pytest.raises(BadLine):
        parse_options(choices)


def test_a_letter_that_is_another_option_is_no_right_answer() -> None:
    """Blood types: the answer `A` may be the first option or the one called A; labels in the row settle it."""
    with pytest.raises(BadLine):
        gold_letter("A", parse_options(["B", "A", "AB", "0"]))
    labelled = parse_options({"text": ["B", "A", "AB", "0"], "label": ["A", "B", "C", "D"]})
    assert gold_letter("A", labelled) == "A"
    assert gold_letter("B", parse_options(["A", "B"])) == "B"
