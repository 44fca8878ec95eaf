"""Stories are worked by reading them: an independent reader of the English text comes to the same values."""

from __future__ import annotations

import collections
import re

import pytest

from elicit.tasks import English, get
from elicit.tasks.families.stories import SENTENCES, Stories


def _read(text: str) -> list[int]:
    """The values of a story, from its English sentences alone."""
    story, question = text.rsplit(". ", 1)
    first, *later = story.split(". ")
    start = re.fullmatch(r"([A-Z][a-z]+) has (\d+) (\w+)", first)
    assert start is not None
    assert re.fullmatch(rf"How many {start[3]} does {start[1]} have now\?", question)
    values = [int(start[2])]
    for sentence in later:
        number = re.search(r"\d+", sentence)
        if "double" in sentence or "triple" in sentence:
            assert number is None
            values.append(values[-1] * (2 if "double" in sentence else 3))
        else:
            assert number is not None
            assert sentence.split()[0] in ("He", "She")
            gain = any(verb in sentence for verb in ("buys", "finds", "gets"))
            assert gain != any(verb in sentence for verb in ("gives", "loses", "sells"))
            values.append(values[-1] + (int(number[0]) if gain else -int(number[0])))
    return values


@pytest.mark.parametrize("options", [{}, {"steps": [1, 8], "limit": 200}], ids=str)
def test_the_text_says_what_the_solution_works(options: dict[str, object]) -> None:
    family = Stories(**options)  # type: ignore[arg-type]
    asked = get("stories", dialect=English(), **options).problems("test", 200)
    for problem, english in zip(get("stories", **options).problems("test", 200), asked, strict=True):
        text = family.render_english(problem.content)
        assert text in english.prompt
        values = _read(text)
        assert str(values[-1]) == problem.answer, text
        assert all(0 <= value <= family.limit for value in values), text
        solution = family.solve(problem.content, {})
        assert [int(step.value) for step in solution.steps] == values[1:]


def test_every_sentence_occurs_and_no_answer_is_common() -> None:
    problems = get("stories").problems("train", 2000)
    sentences = collections.Counter(sentence for p in problems for sentence, _ in p.content[3])
    assert set(sentences) == set(SENTENCES)
    assert min(sentences.values()) > 200
    answers = collections.Counter(problem.answer for problem in problems)
    assert max(answers.values()) < 0.12 * len(problems)


def test_other_words_for_the_same_numbers_are_in_the_same_split() -> None:
    family = Stories()
    content = ("tom", "apples", 4, (("{who} buys {n} more", 3), ("then they double", 2)))
    other = ("mia", "pens", 4, (("{who} finds {n} more", 3), ("then they double", 2)))
    less = ("tom", "apples", 4, (("{who} buys {n} more", 3), ("then they triple", 3)))
    assert family.canonical_key(content) == family.canonical_key(other) != family.canonical_key(less)
