r"""Units that may follow a number in a mathematical answer, and times of day, which are not units.

After a number a *known* unit is dropped (`10 km`, `3 apples`, `90^\circ`, `5\text{ cm}^2`); any other letter is a
variable and stays (`2 x`, `5 i`, `3 m`). In `\text{...}` every word is a unit, and so is a single letter that stands
for one. The list is that of Minerva's appendix D (2206.14858) and of common graders, without their single letters,
which would make `2 h` a 2. A plural of four letters or more (`7 bananas`) is a noun that is counted.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: Each line has the names of one unit. Answers in units from two different lines are never equal.
_NAMES = """
mm millimeter millimeters millimetre millimetres
cm centimeter centimeters centimetre centimetres
dm decimeter decimeters
meter meters metre metres mtr
km kilometer kilometers kilometre kilometres kms
inch inches in
ft foot feet
yd yds yard yards
mi mile miles
mg milligram milligrams
kg kgs kilogram kilograms
gm gms gram grams
ton tons
tonne tonnes
lb lbs pound pounds
oz ounce ounces
ms millisecond milliseconds
sec secs second seconds
min mins minute minutes
hr hrs hour hours
day days
week weeks wk wks
month months
year years yr yrs
decade decades
ml mL milliliter milliliters millilitre millilitres cc
liter liters litre litres
gal gallon gallons
quart quarts
pint pints
cup cups
mph
kph kmh kmph km/h km/hr
m/s
ft/s
deg degs degree degrees
rad radian radians
dollar dollars USD usd
cent cents
euro euros
rupee rupees rs Rs
yen
percent percentage pct
acre acres
hectare hectares
unit units
point points
Hz hertz
watt watts
volt volts
joule joules
"""
#: Nouns that are counted. They do not change the number.
_COUNTED = """
way ways integer integers digit digits number numbers time times square squares meal meals edge edges student
students child children people person man men woman women boy boys girl girls apple apples orange oranges coin
coins toy toys tile tiles marble marbles ticket tickets book books page pages pencil pencils egg eggs pie pies
soldier soldiers worker workers player players game games multiple multiples mark marks monkey monkeys house houses
tree trees member members dog dogs cat cats fish sheep sue solution solutions face faces vertex vertices side sides
row rows column columns term terms factor factors divisor divisors prime primes card cards dice die hand hands step
steps car cars ball balls box boxes
"""
#: Plural forms that are not counted nouns.
_NOT_COUNTED = frozenset(
    "plus minus sinus modulus axis halves thirds quarters fourths fifths sixths sevenths eighths ninths tenths "
    "dozens hundreds thousands millions billions trillions".split()
)
_CANONICAL = {name: line.split()[0] for line in _NAMES.strip().splitlines() for name in line.split()}
_ALWAYS = frozenset(_COUNTED.split())
#: Letters that are units when set upright: `5\text{ m}`.
_UPRIGHT = frozenset("m g s h l L J N W V A C F K".split())
_POWER = r"(?:\s?\^\s?\{?\s?[0-9]\s?\}?|[²³])?"
#: A letter that stands for a value: `12\\pi`.
_SYMBOL = re.compile(r"\\(?:pi|theta|alpha|beta|infty)$|π$")
_SMALL = frozenset("square sq cubic cu per of a each in the".split())
_TEXT = re.compile(rf"\s*\\(?:text|textrm|textbf|textit|mathrm|mbox|rm)\s*\{{([^{{}}]*)\}}({_POWER})\s*$")
_NAME = rf"[A-Za-z]+(?:/[A-Za-z]+)?{_POWER}"
_WORD = re.compile(_NAME)
_TAIL = re.compile(rf"(?<![A-Za-z\\]){_NAME}(?:[ .]{{1,3}}{_NAME})*[ .]{{0,3}}$")
_ATTACHED = re.compile(rf"(?:st|nd|rd|th|[A-Za-z]{{2,12}}(?:/[A-Za-z]{{1,3}})?){_POWER}\.?$")
_HOUR = re.compile(
    r"^\s*([0-9]{1,2})(?::([0-9]{2}))?(?::([0-9]{2}))?\s*(?:\\(?:text|mathrm|mbox)\s*\{)?\s*([ap])\s*\.?\s*m\s*\.?\s*\}?\s*$",
    re.IGNORECASE,
)
_MEANS_MORE = re.compile(
    r"\d|[=<>^_\\]|\b(?:[ap]\.?\s?m\b\.?|or|and|hundred|thousand|million|billion|trillion|dozen|dozens|base|mod|noon|midnight)\b",
    re.IGNORECASE,
)


class AnswerAndUnit(NamedTuple):
    """An answer and its unit."""

    text: str
    unit: str | None
    """Canonical name of the unit; None for no unit or a counted noun."""


def time_of_day(text: str) -> str | None:
    """Canonical time, such as `10:00 am` for 10 AM, 10:00 a.m. and 10\\text{ AM}; None for other texts."""
    match = _HOUR.match(text)
    if match is None:
        return None
    seconds = f":{match[3]}" if match[3] and int(match[3]) else ""
    return f"{int(match[1])}:{match[2] or '00'}{seconds} {match[4].lower()}m"


def without_unit(text: str) -> AnswerAndUnit:
    """An answer without the known unit that follows its last number or bracket. Total."""
    set_upright = _TEXT.search(text)
    if set_upright is not None and _follows_a_value(text, set_upright.start()):
        words = set_upright[1].strip()
        letter = len(words) == 1 and words not in _UPRIGHT
        if not letter and not _MEANS_MORE.search(words):
            return AnswerAndUnit(text[: set_upright.start()].rstrip(), _normalize_unit(words + set_upright[2]))
        return AnswerAndUnit(text, None)
    match = _TAIL.search(text)
    if match is None or not _follows_a_value(text, match.start()):
        return AnswerAndUnit(text, None)
    spaced = text[match.start() - 1] in " ~"
    words = match.group().strip(" .")
    known = _is_known(words) if spaced else _ATTACHED.fullmatch(words) is not None and _is_attached(words)
    return AnswerAndUnit(text[: match.start()].rstrip(), _normalize_unit(words)) if known else AnswerAndUnit(text, None)


def _follows_a_value(text: str, at: int) -> bool:
    """Return True if a digit, a closing bracket, or a symbol such as `\\pi` precedes the position."""
    before = text[:at].rstrip(" ~")
    return before[-1:].isdigit() or before[-1:] in tuple("})") or _SYMBOL.search(before) is not None


def _is_known(words: str) -> bool:
    names = [match.group() for match in _WORD.finditer(words)]
    if " ".join(names) != " ".join(words.replace(".", " ").split()):
        return False
    plain = [re.sub(r"[\s^{}0-9²³]+$", "", name) for name in names]
    main = [name for name in plain if name not in _SMALL]
    return bool(main or plain in (["square"], ["in"])) and all(
        name in _CANONICAL or name.lower() in _CANONICAL or name in _ALWAYS or _is_plural(name) for name in main
    )


def _is_attached(words: str) -> bool:
    name = re.sub(r"[\s^{}0-9²³.]+$", "", words)
    return name in ("st", "nd", "rd", "th") or (name in _CANONICAL and name != "in")


def _is_plural(name: str) -> bool:
    """Return True for a word like `bananas`: lower case, four letters or more, with a vowel, ending in one s."""
    return (
        re.fullmatch(r"[a-z]{3,}s", name) is not None
        and not name.endswith("ss")
        and re.search(r"[aeiou]", name) is not None
        and name not in _NOT_COUNTED
    )


def _normalize_unit(words: str) -> str | None:
    """Canonical name of a unit, with its square or cube."""
    text = re.sub(r"\b(square|sq)\.?\s+(\w+)", r"\2^2", re.sub(r"\b(cubic|cu)\.?\s+(\w+)", r"\2^3", words.strip(" .")))
    match = re.fullmatch(r"([A-Za-z]+(?:/[A-Za-z]+)?)\s*(?:\^?\s*\{?\s*([23²³])\s*\}?)?", text)
    if match is None:
        return None
    name = _CANONICAL.get(match[1]) or _CANONICAL.get(match[1].lower()) or ("m" if match[1] == "m" else None)
    name = {"meter": "m"}.get(name or "", name)
    power = {"²": "2", "³": "3"}.get(match[2] or "", match[2] or "")
    return None if name in (None, "unit", "point", "percent", "deg") else f"{name}{power}"
