r"""Numbers as people write them, read in full and exactly: `-$1,250.50`, `2 1/2`, `2\frac12`, `1.5 x 10^6`, `3½`.

A number is a `Numeral`: a span of a text and its value, a `Fraction`. Several numbers that do not make a single one
(`9:30`, `3:4`, `5/6/2020`, `2 hours and 30 minutes`, `9^9^9`) are a `Numeral` without a value, so that no part is ever
read as the whole. Every search takes time linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

from elicit.tasks.answers.digits import find_points_end, is_part_of_a_name, parse_repeating_decimal

#: Most digits of a number that is written out.
LONGEST = 300
_DASHES = "−‐‑‒–—―﹘﹣－➖"
_SPACES = "\u00a0\u2002\u2003\u2004\u2005\u2007\u2008\u2009\u200a\u202f\u205f\u3000"


class _Plain(dict[int, int | str]):
    """Translation table: every dash becomes `-`, every decimal digit one of 0 to 9, wide signs plain ones."""

    def __missing__(self, code: int) -> int | str:
        sign = chr(code)
        self[code] = str(unicodedata.decimal(sign)) if sign.isdecimal() else code
        return self[code]


_PLAIN = _Plain(
    {
        **{ord(sign): "-" for sign in _DASHES},
        **{ord(sign): " " for sign in _SPACES},
        **{ord(odd): usual for odd, usual in zip("＋．，／％＄：＝（）＾⁄∕￥", "+.,/%$:=()^//¥", strict=True)},
    }
)
_VULGAR = {
    sign: Fraction(int(over), int(under or 1))
    for sign in map(chr, [*range(0xBC, 0xBF), *range(0x2150, 0x215F), 0x2189])
    for over, _, under in [unicodedata.normalize("NFKD", sign).partition("⁄")]
}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", strict=True))

_CURRENCY = r"(?:\\?\$|[€£¥₹₩₽]|US\$|\\(?:pounds|euro)\s?)"
_PARTED = r"(?:,|\{,\}|,?\\!|\\,|\\ |['’_])"
_GROUPED = rf"(?:[0-9]{{1,3}}(?:{_PARTED}[0-9]{{3}})+(?![0-9])|[1-9][0-9]{{0,2}}(?: [0-9]{{3}})+(?![0-9/]| ?/)|[0-9]+)"
_AMOUNT = rf"(?:{_GROUPED}(?:\.[0-9]+)?|(?<![\w.])\.[0-9]+)"
_TERM = r"(?:\{\s{0,3}(-?[0-9][0-9,]{0,20}(?:\.[0-9]{1,15})?)\s{0,3}\}|([0-9]))"
_FRAC = rf"\\[dtc]?frac\s{{0,3}}{_TERM}\s{{0,3}}{_TERM}"
_SIGNS = "".join(_VULGAR)
_START = re.compile(
    rf"(?P<sign>(?<![\w)\]}}%])[-+]\s?|\b(?:minus|negative)\s)?(?P<unit>{_CURRENCY}\s?)?(?P<second>(?<=[$€£¥₹₩₽])[-+])?"
    rf"(?:(?P<amount>{_AMOUNT})|(?P<frac>{_FRAC})|(?P<vulgar>[{_SIGNS}]))",
    re.IGNORECASE,
)
_RATIO = re.compile(r"\s?/\s?([0-9]{1,15})(?![0-9]|[.,][0-9]|\s?/\s?[0-9])")
#: `1/2` after a whole number.
_MIXED = re.compile(
    r"(?:\s{1,3}|\s{0,3}\\[ ,;:]\s{0,3}|\s{1,3}and\s{1,3})([0-9]{1,15})\s?/\s?([0-9]{1,15})(?![0-9/]|[.,][0-9])"
)
_MIXED_FRAC = re.compile(rf"(?:\s{{0,3}}|\s{{0,3}}\\[ ,;:!]\s{{0,3}}|\s{{1,3}}and\s{{1,3}}){_FRAC}")
_MIXED_SIGN = re.compile(rf"\s?([{_SIGNS}])")
_HALF = re.compile(r"\s{1,3}and\s(?:a|one)\s(half|quarter|third)\b", re.IGNORECASE)
_HALVES = {"half": Fraction(1, 2), "quarter": Fraction(1, 4), "third": Fraction(1, 3)}
_EXPONENT = r"(?:\{\s?([-+]?[0-9]{1,9})\s?\}|\(\s?([-+]?[0-9]{1,9})\s?\)|([-+]?[0-9]{1,9}))"
_RAISE = r"\s{0,2}(?:\^|\*\*)\s{0,2}"
_SHORT = re.compile(r"e([-+]?[0-9]{1,9})(?!\w|\.[0-9])", re.IGNORECASE)
_POWER = re.compile(rf"(?:{_RAISE}{_EXPONENT}|([⁻]?[⁰¹²³⁴-⁹]{{1,9}}))(?!\s?(?:\^|\*\*\s?[-+{{(0-9]))")
_TIMES_TEN = re.compile(
    rf"\s{{0,3}}(?:[x×*·⋅]|\\times|\\cdot)\s{{0,3}}10(?:{_RAISE}{_EXPONENT}|([⁻]?[⁰¹²³⁴-⁹]{{1,9}}))", re.IGNORECASE
)
_SCALE = re.compile(
    r"(?:[\s~-]{1,3}|\s{0,3}\\[ ,;]\s?|\s{0,3}\\text\s?\{\s{0,3})"
    r"(hundred|thousand|million|billion|trillion)s?\b(?:\s{0,3}\})?",
    re.IGNORECASE,
)
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
#: `5k`, and with a currency sign `$5M`, `$2bn`.
_LETTER = re.compile(r"(k|mn|bn|[mMbB])(?![A-Za-z0-9^/])")
_LETTERS = {"k": 3, "m": 6, "mn": 6, "b": 9, "bn": 9}
_RAISED_AGAIN = re.compile(r"\s?(?:\^|\*\*)\s?[{(]?[-+]?[0-9]")
_VARIABLE = re.compile(r"[xyzn](?![A-Za-z0-9]| ?[0-9])")
#: Pairs of units in one measure: the smaller follows the larger.
_MEASURES = (
    ("years?|yrs?", "months?"), ("weeks?|wks?", "days?"), ("days?", "hours?|hrs?|h"),
    ("hours?|hrs?|h", "minutes?|mins?|min|m"),
    ("minutes?|mins?|m", "seconds?|secs?|s"), ("feet|foot|ft|'", "inch(?:es)?|in|\""), ("dollars?|euros?", "cents?"),
    ("pounds?|lbs?|pounds", "ounces?|oz|pence|p"), ("yards?|yds?", "feet|foot|ft"), ("kilograms?|kg", "grams?|g"),
    ("meters?|metres?|m", "centimeters?|centimetres?|cm"), ("kilometers?|kilometres?|km", "meters?|metres?|m"),
)  # fmt: skip
_BETWEEN = [re.compile(rf"\s?(?:{large})\s?,?\s?(?:and\s)?", re.IGNORECASE) for large, _ in _MEASURES]
_AFTER = [re.compile(rf"\s?(?:{small})(?![A-Za-z])", re.IGNORECASE) for _, small in _MEASURES]
_LEAD = re.compile(r"[\s*_$({\[]*-\s+(?=\S)")


class Numeral(NamedTuple):
    """A number in a text, at [start, end)."""

    value: Fraction | None
    """None where several numbers do not make a single one."""
    start: int
    end: int


def plain_signs(text: str) -> str:
    """The text with plain digits, dashes and spaces: one character for each, so that positions stay."""
    return text if text.isascii() else text.translate(_PLAIN)


def find_numerals(text: str) -> list[Numeral]:
    r"""Every number in a text, in order. Total, and linear in its length.

    A dash is a sign where neither a word, a number nor a closing bracket stands directly before it.

    >>> [str(numeral.value) for numeral in find_numerals("2 1/2 of –$5, 1.5 million, 5–7, 3\\frac12 at 9:30")]
    ['5/2', '-5', '1500000', '5', '7', '7/2', 'None']
    """
    text = plain_signs(text)
    result: list[Numeral] = []
    at = 0
    while (match := _START.search(text, at)) is not None:
        if match["amount"] and not match["unit"] and is_part_of_a_name(text, match.start("amount")):
            at = match.end()
            continue
        numeral = _extend_numeral(text, match)
        at = max(numeral.end, match.start() + 1)
        if result and _is_one_measure(text, result[-1], numeral):
            numeral = Numeral(None, result.pop().start, numeral.end)
        result.append(numeral)
    return result


def with_sign_of_clause(clause: str, first: Numeral) -> Numeral:
    """First number of a clause (such as the content of a box), where the sign may have a space after it."""
    lead = _LEAD.match(plain_signs(clause))
    if lead is not None and lead.end() == first.start and first.value is not None:
        return Numeral(-first.value, lead.group().rindex("-"), first.end)
    return first


def single_number(text: str) -> Fraction | None:
    """Value of a text that is one number and nothing else but a currency sign, a percent sign or a full stop.

    >>> str(single_number(" –2 1/2 ")), single_number("5 or 7"), single_number("2 x"), single_number("9:30")
    ('-5/2', None, None, None)
    """
    text = plain_signs(text).strip()
    if not text or len(text) > LONGEST:
        return None
    candidates = find_numerals(text)
    if not candidates or (numeral := with_sign_of_clause(text, candidates[0])).start != 0:
        return None
    return numeral.value if re.fullmatch(r"\s?(?:\\?%)?\.?", text[numeral.end :]) else None


def render_number(value: Fraction) -> str:
    """Shortest decimal form of a value (`2.5`), or the reduced fraction (`7/3`) where there is none."""
    rest, places = value.denominator, 0
    for prime in (2, 5):
        count = 0
        while rest % prime == 0:
            rest, count = rest // prime, count + 1
        places = max(places, count)
    if rest > 1:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    whole = digits if not places else f"{digits[:-places]}.{digits[-places:]}"
    return f"-{whole}" if value < 0 else whole


def _extend_numeral(text: str, match: re.Match[str]) -> Numeral:
    """The number that begins at a match, with everything that belongs to it."""
    start, end = match.start(), match.end()
    sign = match["sign"] or ""
    if sign and not _is_sign(text, match):
        start, sign = match.end("sign"), ""
    negative = (sign[:1] == "-" or sign[:1].lower() in ("m", "n")) != (match["second"] == "-")
    value, end = _parse_magnitude(text, match)
    if (scale := _SCALE.match(text, end)) is not None:
        value, end = _scale_by_ten(value, _SCALES[scale[1].lower()]), scale.end()
    elif (letter := _LETTER.match(text, end)) is not None and (letter[1] == "k" or match["unit"]):
        value, end = _scale_by_ten(value, _LETTERS[letter[1].lower()]), letter.end()
    if (again := _RAISED_AGAIN.match(text, end)) is not None:  # a tower of powers
        tower = re.compile(r"[\s^*{}()0-9+-]{0,200}").match(text, again.end())
        value, end = None, (tower or again).end()
        end -= len(text[start:end]) - len(text[start:end].rstrip(" \n*(+-^"))
    elif (variable := _VARIABLE.match(text, end)) is not None:
        value, end = None, variable.end()
    return Numeral(None if value is None else -value if negative else value, start, end)


def _parse_magnitude(text: str, match: re.Match[str]) -> tuple[Fraction | None, int]:
    """(value without sign, end) of the digits with their fraction or power; no value for one that is too long."""
    end = match.end()
    if match["vulgar"]:
        return _VULGAR[match["vulgar"]], end
    if match["frac"]:
        return _divide_terms(*_parse_fraction_terms(re.match(_FRAC, match["frac"], re.IGNORECASE))), end
    digits = re.sub(r"[^0-9.]", "", match["amount"])
    if len(digits) > LONGEST:
        return None, end
    value = Fraction(digits)
    if (points := find_points_end(digits, text, end)) is not None:
        return None, points
    if (forever := parse_repeating_decimal(digits, text, end)) is not None:
        return forever
    if "." not in digits and (mixed := _parse_mixed_part(text, end)) is not None:
        part, end = mixed
        return (value + part if part is not None and 0 <= part < 1 else None), end
    if (ratio := _RATIO.match(text, end)) is not None:
        return _divide_terms(digits, ratio[1]), ratio.end()
    if (short := _SHORT.match(text, end)) is not None:
        return _scale_by_ten(value, int(short[1])), short.end()
    if (times := _TIMES_TEN.match(text, end)) is not None:
        return _scale_by_ten(value, _parse_exponent(times)), times.end()
    if (power := _POWER.match(text, end)) is not None:
        return _raise_to_power(value, _parse_exponent(power)), power.end()
    return value, end


def _parse_mixed_part(text: str, at: int) -> tuple[Fraction | None, int] | None:
    """(value, end) of the fraction that belongs to the whole number before it, None without one."""
    if (mixed := _MIXED.match(text, at)) is not None:
        return _divide_terms(mixed[1], mixed[2]), mixed.end()
    if (mixed := _MIXED_FRAC.match(text, at)) is not None:
        return _divide_terms(*_parse_fraction_terms(mixed)), mixed.end()
    if (mixed := _MIXED_SIGN.match(text, at)) is not None:
        return _VULGAR[mixed[1]], mixed.end()
    if (mixed := _HALF.match(text, at)) is not None:
        return _HALVES[mixed[1].lower()], mixed.end()
    return None


def _is_sign(text: str, match: re.Match[str]) -> bool:
    """Return True if a dash, or the word minus, belongs to the number after it."""
    sign, before = match["sign"], text[: match.start()].rstrip(" ")[-1:]
    if sign[0] in "-+" and sign[-1] in "-+":
        return True
    if sign[0] in "-+":  # with a space behind it: a bullet, or a subtraction, unless something opens here
        return before != "" and before in "=({:#"
    return (
        re.search(r"[\d)\]}]\s*$|(?:^|[^A-Za-z])[A-Za-z]\s*$", text[max(0, match.start() - 8) : match.start()]) is None
    )


def _parse_fraction_terms(match: re.Match[str] | None) -> tuple[str, str]:
    assert match is not None
    over, under = (match[1] or match[2]), (match[3] or match[4])
    return over.replace(",", ""), under.replace(",", "")


def _divide_terms(over: str, under: str) -> Fraction | None:
    divisor = Fraction(under)
    return Fraction(over) / divisor if divisor else None


def _parse_exponent(match: re.Match[str]) -> int:
    digits = next(group for group in match.groups() if group is not None)
    return int("".join(_RAISED.get(sign, sign) for sign in digits))


def _scale_by_ten(value: Fraction | None, exponent: int) -> Fraction | None:
    return None if value is None or abs(exponent) > LONGEST else value * Fraction(10) ** exponent


def _raise_to_power(value: Fraction, exponent: int) -> Fraction | None:
    size = max(value.numerator.bit_length(), value.denominator.bit_length())
    return None if size * abs(exponent) > 3 * LONGEST or (not value and exponent < 0) else value**exponent


def _is_one_measure(text: str, first: Numeral, second: Numeral) -> bool:
    between = text[first.end : second.start]
    if between in (":", "/"):
        return text[first.end - 1].isdigit() and text[second.start].isdigit()
    if len(between) > 30:
        return False
    return any(
        middle.fullmatch(between) and after.match(text, second.end)
        for middle, after in zip(_BETWEEN, _AFTER, strict=True)
    )
