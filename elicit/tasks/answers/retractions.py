"""Retracted answers: `The answer is 20. Wait, that is wrong. It is 18.`

An answer is retracted if it is followed by words of retraction (wait, no, actually, wrong, a mistake, ...) and then by
another answer, before the completion continues with another question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_BACK = re.compile(
    r"\b(?:wait|no|nope|oops|sorry|actually|correction|corrected|hold on|scratch that|strike that|i mean|rather|hmm+|"
    r"wrong|incorrect|mistakes?|mistaken|not (?:quite )?(?:right|correct|true)|on second thought|never ?mind|apologies|"
    r"let me (?:re\w*|check|correct|fix|try|do)|should (?:have )?be(?:en)?|i made an? \w+|instead|my bad|"
    r"(?:edit|update)(?=:)|(?:scratch|strike|forget|ignore|disregard) (?:that|this))\b",
    re.IGNORECASE,
)
_NEXT = re.compile(r"\n\W{0,6}(?:question|problem|exercise|example|user|human|q)\b[^\n]{0,12}:", re.IGNORECASE)
_THING = (
    r"(?:it|that|this|(?:the|my)\s(?:\w{1,12}\s){0,2}?(?:answer|result|total|number|value|sum|option|choice|letter))"
)
_IS = r"(?:\s?['’]s|\s(?:is|are|was|equals|comes\sto|should\s(?:have\s)?be(?:en)?|must\sbe|would\sbe|has\sto\sbe))"
#: Words directly in front of an answer that replaces another.
_HEAD = re.compile(
    rf"\b(?:{_THING}{_IS}|(?:should|must)\s(?:have\s)?be(?:en)?|make\s(?:that|it)|i\smean|correction|no|nope|actually|sorry|rather|wait|"
    r"(?:scratch|strike|forget|ignore|disregard)\s(?:that|this)|my\s(?:bad|mistake)|apologies|(?:edit|update)(?=:)|"
    r"instead|equals)\b[\s,:;.…-]{0,4}(?:(?:it['’]s|it\sis|that['’]s|i\smean|actually|really|in\sfact|to\sbe)[\s,:]{1,2})?",
    re.IGNORECASE,
)
#: Words that must not follow it: `No, 20 is right`, `Actually A was wrong`.
DENIED = re.compile(
    r"[\s)}$*]{0,4}(?:is|are|was|were|isn['’]t|wasn['’]t|does|cannot|can['’]t|has|would)\b", re.IGNORECASE
)


def first_retraction(text: str, start: int, end: int) -> int | None:
    """Start of the first words that retract an answer, including the dash or comma before them; None without any."""
    back = _BACK.search(text, start, end)
    return None if back is None else start + len(text[start : back.start()].rstrip(" ,;:.-–—"))


def next_question(text: str) -> int | None:
    """Start of the next question in a text, None without one."""
    match = _NEXT.search(text)
    return None if match is None else match.start()


def may_take_back(text: str, start: int) -> bool:
    """Return True if words that retract an answer occur anywhere after `start`."""
    return _BACK.search(text, start) is not None


def is_taken_back(text: str, start: int, end: int) -> bool:
    """Return True if words between `start` and `end` retract the answer before them, within the same question."""
    return _BACK.search(text, start, end) is not None and _NEXT.search(text, start, end) is None


def find_replacements(text: str, start: int) -> Iterator[int]:
    """Positions after an answer that ends at `start` where a replacing answer may begin, the last one first."""
    back = _BACK.search(text, start)
    if back is None:
        return
    following = _NEXT.search(text, start)
    end = len(text) if following is None else following.start()
    heads = list(_HEAD.finditer(text, back.start(), end))
    yield from (match.end() for match in reversed(heads))
