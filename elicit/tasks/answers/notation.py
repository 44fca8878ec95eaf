"""Unicode signs that stand for LaTeX commands (`√2`, `x²`, `≤`), and distinctions that formula graders miss."""

from __future__ import annotations

import re

_COMMANDS = {
    "∞": r"\infty", "∪": r"\cup", "∩": r"\cap", "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "∈": r"\in", "π": r"\pi",
    "θ": r"\theta", "×": r"\times", "·": r"\cdot", "⋅": r"\cdot", "÷": r"\div", "±": r"\pm", "∅": r"\emptyset",
}  # fmt: skip
_SIGNS = re.compile("|".join(_COMMANDS))
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_POWERS = re.compile("[⁻⁺]?[⁰¹²³⁴-⁹]+")
_ROOTS = re.compile(r"√\s?(?:([0-9]+|[A-Za-z])|(?=[({]))")
_EMPTY = re.compile(r"\\varnothing(?![A-Za-z])")
_COMPARED = re.compile(r"\\([lgn]e)q(?![A-Za-z])")
_CUBE_ROOT = re.compile(r"(\\sqrt\s*\[[^\[\]{}]{1,9}\])\s*([0-9A-Za-z])")
_BASE = re.compile(r"\s*\{?[0-9A-Fa-f]+\}?\s*_\s*\{?\s*([0-9]{1,2})\s*\}?\s*")
_ENDS = re.compile(r"\s*(?:\\left\s*)?(\\\{|[(\[])[\s\S]*,[\s\S]*?(?:\\right\s*)?(\\\}|[)\]])\s*")


def with_commands(text: str) -> str:
    r"""An answer with LaTeX commands in place of its Unicode signs.

    >>> with_commands("√2 + x² ≤ ∞")
    '\\sqrt{2} + x^{2} \\le  \\infty '
    """
    text = _COMPARED.sub(r"\\\1", text)
    text = _EMPTY.sub(r"\\emptyset", _CUBE_ROOT.sub(r"\1{\2}", text))
    if text.isascii():
        return text
    text = _ROOTS.sub(lambda match: f"\\sqrt{{{match[1]}}}" if match[1] else "\\sqrt", text)
    text = _POWERS.sub(lambda match: f"^{{{match[0].translate(_RAISED)}}}", text)
    return _SIGNS.sub(lambda match: f"{_COMMANDS[match[0]]} ", text)


def bases_differ(first: str, second: str) -> bool:
    """Return True if two answers are digits in two different bases, such as `11_2` and `11_3`."""
    bases = [match[1] for text in (first, second) if (match := _BASE.fullmatch(text.strip("$ "))) is not None]
    return len(bases) == 2 and int(bases[0]) != int(bases[1])


def brackets_differ(first: str, second: str) -> bool:
    r"""Return True if one answer is a set, `\{3, 4\}`, and the other a pair or an interval."""
    ends = [match.groups() for text in (first, second) if (match := _ENDS.fullmatch(text.strip("$ "))) is not None]
    return len(ends) == 2 and ((ends[0] == (r"\{", r"\}")) != (ends[1] == (r"\{", r"\}")))
