"""`answer_span` says where the answer stands that `verify` reads: for any text, in every task."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import elicit
from elicit.tasks.answers.free_text import TextReader, normalize_decimal, normalize_text
from elicit.tasks.generated.task import Dialect

FAMILIES = ["addition", "mod_chain", "permutation", "assign", "countdown", "transforms"]
DIALECTS = [Dialect(), Dialect(opening="", mark=""), Dialect(opening="", mark="Answer: ", separator="; ")]
TEXTS = st.lists(st.sampled_from(["<think>", "#", "Answer: ", "1", "23", "7*3", ",", "=", " ", "\n", "x", "b"])).map(
    "".join
)


@functools.cache
def problem(family: str, dialect: int):
    task = elicit.tasks.get(family, dialect=DIALECTS[dialect])
    return task, task.problems("test", 1)[0]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FAMILIES), st.integers(0, 2), TEXTS)
def test_the_span_of_a_generated_task_reads_as_its_answer(family, dialect, text):
    task, one = problem(family, dialect)
    answer, span = task.verify(one, text).answer, task.answer_span(one, text)
    assert (answer is None) == (span is None)
    if span is not None:
        read = text[slice(*span)]
        assert task.family.normalize_answer(read) == answer
        assert read == read.strip() != ""


@pytest.mark.parametrize("dialect", range(3))
@pytest.mark.parametrize("family", FAMILIES)
def test_worked_and_direct_answers_are_found_where_they_are_written(family, dialect):
    task, one = problem(family, dialect)
    for text in (task.worked(one), task.direct(one)):
        span = task.answer_span(one, text + " \n")
        assert span == (len(text) - len(one.answer), len(text))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["12", "blue"]),
    st.sampled_from([None, r"answer is ([^.\n]*)", r"#(\d+)?", r"\\boxed\{([^}]*)\}"]),
    st.lists(
        st.sampled_from(
            ["answer is ", "#", "12", " 1,000", "−3", ".5", "blue", " red ", ".", "\n", "\\boxed{", "}", "é"]
        )
    ).map("".join),
    st.booleans(),
)
def test_the_span_of_a_free_text_reads_as_its_answer(gold, pattern, text, long):
    reader = TextReader(gold, pattern)
    if long:
        text = "a" * 5000 + text
    answer, span = reader.extract_answer(text), reader.find_span(text)
    assert (answer is None) == (span is None)
    if span is not None:
        read = text[slice(*span)]
        assert answer in (normalize_text(read), normalize_decimal(read))
        assert read == read.strip()
