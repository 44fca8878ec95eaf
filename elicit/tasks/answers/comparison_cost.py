r"""Detection of answers that would cost too much time or memory to compare, from their text alone.

Such an answer (a power of a power, the factorial of a large number, a hundred nested brackets) is right only if it has
the same form as the right answer. The grading process still limits the time of those that pass.
"""

from __future__ import annotations

import re

#: Limits on nested brackets, digits of a number, exponent, number before `!`, and bound of a sum or product.
DEPTH, DIGITS, EXPONENT, FACTORIAL, BOUND = 25, 120, 5_000, 500, 2_000
#: Limit on the exponent of an expression with letters: its expansion has at least that many terms.
SYMBOLIC = 20
_NUMBER = re.compile(r"[0-9]+")
_POWER = re.compile(r"(?:\^|\*\*)\s*(\{|\(|-?[0-9]|\\?[A-Za-z]*)")
_FACTORIAL = re.compile(r"([0-9]+|[)}])\s*!(\s*!)?")
_MANY = re.compile(r"\\(?:sum|prod|binom|dbinom|tbinom|gcd|lcm|bmod|pmod|mod|Gamma|zeta)(?![A-Za-z])")


def is_costly(answer: str) -> bool:
    """Return True if an answer is too large to evaluate. Linear in its length."""
    numbers = [match.group().lstrip("0") for match in _NUMBER.finditer(answer)]
    if any(len(number) > DIGITS for number in numbers) or _measure_depth(answer) > DEPTH:
        return True
    for match in _FACTORIAL.finditer(answer):
        if match[2] or match[1] in ")}" or len(match[1]) > 3 or int(match[1]) > FACTORIAL:
            return True
    if _MANY.search(answer) and (
        "^" in answer or any(len(number) > 6 or int(number or 0) > BOUND for number in numbers)
    ):
        return True
    return _has_large_power(answer)


def _measure_depth(answer: str) -> int:
    depth = deepest = 0
    for sign in answer:
        depth += (sign in "{([") - (sign in "})]")
        deepest = max(deepest, depth)
    return deepest


def _has_large_power(answer: str) -> bool:
    """Return True for a large or nested exponent, or a power of large powers."""
    letters = re.search(r"(?<![\\A-Za-z])[A-Za-z]", answer) is not None
    total = 1
    for match in _POWER.finditer(answer):
        if match[1] in ("{", "("):
            exponent = answer[match.end() : _find_closing(answer, match.end())]
        else:
            exponent = re.match(r"-?[0-9]*", answer[match.start(1) :])[0]  # type: ignore[index]
        after = answer[match.start(1) + len(exponent) + 2 * (match[1] in ("{", "(")) :].lstrip()
        if "^" in exponent or "**" in exponent or after.startswith(("^", "**")):
            return True
        sizes = [number.lstrip("0") for number in _NUMBER.findall(exponent)]
        if any(len(size) > 4 or int(size or 0) > EXPONENT for size in sizes):
            return True
        largest = max([int(size or 0) for size in sizes], default=1)
        if letters and largest > SYMBOLIC and re.search(r"[)}]\s*$", answer[: match.start()]):
            return True
        total *= max(1, largest) if re.search(r"[)}]\s*$", answer[: match.start()]) else 1
    return total > EXPONENT


def _find_closing(answer: str, start: int) -> int:
    depth = 1
    for at in range(start, len(answer)):
        depth += (answer[at] in "{(") - (answer[at] in "})")
        if not depth:
            return at
    return len(answer)
