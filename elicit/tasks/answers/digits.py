r"""Digits that are not a number by themselves (`m^2`, `cm2`, `CO2`, `x_1`); repeating decimals: `0.1\overline{6}`."""

from __future__ import annotations

import re
from fractions import Fraction

#: An exponent or index of a letter or an upright unit.
_RAISED_LETTER = re.compile(r"(?:[A-Za-z]|\\(?:text|textrm|mathrm|mbox)\s?\{[^{}]{0,20}\})\s?[\^_]\s?[{(]?\s?[-+]?\Z")
#: Directly behind a unit of length, or up to three letters of a name.
_UNIT = re.compile(r"(?<![A-Za-z\\])(?:[kcdm]?m|ft|in|yd)\Z")
_NAME = re.compile(r"(?<![A-Za-z0-9\\])[A-Za-z]{1,3}\Z")
_CURRENCY = re.compile(r"(?<![A-Za-z])(?:US|USD|EUR|GBP|CHF|CAD|AUD|INR|JPY|CNY|RMB|Rs|NT|HK)\Z", re.IGNORECASE)
_NEAR = 40
_REPEATING = re.compile(r"(\.)?\s?\\(?:overline|bar)\s?\{\s?([0-9]{1,20})\s?\}")
#: `1.234,50`, `1.234.567`, `5.6.2020`: ambiguous, since they are read differently in different countries.
_POINTS = re.compile(r"(?:\.[0-9]+){1,9}(?:,[0-9]+)?(?![0-9]|[.,][0-9])|(?<=\.[0-9]{3}),[0-9]+(?![0-9]|[.,][0-9])")


def is_part_of_a_name(text: str, start: int) -> bool:
    """Return True if the digits at `start` are an exponent, an index or the end of a name."""
    before = text[max(0, start - _NEAR) : start]
    if _RAISED_LETTER.search(before):
        return True
    if _UNIT.search(before) and text[start : start + 1] in ("2", "3") and not text[start + 1 : start + 2].isdigit():
        return True
    return _NAME.search(before) is not None and _CURRENCY.search(before) is None


def parse_repeating_decimal(digits: str, text: str, end: int) -> tuple[Fraction, int] | None:
    r"""(value, end) of digits followed by a repeating part: `0.\overline{3}` is 1/3."""
    match = _REPEATING.match(text, end)
    if match is None or (match[1] is None) == ("." not in digits):
        return None
    places = len(digits.partition(".")[2])
    return Fraction(digits) + Fraction(int(match[2]), (10 ** len(match[2]) - 1) * 10**places), match.end()


def find_points_end(digits: str, text: str, end: int) -> int | None:
    """End of digits with several points, or with a comma after the points, that are not a single number."""
    match = _POINTS.match(text, end) if "." in digits else None
    return None if match is None or (digits.startswith("0") and text[end] == ",") else match.end()
