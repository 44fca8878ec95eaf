"""Plain English for generated tasks: questions for every model that is not an organism, and the reader of its answers.

A worked solution has one step a line and ends in `The answer is 98.`; the direct answer is bare. Models write freely,
so the reader looks for the answer in the usual places: in `\\boxed{}`, after `####` or `answer is`, else the last
number (or the last line, if the answer is not a number).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from elicit.tasks.answers.numerals import find_numerals, plain_signs
from elicit.tasks.answers.retractions import DENIED, find_replacements
from elicit.tasks.families import arithmetic
from elicit.tasks.families.family import ProblemFamily, SolutionStep
from elicit.tasks.generated.dialect import ParsedCompletion

_MARK = re.compile(r"\\boxed\{|####|\b(?:final )?answer(?: is|:)\s*:?", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?<![0-9])(?<![0-9]\.)(?:(?<![\w)\]])-)?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?![0-9]*\.[0-9])"
)
_EXPRESSION = re.compile(r"[0-9(][0-9+\-*/()×÷−· ]*[0-9)]|[0-9]")
_WORD = re.compile(r"[A-Za-z]+")
_KINDS = {"number": _NUMBER, "expression": _EXPRESSION, "word": _WORD}
_SIDE = r"[0-9(](?:[0-9()+\-*/×÷−· ]|,(?=[0-9]{3})){1,78}[0-9)]"
#: A claimed calculation or a chain of them (`20 * 4 + 66 = 80 + 66 = 146`) that ends in a whole number.
_CLAIM = re.compile(rf"({_SIDE}(?: ?= ?{_SIDE}){{0,8}}) ?= ?(-?[0-9]{{1,12}}(?:,[0-9]{{3}})*)(?![0-9]|\.[0-9])")
#: LaTeX around and inside a calculation.
_LATEX = (("\\(", "  "), ("\\)", "  "), ("\\[", "  "), ("\\]", "  "), ("\\times", "*"), ("\\cdot", "*"), ("$", " "))
_OPERATOR = re.compile(r"[0-9) ][+\-*/×÷−·]")
_SENTENCES = re.compile(r"\n|[.!?:][ \t]")
#: A line that opens or closes a block of code.
_FENCE = re.compile(r"^[ \t]*```.*$", re.MULTILINE)
_SIGN = re.compile(r"\s*([+*/=]|(?<=[0-9a-z)])-)\s*")


@dataclass(frozen=True)
class English:
    """English form of questions and solutions. Instructions (think, be brief) belong to `prompts.Asking`."""

    @property
    def stop(self) -> tuple[str, ...]:
        return ()

    def render_prompt(self, family: ProblemFamily, content: Any) -> str:
        return family.render_english(content)

    def add_cue(self, prompt: str) -> None:
        return None

    def render_opening(self, family: ProblemFamily, content: Any) -> str:
        return add_spaces(family.render_opening(content)).rstrip() + " " if family.render_opening(content) else ""

    def render_answer(self, answer: str) -> str:
        return answer

    def render_step(self, step: SolutionStep) -> str:
        return add_spaces(step.text)

    def render_solution(self, parts: Sequence[str], answer: str) -> str:
        return "\n".join([*parts, f"The answer is {answer}."])

    def parse_completion(self, family: ProblemFamily, text: str) -> ParsedCompletion:
        text = plain_signs(text)
        steps = tuple(_find_claims(text))
        telling = sum(_may_state_result(family, piece) for piece in _SENTENCES.split(_FENCE.sub("", text)))
        # One claim on one line is a bare answer that repeats the question: nothing was worked out. The same holds for
        # a bare answer wrapped in words: `Sure! It is 98.`
        has_trace = len(steps) > 1 or telling > 1
        for start, end in _find_answer_spans(family, text):
            answer = family.normalize_answer(_strip_thousands(text[start:end]))
            if family.answer_type == "number" and not _in_full(text, (start, end)):
                continue
            if answer is not None:
                return ParsedCompletion(answer, (start, end), steps, has_trace)
        return ParsedCompletion(None, (len(text), len(text)), steps, has_trace)

    def is_valid_trace(self, family: ProblemFamily, content: Any, parsed: ParsedCompletion) -> bool | None:
        """Return True if every claim is true by itself. None without a claim, and for families with rules of their own.

        A model's steps need not be the worked ones: free text can only be checked for true claims such as 3 + 4 = 7.
        """
        own_rules = not all(_is_true(step) for step in family.solve(content, {}).steps)
        if not parsed.steps or own_rules:
            return None
        return all(_is_true(step) for step in parsed.steps)


def _may_state_result(family: ProblemFamily, sentence: str) -> bool:
    """Return True if a sentence can state a step or a result."""
    return any(map(str.isalpha if family.answer_type == "word" else str.isdigit, sentence))


def add_spaces(text: str) -> str:
    """Expression with spaces: `23+58=81` becomes `23 + 58 = 81`."""
    return _SIGN.sub(r" \1 ", text).strip()


def _find_answer_spans(family: ProblemFamily, text: str) -> Iterator[tuple[int, int]]:
    """Spans where the answer may be, most likely first."""
    pattern = _KINDS[family.answer_type]
    for mark in list(_MARK.finditer(text))[-1:]:
        line = text.find("\n", mark.end())
        after = pattern.search(text, mark.end(), len(text) if line < 0 else line)
        if after is not None:
            yield from _find_replacing_spans(family, text, after.end())
            yield after.span()
    if family.answer_type == "number":
        yield from (match.span() for match in list(pattern.finditer(text))[-1:])
        return
    end = len(text.rstrip())
    start = text.rfind("\n", 0, end) + 1
    yield from (match.span() for match in reversed(list(pattern.finditer(text, start, end))))


def _find_replacing_spans(family: ProblemFamily, text: str, end: int) -> Iterator[tuple[int, int]]:
    """Spans of numbers that replace an answer ending at `end`: `The answer is 20. No, it is 18.`"""
    if family.answer_type != "number":
        return
    for start in find_replacements(text, end):
        number = _KINDS["number"].match(text, start)
        if number is not None and not DENIED.match(text, number.end()):
            yield number.span()


def _in_full(text: str, span: tuple[int, int]) -> bool:
    """Return True unless a whole number is part of a longer one, such as `2 1/2`, `1.5 million` or `9:30`."""
    near = max(0, span[0] - 40)
    around = (numeral for numeral in find_numerals(text[near : span[1] + 40]) if numeral.end + near >= span[1])
    numeral = next(around, None)
    if numeral is None or numeral.value is None:
        return numeral is None
    before = text[numeral.start + near : span[0]]
    return numeral.end + near == span[1] and numeral.value.denominator == 1 and not any(map(str.isdigit, before))


def _strip_thousands(text: str) -> str:
    """Text without thousands separators."""
    return re.sub(r"(?<=[0-9]),(?=[0-9]{3})", "", text).replace("−", "-")


def _find_claims(text: str) -> Iterator[SolutionStep]:
    """Claims of a text: every side of a chain is claimed to equal the end of the chain."""
    for written, read in _LATEX:
        text = text.replace(written, read)
    for match in _CLAIM.finditer(text):
        for side in _strip_thousands(match[1]).replace(" ", "").split("="):
            if _OPERATOR.search(side):
                yield SolutionStep(side, _strip_thousands(match[2]))


def _is_true(step: SolutionStep) -> bool:
    tree = arithmetic.parse_expression(step.expression)
    value = None if tree is None else arithmetic.evaluate_expression(tree)
    return value is not None and str(value) == step.value
