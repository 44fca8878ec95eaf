"""Stop strings for text prompts. A base model continues after its answer with a next question of its own, and answers
that one; the parser would then read the wrong answer. A chat turn ends with its end token, so no stop string is guessed
there: it would cut off a model that repeats the question."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from elicit.errors import ElicitError, one_line

#: Texts with which base models begin a next problem, and turn ends that chat models write as plain text.
NEXT_QUESTION = ("\nQ:", "\nQuestion:", "\nProblem:", "\nExercise:", "\nUser:", "\nHuman:")
END_OF_TURN = ("</s>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>")
_LABEL = re.compile(r"[^\n]*[A-Za-z][^\n]*[:.>)]")
_LONGEST = 40


def list_default_stops(template: str, field: str = "{prompt}") -> tuple[str, ...]:
    """Stop strings for a template: the line its question starts with, then common beginnings of a next question.

    >>> list_default_stops("Exercise 1. {prompt}\\nSolution:")[0]
    '\\nExercise 1.'
    >>> list_default_stops("{prompt}")[0]
    '\\nQ:'
    """
    before = template.partition(field)[0].strip()
    label = before.rsplit("\n", 1)[-1].strip()
    label_stop = ("\n" + label,) if len(label) <= _LONGEST and _LABEL.fullmatch(label) else ()
    return tuple(dict.fromkeys((*label_stop, *NEXT_QUESTION, *END_OF_TURN)))


def drop_stops_in(stops: Sequence[str], texts: Iterable[str]) -> tuple[str, ...]:
    """Default stop strings that occur in no worked solution: a guessed stop must not cut a solution."""
    remaining = list(stops)
    for text in texts:
        remaining = [stop for stop in remaining if stop not in text]
    return tuple(remaining)


def parse_stops(task: str, stop: object) -> tuple[str, ...]:
    """A user's stop strings: one text or a list. Raises ElicitError for anything else."""
    stops = (stop,) if isinstance(stop, str) else stop
    if not isinstance(stops, list | tuple) or not all(isinstance(text, str) and text for text in stops):
        value_text = one_line(repr(stop), 60)
        raise ElicitError(f"task {task!r}: stop is {value_text}; expected a list of texts that are not empty.")
    return tuple(stops)
