"""`transforms`: a short word of letters under a composition of transforms (after DataAlchemy, 2508.01191).

    Q:abcd:R13,<1,V      R13=nopq,<1=opqn,V=nqpo,#nqpo

`R13` shifts each letter by 13 in a to z, `<1` and `>1` rotate the word by one position, `V` reverses it. Each
distribution shift of the paper is one parameter: the task (`compositions`: some are held out), the length (`length` of
words, `count` of transforms), the format (`noise` in the question, another `form` of it), the elements (`letters`).

Differences from the paper: characters instead of word-like tokens, four transforms instead of ROT-13 and one cyclic
shift, and compositions are held out by their *effect*: letter shifts and word rotations commute, so the same two in
another order would not be new. The effect of a single transform is never held out. The division holds for words of any
length: on a word of 4 letters `<3` and `>1` do the same, and may lie on different sides.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np

from elicit import seeds
from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.tasks.core import content_id, share_of
from elicit.tasks.families.family import (
    AnswerType,
    Solution,
    SolutionStep,
    matches_worked_steps,
    render_first_expression,
)
from elicit.tasks.families.parameters import length_range

Name = Literal["rot", "left", "right", "reverse"]
#: A transform and its amount (0 for reverse).
Transform = tuple[Name, int]
#: The word and its transforms, in order.
Content = tuple[str, tuple[Transform, ...]]
_ALPHABET = string.ascii_lowercase
_SIGNS: dict[Name, str] = {"rot": "R", "left": "<", "right": ">", "reverse": "V"}
_LONGEST_WORD = 24
_WORD = re.compile(rf"[A-Za-z]{{1,{_LONGEST_WORD}}}")
#: Share of the hash space whose compositions are held out. Fixed for good, as the splits are.
_UNSEEN_FROM = 0.75
#: Draws without an allowed composition after which none is assumed to exist.
_PATIENCE = 10_000
#: Characters that noise writes, which do not occur in a clean question in an organism's format.
_NOISE = "~^_"
_FORMS = {"plain": (":", ","), "bars": ("|", "|"), "word_last": (":", ",")}


class Effect(NamedTuple):
    """Effect of a composition on a word `w` of n letters: position i gets `w[(sign * i + start) % n]`, `on` later."""

    on: int = 0
    sign: int = 1
    start: int = 0


@dataclass(frozen=True)
class Transforms:
    """Parameters of the family."""

    length: tuple[int, int] = (4, 4)
    """Fewest and most letters of a word."""
    count: tuple[int, int] = (2, 3)
    """Fewest and most transforms."""
    transforms: tuple[Name, ...] = ("rot", "left", "right", "reverse")
    """Transforms that occur: rot, left, right, reverse."""
    rotations: tuple[int, int] = (13, 13)
    """Smallest and largest shift of a letter in the alphabet, which is always a to z."""
    places: tuple[int, int] = (1, 2)
    """Smallest and largest rotation of a word to the left or right; less than the length of a word."""
    letters: str = _ALPHABET
    """Letters of the starting words."""
    compositions: Literal["all", "seen", "unseen"] = "all"
    """All compositions, or those on one side of a fixed line: a quarter of all effects (by hash) is unseen."""
    form: Literal["plain", "bars", "word_last"] = "plain"
    """Form of the question: `abcd:R13,<1`, `abcd|R13|<1` or `R13,<1:abcd`."""
    noise: float = 0.0
    """Share of the question's characters that are disturbed, 0 to 0.9; the answer stays that of the clean question.
    More noise disturbs the same characters and others."""
    noise_kind: Literal["insert", "change", "delete", "mixed"] = "insert"
    """Kind of noise: a stray character (~^_) in front of each, in place of each, each left out, or any of these. Only
    insertion leaves every question answerable."""

    answer_type: ClassVar[AnswerType] = "word"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("length", 2, _LONGEST_WORD),
            ("count", 1, 20),
            ("rotations", 1, 25),
            ("places", 1, 23),
        ):
            object.__setattr__(self, name, length_range("transforms", name, getattr(self, name), low, high))
        if self.places[1] >= self.length[0]:
            raise ElicitError(
                f"task 'transforms': places is {list(self.places)}, and words have {self.length[0]} letters or more; "
                f"expected at most {self.length[0] - 1} places."
            )
        chosen: Any = self.transforms  # unchecked, from YAML
        names = (chosen,) if isinstance(chosen, str) else tuple(chosen) if isinstance(chosen, list | tuple) else ()
        if not names:
            value_text = one_line(repr(chosen), 60)
            raise ElicitError(f"task 'transforms': transforms is {value_text}; expected names such as [rot, left].")
        for transform_name in names:
            _check_choice("transform", transform_name, get_args(Name))
        object.__setattr__(self, "transforms", tuple(dict.fromkeys(names)))
        text = self.letters
        if not isinstance(text, str) or len(set(text)) < max(2, len(text)) or not set(text) <= set(_ALPHABET):
            value_text = one_line(repr(text), 60)
            raise ElicitError(
                f"task 'transforms': letters is {value_text}; expected different letters such as abcdefgh."
            )
        _check_choice("value of compositions", self.compositions, ("all", "seen", "unseen"))
        _check_choice("form", self.form, tuple(_FORMS))
        _check_choice("noise_kind", self.noise_kind, ("insert", "change", "delete", "mixed"))
        share = self.noise
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 0.9:
            raise ElicitError(
                f"task 'transforms': noise is {one_line(repr(share), 40)}; expected a share from 0 to 0.9."
            )

    @property
    def name(self) -> str:
        return "transforms"

    @property
    def answer_space(self) -> int:
        return sum(len(_ALPHABET) ** n for n in range(self.length[0], self.length[1] + 1))

    def sample_content(self, random: np.random.Generator) -> Content:
        for _ in range(_PATIENCE):
            composition = self._sample_composition(random)
            if self.compositions == "all" or (self.compositions == "unseen") == is_unseen(composition):
                size = int(random.integers(self.length[0], self.length[1] + 1))
                return "".join(self.letters[i] for i in random.integers(len(self.letters), size=size)), composition
        raise ElicitError(
            f"task 'transforms': no {self.compositions} composition of {self.count[0]} to {self.count[1]} of "
            f"{', '.join(self.transforms)} was found. Allow more transforms, or widen count, rotations or places."
        )

    def _sample_composition(self, random: np.random.Generator) -> tuple[Transform, ...]:
        count = int(random.integers(self.count[0], self.count[1] + 1))
        ranges = {"rot": self.rotations, "left": self.places, "right": self.places, "reverse": (0, 0)}
        names = [self.transforms[i] for i in random.integers(len(self.transforms), size=count)]
        return tuple((name, int(random.integers(ranges[name][0], ranges[name][1] + 1))) for name in names)

    def canonical_key(self, content: Content) -> str:
        """The word and its result: other ways to the same result belong to one split."""
        word, composition = content
        on, sign, start = compute_effect(composition)
        return f"{word}:{on},{sign},{start % len(word)}"

    def render_question(self, content: Content) -> str:
        word, composition = content
        colon, comma = _FORMS[self.form]
        signs = comma.join(map(sign_of, composition))
        return self._add_noise(signs + colon + word if self.form == "word_last" else word + colon + signs, content)

    def render_english(self, content: Content) -> str:
        word, composition = content
        instructions = [_describe_transform(transform) for transform in composition]
        text = {
            "plain": f"In the word {word}, {', then '.join(instructions)}.",
            "bars": " | ".join([f"The word is {word}", *instructions]) + " |",
            "word_last": f"First {', then '.join(instructions)}. Do this to the word {word}.",
        }[self.form]
        return self._add_noise(f"{text} What is the word now?", content)

    def _add_noise(self, text: str, content: Content) -> str:
        count = round(self.noise * len(text))
        if count == 0:
            return text
        random = seeds.make_generator("noise", *content)  # content alone: more noise disturbs the same and more
        order = random.permutation(len(text)).tolist()
        strays = [_NOISE[i] for i in random.integers(len(_NOISE), size=len(text))]
        kinds = [("insert", "change", "delete")[i] for i in random.integers(3, size=len(text))]
        parts = list(text)
        for at in order[:count]:
            kind = kinds[at] if self.noise_kind == "mixed" else self.noise_kind
            parts[at] = {"insert": strays[at] + text[at], "change": strays[at], "delete": ""}[kind]
        return "".join(parts)

    def solve(self, content: Content, slips: Mapping[int, str]) -> Solution:
        word, composition = content
        steps = []
        for i, transform in enumerate(composition):
            word = slips.get(i, apply_transform(word, transform))
            steps.append(SolutionStep(sign_of(transform), word))
        return Solution(tuple(steps), word)

    def sample_wrong_value(self, content: Content, step: int, random: np.random.Generator) -> str:
        """Value with one letter replaced by its neighbour in the alphabet, or two adjacent letters swapped."""
        right = self.solve(content, {}).steps[step].value
        at = int(random.integers(len(right) - 1))
        if random.random() < 0.5 and right[at] != right[at + 1]:
            return right[:at] + right[at + 1] + right[at] + right[at + 2 :]
        return right[:at] + apply_transform(right[at], ("rot", int(random.choice([1, 25])))) + right[at + 1 :]

    def guess_answer(self, random: np.random.Generator, content: Content) -> str:
        return "".join(_ALPHABET[i] for i in random.integers(len(_ALPHABET), size=len(content[0])))

    def normalize_answer(self, text: str) -> str | None:
        """Canonical answer; capitals do not matter."""
        return text.lower() if _WORD.fullmatch(text) else None

    def is_correct(self, content: Content, answer: str) -> bool:
        return answer == self.solve(content, {}).answer

    def is_valid_trace(self, content: Content, steps: Sequence[SolutionStep], answer: str) -> bool:
        return matches_worked_steps(self, content, steps)

    def render_opening(self, content: Content) -> str:
        return render_first_expression(self, content)

    def render_rules(self, content: Content) -> tuple[str, ...]:
        words = [content[0], *(step.value for step in self.solve(content, {}).steps)]
        return tuple(
            _render_transform_rule(word, transform) for word, transform in zip(words, content[1], strict=False)
        )


def apply_transform(word: str, transform: Transform) -> str:
    """Word after one transform.

    >>> [apply_transform(*pair) for pair in (("abcz", ("rot", 13)), ("abcd", ("left", 1)), ("abcd", ("right", 1)))]
    ['nopm', 'bcda', 'dabc']
    """
    name, by = transform
    if name == "rot":
        return "".join(_ALPHABET[(_ALPHABET.index(letter) + by) % len(_ALPHABET)] for letter in word)
    if name == "reverse":
        return word[::-1]
    at = by % len(word) if name == "left" else -by % len(word)
    return word[at:] + word[:at]


def compute_effect(composition: Sequence[Transform]) -> Effect:
    """Effect of the composition on words of any length."""
    on, sign, start = Effect()
    for name, by in composition:
        if name == "rot":
            on = (on + by) % len(_ALPHABET)
        elif name == "reverse":
            sign, start = -sign, start - sign
        else:
            start += sign * by if name == "left" else -sign * by
    return Effect(on, sign, start)


def is_unseen(composition: Sequence[Transform]) -> bool:
    """Return True if the composition is held out, by its effect alone and so under any parameters."""
    on, sign, start = compute_effect(composition)
    alone = (on == 0 or (sign, start) == (1, 0)) and (sign == 1 or (on, start) == (0, -1))
    return not alone and share_of(content_id("composition", f"{on},{sign},{start}")) >= _UNSEEN_FROM


def sign_of(transform: Transform) -> str:
    name, by = transform
    return _SIGNS[name] + (str(by) if name != "reverse" else "")


def _describe_transform(transform: Transform) -> str:
    name, by = transform
    if name == "rot":
        places = "place" if by == 1 else "places"
        return f"replace each letter by the one {by} {places} later in the alphabet (a follows z)"
    if name == "reverse":
        return "reverse the order of the letters"
    side, end = ("first", "end") if name == "left" else ("last", "front")
    which = f"{side} letter" if by == 1 else f"{side} {by} letters in their order"
    return f"move the {which} to the {end}"


def _render_transform_rule(word: str, transform: Transform) -> str:
    name, by = transform
    if name == "rot":
        return f"rule each letter goes {by} on: after z comes a: {by} and {word}"
    if name == "reverse":
        return f"rule the last letter comes first: {len(word)} letters: {word}"
    at = by if name == "left" else len(word) - by
    way = f"the first {by} go to the end" if name == "left" else f"the last {by} go to the front"
    return f"rule {way}: {by} of {len(word)} letters: {word[:at]} and {word[at:]}"


def _check_choice(what: str, value: Any, known: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in known:
        raise unknown_name_error(f"{what} of task 'transforms'", one_line(str(value), 40), known)
