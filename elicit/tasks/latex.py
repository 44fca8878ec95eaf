"""LaTeX answers: where `\\boxed{...}` stands, and a normal form in which equal answers are mostly equal texts.

The normal form follows Hendrycks et al.'s `is_equiv` (2103.03874) and Minerva's appendix D (2206.14858): spacing,
units, `\\text`, shorthand fractions and roots. It is a text: that 1/2 and 0.5 are equal is for `math_answers` to say.
"""

from __future__ import annotations

import re

from elicit.tasks.extraction import number

_BOX = re.compile(r"\\(?:boxed|fbox)[ \t]*(?:(\{)|([^\s${}\\]+))")
#: Longest answer that is looked at.
LONGEST = 500
_SPACING = re.compile(r"\\[,;:!> ]|\\(?:q?quad|displaystyle|left|right|[bB]igg?[lr]?)(?![A-Za-z])|~")
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}")
_UNIT = re.compile(r"(?<=[0-9})])\s*\\(?:text|textrm|mathrm|mbox)\s*\{[^{}]*\}(?:\s*\^\{?[0-9]\}?)?$")
_WORDS = re.compile(r"(?<=[0-9])\s+[A-Za-z][A-Za-z ]{0,40}\.?$")
_SHORT = re.compile(r"\\([dt]?)frac\s*(?:([0-9])\s*([0-9])|([0-9])\s*(\{[^{}]*\})|(\{[^{}]*\})\s*([0-9]))")
_SLASH = re.compile(r"(-?)([0-9]+)/([0-9]+)")
_ROOT = re.compile(r"\\sqrt\s*([0-9A-Za-z])")
_ASSIGNED = re.compile(r"[A-Za-z](?:\([A-Za-z]\))?\s*=\s*(?!.*=)")
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"))


def boxes(text: str) -> list[tuple[int, int]]:
    """[start, end) of what every `\\boxed{...}` (`\\fbox`, `\\boxed 5`) holds, in order; open ones are left out."""
    found = []
    for match in _BOX.finditer(text):
        if match[2] is not None:
            found.append(match.span(2))
        elif (end := _closing(text, match.end())) is not None:
            found.append((match.end(), end))
    return found


def _closing(text: str, start: int) -> int | None:
    """Where the brace that is open at `start` closes."""
    depth, at = 1, start
    while at < min(len(text), start + LONGEST):
        sign = text[at]
        if sign == "\\":
            at += 1  # an escaped brace neither opens nor closes
        elif sign in "{}":
            depth += 1 if sign == "{" else -1
            if not depth:
                return at
        at += 1
    return None


def bare(text: str) -> str:
    """An answer without the marks of mathematics and emphasis around it."""
    text = text.strip()
    for _ in range(4):
        before = text
        for opening, closing in _DELIMITERS:
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
                text = text[len(opening) : -len(closing)].strip()
        text = text.removesuffix(".").strip() if not text.endswith("..") else text
        if text == before:
            break
    return text


def normal(answer: str) -> str:
    """The normal form of an answer. Total; idempotent on what it returns in all the cases that tests know.

    >>> normal("x = \\\\dfrac12"), normal("1,000\\\\text{ km}"), normal("\\\\text{Evelyn}"), normal("3.50")
    ('\\\\frac{1}{2}', '1000', 'evelyn', '3.5')
    """
    text = bare(answer[:LONGEST])
    text = _ASSIGNED.sub("", text, count=1) if _ASSIGNED.match(text) else text
    text = text.replace("\\$", "").replace("$", "").replace("\\%", "").replace("%", "").replace("{,}", ",")
    text = re.sub(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|°", "", text.replace("−", "-"))
    text = _WORDS.sub("", _UNIT.sub("", _SPACING.sub(" ", text).strip()).strip())
    if whole := _WRAPPED.fullmatch(text):
        text = whole[1].strip().lower()
    text = _WRAPPED.sub(r"\1", text)
    value = number(text.replace(" ", ""))
    if value is not None:
        return value
    text = _SHORT.sub(_full, text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    words = not set(text) & set("\\{}^_=+*/()[]0123456789")
    text = " ".join(text.lower().split()) if words else "".join(text.split())
    return _SLASH.sub(r"\1\\frac{\2}{\3}", text) if _SLASH.fullmatch(text) else text


def _full(match: re.Match[str]) -> str:
    """`\\frac12` and `\\frac1{2}` written out."""
    over = match[2] or match[4] or (match[6] or "")[1:-1]
    under = match[3] or (match[5] or "")[1:-1] or match[7]
    return f"\\frac{{{over}}}{{{under}}}"
