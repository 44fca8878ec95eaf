"""Multiple-choice options: they are written under the question, and a completion is read for a letter (`letters`).

Which gas do plants take in?
A. oxygen
B. carbon dioxide
C. nitrogen
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from elicit.tasks.jsonl_fields import BadLine, Number

LETTERS = string.ascii_uppercase


class ChoiceOptions(NamedTuple):
    """Options of one problem, as its row has them."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    """Labels in the row. A completion is read for A, B, C, ... whatever the labels are."""
    has_labels: bool = False
    """True if the row gives the labels itself."""

    @property
    def letters(self) -> str:
        return LETTERS[: len(self.texts)]

    def render_question(self, question: str) -> str:
        lines = [f"{letter}. {text}" for letter, text in zip(self.letters, self.texts, strict=True)]
        return "\n".join([question.rstrip(), *lines])


def parse_options(value: Any) -> ChoiceOptions:
    """Options from a list of texts, or from `{"text": [...], "label": [...]}`. Raises BadLine."""
    labels: Sequence[Any] = LETTERS
    has_labels = isinstance(value, Mapping) and "label" in value
    if isinstance(value, Mapping):
        labels, value = value.get("label", LETTERS), value.get("text")
    if not isinstance(value, list | tuple) or not 2 <= len(value) <= len(LETTERS):
        raise BadLine(f"'choices' is not a list of 2 to {len(LETTERS)} options")
    for text in value:
        if text is None or isinstance(text, Mapping | list | tuple):
            kind = "nothing (null)" if text is None else "an object" if isinstance(text, Mapping) else "a list"
            raise BadLine(f"'choices' has {kind} as an option; expected a text")
    if (
        not isinstance(labels, list | tuple | str)
        or len(labels) < len(value)
        or (has_labels and len(labels) > len(value))
    ):
        raise BadLine(f"'choices' does not have one label for each of its {len(value)} options")
    if len(set(map(str, labels[: len(value)]))) < len(value):
        raise BadLine("'choices' has the same label twice")
    texts = tuple(" ".join(str(text).split()) for text in value)
    if not all(texts):
        raise BadLine("'choices' has an empty option")
    return ChoiceOptions(texts, tuple(str(label) for label in labels[: len(texts)]), has_labels)


def parse_option_position(answer: Any, choices: ChoiceOptions) -> int | None:
    """Position that a right answer gives (`2`, or `"2"`); None for a label, an option or a letter."""
    text = str(answer).strip()
    if answer is None or text in choices.labels or not (text.isascii() and text.isdigit()) or len(text) > 3:
        return None
    return int(text) if isinstance(answer, Number) or text not in choices.texts else None


def gold_letter(answer: Any, choices: ChoiceOptions, count_from: int | None = 0) -> str:
    """Letter of a right answer, which the row gives as a letter, its own label, a position, or the option's text.

    Args:
        count_from: number of the first option. None: 0, and an option that is itself a number may not also be a
            position.
    """
    text = str(answer).strip()
    position = parse_option_position(answer, choices)
    if position is not None:
        at = position - (count_from or 0)
        if count_from is None and text in choices.texts and (at != choices.texts.index(text)):
            raise BadLine(f"'answer' is {text}, which is an option and may be the position of another; type count_from")
        if 0 <= at < len(choices.texts):
            return LETTERS[at]
        raise BadLine(f"'answer' is {text}, which is not a position among {len(choices.texts)} options")
    if (
        not choices.has_labels
        and text in choices.labels
        and text in choices.texts
        and choices.texts.index(text) != LETTERS.index(text)
    ):
        raise BadLine(f"'answer' is {text[:40]!r}, which is one option and the letter of another")
    if text in choices.labels:
        return LETTERS[choices.labels.index(text)]
    if len(text) == 1 and text.upper() in choices.letters:
        return text.upper()
    if choices.texts.count(" ".join(text.split())) == 1:
        return LETTERS[choices.texts.index(" ".join(text.split()))]
    raise BadLine(f"'answer' is {text[:40]!r}, which is not one of the {len(choices.texts)} options")
