r"""LaTeX answers: the spans of `\boxed{...}`, and a normal form in which equal answers are mostly equal texts.

The normal form follows Hendrycks et al.'s `is_equiv` (2103.03874) and Minerva's appendix D (2206.14858): spacing,
units, `\text`, shorthand fractions and roots. It is a text: `math` decides that 1/2 and 0.5 are equal.
"""

from __future__ import annotations

import re
from fractions import Fraction

from elicit.tasks.answers.notation import with_commands
from elicit.tasks.answers.numerals import plain_signs, render_number, single_number
from elicit.tasks.answers.units import time_of_day, without_unit

#: A box, an escaped sign, or a brace.
_BRACES = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])[ \t]*(?:(\{)|([^\s${}\\]+))|\\(?!\\(?:boxed|fbox))[\s\S]|([{}])")
#: Longest answer that is read, in characters.
LONGEST = 500
_SPACING = re.compile(r"(?<!\\)\\[,;:> ]|\\(?:q?quad|displaystyle|left|right|[bB]igg?[lr]?)(?![A-Za-z])|~")
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}")
_SHORT = re.compile(r"\\([dt]?)frac\s*(?:([0-9])\s*([0-9])|([0-9])\s*(\{[^{}]*\})|(\{[^{}]*\})\s*([0-9]))")
#: A thousand as `5k`: in mathematics k is a variable.
_LETTER = re.compile(r"[0-9][ ]?(?:k|mn|bn|[mMbB])$")
#: White space between two numbers stays; all other white space is removed.
_SPACE = re.compile(r"(?<![0-9.])\s+|\s+(?![0-9.])")
#: Written as a fraction: `1/2`, `\\frac`, `½`.
_AS_FRACTION = re.compile(r"/|frac|[¼-¾⅐-⅞]")
_SLASH = re.compile(r"(-?)([0-9]+)/([0-9]+)")
_ROOT = re.compile(r"\\sqrt\s*([0-9A-Za-z])")
_ASSIGNED = re.compile(r"[A-Za-z](?:\([A-Za-z]\))?\s*=\s*(?!.*=)")
_DEGREES = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|°|\\(?:text)?degree(?![A-Za-z])")
_ABOUT = re.compile(r"^(?:[≈~]|\\approx(?![A-Za-z])|(?:about|approximately|exactly)(?=[ ~]))\s*", re.IGNORECASE)
#: Names of currencies around a number: `US$18`, `EUR 18`, `18 €`.
_CURRENCY = re.compile(
    r"^(?:US(?=\\?\$)|(?:USD|EUR|GBP|CHF|INR|Rs\.?)(?=[ ~]*[-.0-9]))[ ~]*|(?<=[0-9])[ ~]*(?:[€£¥₹₩₽]|EUR|GBP|CHF|INR)$"
)
_AROUND = re.compile(r"^(?:\s|~|\\[,;:! ])+|(?:\s|~|\\[,;:! ](?![A-Za-z]))+$")
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"))


def find_boxes(text: str) -> list[tuple[int, int]]:
    r"""[start, end) of the content of every `\boxed{...}` (`\fbox`, `\boxed 5`), by start; unclosed boxes are left out.

    One pass, however deeply they are nested. Boxes longer than `LONGEST` are left out too.
    """
    spans: list[tuple[int, int]] = []
    opened: list[int | None] = []
    for match in _BRACES.finditer(text):
        if match[2] is not None:
            spans.append(match.span(2))
        elif match[1] or match[3] == "{":
            opened.append(match.end() if match[1] else None)
        elif match[3] and opened:
            start = opened.pop()
            if start is not None and match.start() - start <= LONGEST:
                spans.append((start, match.start()))
    return sorted(spans)


def strip_markup(text: str) -> str:
    """An answer without the math delimiters, emphasis marks and spaces around it."""
    for _ in range(4):
        before = text
        text = _AROUND.sub("", text)
        if (len(text) - len(text.rstrip("\\"))) % 2:  # the space of `7\ ` is already stripped
            text = text[:-1].rstrip()
        for opening, closing in _DELIMITERS:
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
                text = text[len(opening) : -len(closing)].strip()
        text = text.removesuffix(".").strip() if not text.endswith("..") else text
        if text == before:
            break
    return text


def normalize_latex(answer: str) -> str:
    r"""Normal form of an answer. Total. Idempotent in all cases that the tests cover.

    >>> [normalize_latex(text) for text in ("x = \\dfrac12", "1,000\\text{ km}", "\\text{Evelyn}", "3.50", "2 x")]
    ['\\frac{1}{2}', '1000', 'evelyn', '3.5', '2x']
    """
    return _normal_text(plain_answer(answer))


def plain_answer(answer: str) -> str:
    """An answer without a name (`x =`), currency, percent sign, degrees, spacing commands or known unit."""
    text = without_unit(_clean_answer(answer)).text
    return text.strip()


def extract_unit(answer: str) -> str | None:
    """The known unit of an answer, by its canonical name."""
    return without_unit(_clean_answer(answer)).unit


def parse_value(answer: str) -> Fraction | None:
    """Exact value of an answer that is a single number, units aside."""
    text = plain_answer(answer)
    return None if _LETTER.search(text) else single_number(text.strip("{} ") if "\\" not in text else text)


def has_adjacent_numbers(answer: str) -> bool:
    """Return True if only white space separates two numbers, which a formula reader must not multiply or join."""
    return re.search(r"(?<![_0-9.])[0-9]*[0-9.] [0-9.]", normalize_latex(answer)) is not None


def _clean_answer(answer: str) -> str:
    text = strip_markup(plain_signs(answer[:LONGEST]))
    text = _ABOUT.sub("", text)
    text = _CURRENCY.sub("", text)
    text = _ASSIGNED.sub("", text, count=1) if _ASSIGNED.match(text) else text
    text = text.replace("\\$", "").replace("$", "").replace("\\%", "").replace("%", "").replace("\\!", "")
    if (hour := time_of_day(text)) is not None:
        return hour
    text = _DEGREES.sub("", text.replace("{,}", ","))
    return with_commands(_SPACING.sub(" ", text)).strip()


def _normal_text(text: str) -> str:
    if whole := _WRAPPED.fullmatch(text):
        text = whole[1].strip().lower()
    text = _WRAPPED.sub(r"\1", text)
    value = None if _LETTER.search(text) else single_number(text)
    if value is not None:
        return _number_form(value) if _AS_FRACTION.search(text) else render_number(value)
    text = _SHORT.sub(_expand_fraction, text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    words = not set(text) & set("\\{}^_=+*/()[]0123456789")
    text = " ".join(text.lower().split()) if words else _SPACE.sub("", text)
    return _SLASH.sub(r"\1\\frac{\2}{\3}", text) if _SLASH.fullmatch(text) else text


def _number_form(value: Fraction) -> str:
    """Reduced form of a number that was written as a fraction."""
    if value.denominator == 1:
        return render_number(value)
    return f"{'-' if value < 0 else ''}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def _expand_fraction(match: re.Match[str]) -> str:
    """`\\frac12` and `\\frac1{2}` written out."""
    over = match[2] or match[4] or (match[6] or "")[1:-1]
    under = match[3] or (match[5] or "")[1:-1] or match[7]
    return f"\\frac{{{over}}}{{{under}}}"
