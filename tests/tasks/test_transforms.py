"""The `transforms` family against Python's own rot13, deques and brute force over words."""

from __future__ import annotations

import codecs
import itertools
import random
import re
import string
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.errors import ElicitError
from elicit.organisms import tokenizer
from elicit.tasks import English, GeneratedTask, get
from elicit.tasks.core import Split
from elicit.tasks.families.transforms import Transform, Transforms, apply_transform, compute_effect, is_unseen
from elicit.tasks.sequential import draw_sequentially

WORDS = st.text(string.ascii_lowercase, min_size=2, max_size=8)
TRANSFORM = st.one_of(
    st.tuples(st.just("rot"), st.integers(1, 25)),
    st.tuples(st.sampled_from(["left", "right"]), st.integers(1, 9)),
    st.just(("reverse", 0)),
)


def by_hand(word: str, transform: Transform) -> str:
    name, by = transform
    if name == "rot":
        return word.translate(str.maketrans(string.ascii_lowercase, (string.ascii_lowercase * 2)[by : by + 26]))
    letters = deque(word)
    if name == "reverse":
        letters.reverse()
    else:
        letters.rotate(-by if name == "left" else by)
    return "".join(letters)


def done(word: str, composition: Any) -> str:
    for one in composition:
        word = by_hand(word, one)
    return word


def family(**parameters: Any) -> Transforms:
    return Transforms(**parameters)


@given(WORDS, TRANSFORM)
def test_transforms_are_those_of_the_library(word: str, transform: Transform) -> None:
    assert apply_transform(word, transform) == by_hand(word, transform)
    assert apply_transform(word, ("rot", 13)) == codecs.encode(word, "rot13")


@given(WORDS, st.lists(TRANSFORM, min_size=1, max_size=6))
@settings(deadline=None)
def test_the_verifier_takes_the_exact_words_and_no_others(word: str, composition: list[Transform]) -> None:
    task = GeneratedTask(Transforms(length=(2, 8), places=(1, 1)))
    problem = task.make_problem((word, tuple(composition)))
    worked = task.worked(problem)
    words = [done(word, composition[: i + 1]) for i in range(len(composition))]
    assert re.findall(r"=([a-z]+)", worked) == words
    assert worked.endswith(f"#{words[-1]}")
    assert task.verify(problem, worked).trace_valid
    for step, right in enumerate(words):  # any other letter, in any place of any word
        for at in range(len(right)):
            wrong = right[:at] + by_hand(right[at], ("rot", 1 + (at + step) % 25)) + right[at + 1 :]
            parts = worked.split(",")
            parts[step] = parts[step].replace(f"={right}", f"={wrong}")
            assert task.verify(problem, ",".join(parts)).trace_valid is False
            assert not task.verify(
                problem, task.direct(problem).replace(words[-1], done(wrong, composition[step + 1 :]))
            ).correct


@given(WORDS, st.lists(TRANSFORM, max_size=6))
def test_an_effect_says_what_becomes_of_every_word(word: str, composition: list[Transform]) -> None:
    on, sign, start = compute_effect(composition)
    places = "".join(word[(sign * i + start) % len(word)] for i in range(len(word)))
    assert done(word, composition) == (by_hand(places, ("rot", on)) if on else places)


@given(st.lists(TRANSFORM, max_size=5), st.lists(TRANSFORM, max_size=5))
def test_what_does_the_same_is_on_the_same_side(one: list[Transform], other: list[Transform]) -> None:
    """A word longer than all turns together, of letters in no order, tells any two effects apart."""
    long = "".join(random.Random(0).choices(string.ascii_lowercase, k=131))
    if done(long, one) == done(long, other):
        assert is_unseen(one) == is_unseen(other)
    rotations = [step for step in one if step[0] == "rot"]
    rest = [step for step in one if step[0] != "rot"]
    assert is_unseen([*rotations, *rest]) == is_unseen(one) == is_unseen([*rest, *rotations])


def test_single_transforms_are_never_held_out() -> None:
    singles = [("rot", k) for k in range(1, 26)] + [(n, k) for n in ("left", "right") for k in range(1, 24)]
    assert not any(is_unseen([one]) for one in [*singles, ("reverse", 0)])
    assert not is_unseen([("rot", 6), ("rot", 7)])
    assert not is_unseen([("left", 2), ("right", 2)])


@pytest.mark.parametrize(
    "parameters", [{}, {"rotations": (1, 25), "count": (2, 5), "length": (5, 9), "places": (1, 4)}]
)
def test_held_out_compositions_do_not_leak(parameters: dict[str, Any]) -> None:
    """No held-out problem, at any length, has the composition of a seen one; a fair share is held out."""

    def compositions(side: str, split: Split, n: int, **changed: Any) -> set[Any]:
        task = get("transforms", compositions=side, **{**parameters, **changed})
        return {p.content[1] for p in draw_sequentially(task).problems(split, n)}  # without a pool of 10,000

    drawn = {side: compositions(side, "train", 400) for side in ("all", "seen", "unseen")}
    assert not drawn["seen"] & drawn["unseen"]
    assert all(is_unseen(one) for one in drawn["unseen"])
    assert not any(is_unseen(one) for one in drawn["seen"])
    assert all(map(is_unseen, compositions("unseen", "test", 50, length=(10, 12), count=(3, 4))))
    share = sum(map(is_unseen, drawn["all"])) / len(drawn["all"])
    assert 0.05 < share < 0.35
    assert {name for one in drawn["unseen"] for name, _ in one} == {"rot", "left", "right", "reverse"}


def test_answers_to_one_word_stay_in_one_split() -> None:
    """Two compositions that do the same to a word would show a test answer in training."""
    task = get("transforms", letters="ab", rotations=(13, 13), length=3)
    found: dict[tuple[str, str], set[str]] = {}
    for split in ("train", "select", "test"):
        for p in task.problems(split):
            found.setdefault((p.content[0], str(compute_effect(p.content[1])[0]) + p.answer), set()).add(split)
    plain = {word: {p for p in found if p[0] == word} for word in ("aab", "abb")}
    assert all(plain.values())
    keys: dict[str, tuple[int, int, int]] = {}
    for composition in itertools.product([("rot", 13), ("left", 1), ("right", 1), ("reverse", 0)], repeat=3):
        key = task.family.canonical_key(("abc", composition))  # type: ignore[attr-defined]
        keys.setdefault(key, done("abc", composition))  # type: ignore[arg-type]
        assert keys[key] == done("abc", composition)
    assert len(keys) == len(set(keys.values()))


@pytest.mark.parametrize("form", ["plain", "bars", "word_last"])
@pytest.mark.parametrize("kind", ["insert", "change", "delete", "mixed"])
@pytest.mark.parametrize("english", [False, True])
def test_noise_disturbs_the_question_alone(form: Any, kind: Any, english: bool) -> None:
    known = set(tokenizer.build_character_tokenizer().get_vocab())
    asked = (lambda task, c: task.render_english(c)) if english else (lambda task, c: task.render_question(c))
    clean = family(form=form)
    contents = [p.content for p in GeneratedTask(clean).problems("train", 30)]
    for content in contents:
        question, before = asked(clean, content), set()
        for noise in (0.1, 0.3, 0.6):
            noisy = family(form=form, noise=noise, noise_kind=kind)
            text, count = asked(noisy, content), round(noise * len(question))
            assert text == asked(noisy, content)
            assert set(text) <= known
            strays = sum(text.count(sign) for sign in "~^_")
            rest = re.sub(r"[~^_]", "", text)
            assert (strays, len(question) - len(rest)) == {
                "insert": (count, 0),
                "change": (count, count),
                "delete": (0, count),
            }.get(kind, (strays, len(question) - len(rest)))
            if kind == "insert":
                assert rest == question
            if kind == "change":  # more noise disturbs the same characters, and others
                places = {i for i, sign in enumerate(text) if sign in "~^_"}
                assert before < places
                before = places
            for task in (GeneratedTask(noisy), GeneratedTask(noisy, English())):
                problem = task.make_problem(content)
                assert problem.id == GeneratedTask(clean).make_problem(content).id
                assert task.worked(problem) == GeneratedTask(clean, task.dialect).worked(problem)
                assert task.verify(problem, task.worked(problem)).correct


def test_a_question_is_read_back_into_what_is_asked() -> None:
    """A parser that knows nothing of the family does what the notation says."""
    for form in ("plain", "bars", "word_last"):
        for problem in get("transforms", form=form, rotations=(1, 25)).problems("train", 50):
            text = problem.prompt.removeprefix("Q:").removesuffix("\nA:")
            parts = re.split(r"[:|,]", text)
            word, signs = (parts[-1], parts[:-1]) if form == "word_last" else (parts[0], parts[1:])
            names = {"R": "rot", "<": "left", ">": "right", "V": "reverse"}
            assert problem.answer == done(word, [(names[sign[0]], int(sign[1:] or 0)) for sign in signs])


def test_letters_are_where_words_begin() -> None:
    for problem in get("transforms", letters="xyz", length=(3, 5)).problems("test", 40):
        assert set(problem.content[0]) <= set("xyz")
        assert 3 <= len(problem.content[0]) <= 5


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"transforms": ["rot", "lefts"]}, "unknown transform of task 'transforms' 'lefts'. Did you mean 'left'?"),
        ({"transforms": []}, "transforms is []; expected names such as [rot, left]."),
        ({"places": (1, 4)}, "places is [1, 4], and words have 4 letters or more; expected at most 3 places."),
        ({"letters": "aab"}, "letters is 'aab'; expected different letters such as abcdefgh."),
        ({"letters": 26}, "letters is 26; expected different letters"),
        ({"noise": 1.0}, "noise is 1.0; expected a share from 0 to 0.9."),
        ({"noise": True}, "noise is True; expected a share"),
        ({"noise_kind": "swap"}, "unknown noise_kind of task 'transforms' 'swap'."),
        ({"compositions": "new"}, "unknown value of compositions of task 'transforms' 'new'."),
        ({"form": ["bars"]}, "unknown form of task 'transforms' \"['bars']\"."),
        ({"rotations": 26}, "rotations is 26; expected a whole number from 1 to 25."),
    ],
)
def test_bad_parameters(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ElicitError) as error:
        get("transforms", **parameters)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_held_out_is_said() -> None:
    with pytest.raises(ElicitError, match="no unseen composition of 2 to 3 of left, right was found"):
        get("transforms", transforms=["left", "right"], compositions="unseen").problems("test", 1)
