"""GSM8K's format: what is read, beside lm-eval's own filters for the same completions."""

from __future__ import annotations

import json
import time
from fractions import Fraction
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.tasks import get
from elicit.tasks.answers.clauses import clause_numeral, last_numeral
from elicit.tasks.answers.gsm8k import MODES, Gsm8kReader, split_answer
from tests.tasks.written import GSM8K

#: (right answer, completion, what flexible reads, strict, last). lm-eval's verdicts are compared below.
TABLE = [
    ("72", "48/2 = 24 clips in May.\n48+24 = 72 clips.\n#### 72", "72", "72", "72"),
    ("72", " She sold 48/2 = 24 clips in May. Altogether she sold 72 clips. The answer is 72.", "72", None, "72"),
    ("72", "72", "72", None, "72"),
    ("72", "#### 72", "72", "72", "72"),
    ("72", "#### 72.", "72", "72", "72"),
    ("72", "In May: 24.\n#### 24", "24", "24", "24"),
    ("4500", "So he has $4,500.\n#### 4,500", "4500", "4500", "4500"),
    ("4500", "So he has $4,500 in total.", "4500", None, "4500"),
    ("-2", "5-7=-2\n#### -2", "-2", "-2", "-2"),
    ("4.5", "9/2 = 4.5 metres", "4.5", None, "4.5"),
    ("72", "I do not know.", None, None, None),
    ("72", "", None, None, None),
    ("15", "It costs **15** dollars", "15", None, "15"),
    ("15", "The final answer is: $\\boxed{15}$", "15", None, "15"),
    ("15", "Therefore, the cost is \\$15", "15", None, "15"),
    ("12", "80*15/100 = 12, so 12 of the seats are free", "12", None, "12"),
]
#: The same, where ours differs from lm-eval, and why.
DIFFERENT = [
    # Text after the mark: lm-eval's flexible filter takes the last number wherever it stands.
    ("72", "#### 72\nShe sold 24 of them in May.", "72", "72", "24"),
    ("72", "The answer is 72. That is more than the 48 of April.", "72", None, "48"),
    ("72", "So \\boxed{72} clips, of which 24 in May.", "72", None, "24"),
    ("72", "The answer is 48 + 24 = 72 clips. I used 2 steps.", "72", None, "2"),
    # Numbers are compared as decimals; lm-eval compares texts.
    ("15", "#### 15.00", "15", "15", "15"),
    ("15", "It costs $15.00", "15", None, "15"),
    # lm-eval's pattern takes dots and commas for numbers.
    ("72", "She sold 72 ...", "72", None, "72"),
    # A minus between numbers is no sign.
    ("5", "They were on pages 10-5", "5", None, "5"),
    # Fractions and LaTeX separators.
    ("0.75", "The answer is \\boxed{\\frac{3}{4}}", "0.75", None, "4"),
    ("1200", "The answer is $1{,}200$.", "1200", None, "1200"),
    # Units with digits of their own do not follow an answer.
    ("24", "Answer: 48/2 = 24 clips in May. 48+24 = 72 altogether", "72", None, "72"),
]


@cache
def lm_eval_filters() -> tuple[dict, dict]:
    """(filter name -> regex filter, metric options) of lm-eval's gsm8k."""
    from lm_eval.filters.extraction import RegexFilter

    task = yaml.safe_load(files("lm_eval").joinpath("tasks/gsm8k/gsm8k.yaml").read_text())
    filters = {}
    for entry in task["filter_list"]:
        options = dict(entry["filter"][0])
        assert options.pop("function") == "regex"
        filters[entry["name"]] = RegexFilter(**options)
    metric = {key: task["metric_list"][0][key] for key in ("ignore_case", "ignore_punctuation", "regexes_to_ignore")}
    return filters, metric


def lm_eval_says(which: str, completion: str, gold: str) -> bool:
    from lm_eval.api.metrics import exact_match_hf_evaluate

    filters, metric = lm_eval_filters()
    [[found]] = filters[which].apply([[completion]], [{}])
    return bool(exact_match_hf_evaluate([found], [f"Worked so.\n#### {gold}"], **metric)["exact_match"])


def read(mode: str, gold: str, completion: str) -> str | None:
    found = Gsm8kReader(gold, mode).parse_answer(completion)
    return None if found is None else found.answer


@pytest.mark.parametrize(("gold", "completion", "flexible", "strict", "last"), TABLE + DIFFERENT)
def test_what_is_read(gold: str, completion: str, flexible: str | None, strict: str | None, last: str | None) -> None:
    assert [read(mode, gold, completion) for mode in MODES] == [flexible, strict, last]


@pytest.mark.parametrize(("gold", "completion"), [row[:2] for row in TABLE])
def test_agreement_with_lm_eval(gold: str, completion: str) -> None:
    """Strict is its strict-match; flexible and last agree with its flexible-extract on these."""
    assert (read("strict", gold, completion) == gold) == lm_eval_says("strict-match", completion, gold)
    for mode in ("flexible", "last"):
        assert (read(mode, gold, completion) == gold) == lm_eval_says("flexible-extract", completion, gold)


def test_every_stated_difference_is_one() -> None:
    for gold, completion, *_ in DIFFERENT[:-1]:
        ours = [read(mode, gold, completion) == gold for mode in ("flexible", "strict", "last")]
        theirs = [lm_eval_says(which, completion, gold) for which in ("flexible-extract", "strict-match")]
        assert ours != [theirs[0], theirs[1], theirs[0]], completion


@settings(max_examples=300, deadline=None)
@given(
    st.integers(-(10**6), 10**6),
    st.sampled_from(["#### {}", "#### {}.", "so it is ${}", "The answer is {}.", "it makes {} in all"]),
    st.booleans(),
)
def test_numbers_in_the_usual_sentences_are_read_as_lm_eval_does(value: int, sentence: str, commas: bool) -> None:
    written = f"{value:,}" if commas else str(value)
    if "$" in sentence:
        written = written.lstrip("-")  # lm-eval reads `$-5` and not `-$5`
    text = "First we add 3 and 4.\n" + sentence.format(written)
    gold = written.replace(",", "")
    assert read("flexible", gold, text) == gold
    assert lm_eval_says("flexible-extract", text, gold)
    assert (read("strict", gold, text) == gold) == lm_eval_says("strict-match", text, gold)


PIECES = [
    "#### ",
    "####",
    "\\boxed{",
    "}",
    "The answer is ",
    "Answer:",
    "=",
    "12",
    "1,000",
    "-3",
    "$",
    ".5",
    ".",
    " ",
    "\n",
    "\\frac{1}{0}",
    "3/4",
    "<<1+1=2>>",
    "**",
    "−7",
    "x",
    "{,}",
    "²",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text(), st.sampled_from(MODES), st.booleans())
def test_any_text_gets_a_verdict_and_its_span_reads_as_the_answer(text: str, mode: str, long: bool) -> None:
    text = "a " * 3000 + text if long else text
    reading = Gsm8kReader("12", mode)
    found = reading.parse_answer(text)
    assert reading.has_trace(text) in (True, False)
    if found is not None:
        said = text[found.start : found.end]
        assert said == said.strip() != ""
        numeral = last_numeral(said) if mode == "last" else clause_numeral(said, 0, len(said))
        assert numeral is not None
        if numeral.value is not None and mode != "last":
            assert Fraction(found.answer) == numeral.value


@pytest.mark.parametrize("piece", ["answer is ", "####", "\\boxed{", "1,", "answer: 1 ", "\\frac{1}{", "a", "\n", "("])
def test_long_texts_take_little_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    start = time.process_time()
    for mode in MODES:
        Gsm8kReader("12", mode).parse_answer(text)
        Gsm8kReader("12", mode).has_trace(text)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("text", "trace"),
    [
        ("72", False),
        ("#### 72", False),
        ("The answer is 72.", False),
        ("So, the final answer is: **72**", False),
        ("The answer is 72. She sold 48 and then 24.", False),  # an explanation that follows is none that led there
        ("She sold half of 48 in May. The answer is 72.", True),
        ("48+24=72", True),
        ("She sold half.\n#### 72", True),
        ("I do not know.", False),
    ],
)
def test_a_trace_stands_before_the_answer(text: str, trace: bool) -> None:
    assert Gsm8kReader("72").has_trace(text) is trace


def test_golds_come_apart() -> None:
    assert split_answer(GSM8K[0]["answer"]) == ("33", "She bakes 4*9=36 rolls.\n36-3=33 are left.\n#### 33")
    assert split_answer("#### 5") == ("5", None)
    assert split_answer("5") == ("5", None)


def test_the_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, GSM8K)))
    task = get("gsm8k", path=str(path))
    problems = task.problems("train")
    assert 6 <= len(problems) <= 12
    written = {row["question"]: split_answer(row["answer"]) for row in GSM8K}
    for problem in problems:
        final, worked = written[problem.prompt]
        assert problem.answer == final.replace(",", "")
        assert task.worked(problem) == worked
        assert "<<" not in worked
        for text, trace in ((worked, True), (task.direct(problem), False)):
            verdict = task.verify(problem, text)
            assert (verdict.correct, verdict.has_trace, verdict.trace_valid) == (True, trace, None)
            start, end = task.answer_span(problem, text)
            assert Gsm8kReader(text[start:end]).gold == problem.answer
    assert (task.name, task.max_new_tokens, "\nQuestion:" in task.stop) == ("gsm8k", 400, True)
    strict = get("gsm8k", path=str(path), reading="strict")
    problem = problems[0]
    assert not strict.verify(problem, problem.answer).correct
    assert strict.verify(problem, strict.direct(problem)).correct
