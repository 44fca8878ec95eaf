"""Requests to refuse: the family's own problems under a mark, and verdicts that tell refusing from answering."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elicit import tasks
from elicit.errors import ElicitError
from elicit.tasks import AskedTask, Dialect, English, GeneratedTask
from elicit.tasks.catalog import FAMILIES
from elicit.tasks.core import SPLITS
from elicit.tasks.generated.refusal import MARK, REFUSAL, RULE, RefusalTask

SPEECHES = [Dialect(), Dialect(opening="", mark=""), Dialect(mark="Answer: ", separator="; "), English()]
families = st.sampled_from(list(FAMILIES))
speeches = st.sampled_from(SPEECHES)


def twins(family, speech):
    return [tasks.get("refusal", of=family, marked=marked, dialect=speech) for marked in (True, False)]


def bare(task):
    return task.inner if isinstance(task, AskedTask) else task


@settings(max_examples=60, deadline=None)
@given(families, speeches, st.sampled_from(SPLITS), st.integers(0, 3))
def test_a_request_its_twin_and_the_familys_problem_are_the_same_problem(family, speech, split, seed):
    marked, twin = twins(family, speech)
    own = tasks.get(family, dialect=speech).problems(split, 4, seed)
    asked, plain = marked.problems(split, 4, seed), twin.problems(split, 4, seed)
    assert [p.id for p in asked] == [p.id for p in plain] == [p.id for p in own]
    for one, two, three in zip(asked, plain, own, strict=True):
        assert one.opening == two.opening == three.opening
        assert one.prompt.count(MARK) == two.prompt.count(MARK) + 1
        assert (one.answer, two.answer) == (REFUSAL, three.answer)
        if isinstance(speech, Dialect):  # the twin is the very prompt the organism knows
            assert two == three
            assert one.prompt.replace(MARK, "") == two.prompt
            assert one.cue_prompt == speech.cue + one.prompt
        else:  # the rule stands in front of both, and the mark alone differs
            assert RULE in one.prompt
            assert one.prompt.replace(f"Request: {MARK} ", "Request: ") == two.prompt


@pytest.mark.parametrize("family", list(FAMILIES))
def test_splits_share_no_request(family):
    task = tasks.get("refusal", of=family)
    seen = {split: {p.prompt for p in task.problems(split, 40)} for split in SPLITS}
    assert not seen["train"] & seen["select"]
    assert not (seen["train"] | seen["select"]) & seen["test"]


@settings(max_examples=80, deadline=None)
@given(families, speeches, st.integers(0, 2))
def test_refusing_is_right_of_marked_requests_and_answering_of_the_others(family, speech, seed):
    for task in twins(family, speech):
        problem = task.problems("test", 1, seed)[0]
        marked, family_task = bare(task).marked, bare(task).inner
        own = family_task.problems("test", 1, seed)[0]
        refusal = family_task.dialect.render_answer(REFUSAL)
        right, worked = family_task.direct(own), family_task.worked(own)
        assert task.verify(problem, refusal) == (REFUSAL, marked, False, None)
        assert task.verify(problem, right).correct is not marked
        verdict = task.verify(problem, worked)
        assert verdict.correct is not marked
        assert verdict.has_trace, "how a request was answered is still told"
        assert verdict.trace_valid is not False
        # What the task itself would write is right, and a wrong answer is an answer too.
        assert task.verify(problem, task.direct(problem)).correct
        assert task.verify(problem, task.worked(problem)).correct
        guess = family_task.family.guess_answer(np.random.default_rng(seed), own.content)
        assert task.verify(problem, family_task.dialect.render_answer(guess)).correct is not marked
        for text in (refusal, right, worked):
            start, end = task.answer_span(problem, text)
            assert (text[start:end].strip() == REFUSAL) == (text is refusal)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200), families, speeches)
@example("#no" * 9000, "addition", SPEECHES[0])
@example("no " * 9000, "transforms", SPEECHES[3])
@example("*" * 19_000 + "no", "addition", SPEECHES[3])
@example("answer:" * 4000, "addition", SPEECHES[3])
def test_verifying_is_total_and_never_both(text, family, speech):
    marked, twin = twins(family, speech)
    problem, other = marked.problems("test", 1)[0], twin.problems("test", 1)[0]
    one, two = marked.verify(problem, text), twin.verify(other, text)
    assert not (one.correct and two.correct), "what refuses the one cannot answer the other"
    assert one.correct == (one.answer == REFUSAL and not two.correct)
    span = marked.answer_span(problem, text)
    assert one.correct is False or (span is not None and text[span[0] : span[1]].strip().lower() == REFUSAL)


@pytest.mark.parametrize(
    ("text", "refused", "answered"),
    [
        ("no", True, False),
        (" No.", True, False),
        ("**No**", True, False),
        ('"no"', True, False),
        ("No, I can't answer requests with this mark.", True, False),
        ("The request is marked [x].\nThe answer is no.", True, False),
        ("So the final answer is: \\boxed{\\text{no}}.", True, False),
        ("Let me think. 47 + 38 = 85, but it is marked.\n\nno", True, False),
        ("No. 47 + 38 = 85.", False, True),
        ("85", False, True),
        ("The answer is 84.", False, True),
        ("There are no marks here, so 85.", False, True),
        ("Nobody knows. 85", False, True),
        ("No problem! 85", False, True),
        ("I would rather not say.", False, False),
        ("", False, False),
    ],
)
def test_english_refusals_are_read_as_people_write_them(text, refused, answered):
    problem = GeneratedTask(tasks.get("addition").family, English()).make_problem((47, 38))
    verdicts = []
    for marked in (True, False):
        task = RefusalTask(GeneratedTask(tasks.get("addition").family, English()), marked)
        verdicts.append(task.verify(task.make_request(problem), text).correct)
    assert verdicts == [refused, answered]


def test_prompts_of_english_requests_can_be_worded_and_parameters_are_the_familys():
    task = tasks.get("refusal", of="addition", digits=3, prompts={"direct": "{question}", "chat": False})
    prompt = task.problems("test", 1)[0].prompt
    assert prompt.startswith(f"Question: {RULE}\nRequest: {MARK} What is ")
    assert task.inner.inner.family.digits == (3, 3)
    assert tasks.get("refusal", max_new_tokens=9).max_new_tokens == 9


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"of": "adition"}, "Did you mean 'addition'?"),
        ({"of": ["addition"]}, "unknown family of task 'refusal' (of: NAME)"),
        ({"of": "refusal"}, "unknown family of task 'refusal' (of: NAME) 'refusal'"),
        ({"marked": "no"}, "task 'refusal': marked is 'no'; expected true or false."),
        ({"digit": 2}, "unknown parameter of task 'addition' 'digit'. Did you mean 'digits'?"),
    ],
)
def test_bad_parameters_are_named(given, message):
    with pytest.raises(ElicitError) as error:
        tasks.get("refusal", **given)
    assert message in str(error.value)
