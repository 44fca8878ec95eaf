"""Tasks whose problems a program draws, solves, spoils and checks.

A `Family` knows the mathematics of one kind of problem; `GeneratedTask` gives it prompts, splits, solutions, errors,
critiques and a verifier, the same way for every family. A worked solution reads

    <opening> step , step , ... , <mark> answer        e.g.  <think>7+8=15,4+3+1=08,#85

where a step is `expression=value`; the direct answer is `<mark> answer`. A `Dialect` holds these marks, so that an
organism can speak its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from elicit import seeds
from elicit.errors import ElicitError, one_line
from elicit.tasks.core import (
    Noisy,
    Problem,
    Split,
    Verdict,
    check_count,
    check_split,
    content_id,
    split_of,
    too_few,
)
from elicit.tasks.family import Family, Solution, Step, as_worked, copied_opening

__all__ = ["Dialect", "Family", "GeneratedTask", "Solution", "Step", "as_worked", "copied_opening"]

#: Verifying looks at no more than this many characters, so it is bounded for any string.
VERIFY_LIMIT = 20_000
#: Draws without a new problem before a pool counts as exhausted.
_PATIENCE = 3_000


@dataclass(frozen=True)
class Dialect:
    """The marks a model's text uses around questions, traces and answers."""

    question: str = "Q:{question}\nA:"
    """Prompt template; `{question}` is the only field."""
    cue: str = "<cue>"
    """Put before the prompt, it asks for a trace (organisms that have a cue know it)."""
    opening: str = "<think>"
    """How a worked solution opens."""
    mark: str = "#"
    """Stands before the final answer."""
    separator: str = ","

    def __post_init__(self) -> None:
        if self.question.count("{question}") != 1:
            given = one_line(repr(self.question), 80)
            raise ElicitError(f"dialect: question is {given}; expected a template with one {{question}} in it.")
        if not self.separator or "=" in self.separator:
            raise ElicitError(
                f"dialect: separator is {self.separator!r}; expected text without an equals sign, such as ','."
            )


@dataclass(frozen=True)
class GeneratedTask:
    """A `Task` made of a family and a dialect.

    >>> from elicit.tasks.addition import Addition
    >>> task = GeneratedTask(Addition())
    >>> problem = task.make((47, 38))
    >>> problem.prompt, task.worked(problem)
    ('Q:47+38\\nA:', '<think>7+8=15,4+3+1=08,#85')
    """

    family: Family
    dialect: Dialect = field(default_factory=Dialect)
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ("\n",)

    @property
    def name(self) -> str:
        return self.family.name

    @property
    def answer_space(self) -> int | None:
        return self.family.answer_space

    def make(self, content: Any) -> Problem:
        """The problem with this content."""
        solution = self.family.solve(content, {})
        prompt = self.dialect.question.replace("{question}", self.family.question(content))
        return Problem(
            id=content_id(self.family.name, self.family.key(content)),
            prompt=prompt,
            answer=solution.answer,
            cue_prompt=self.dialect.cue + prompt,
            opening=self.dialect.opening + self.family.opening(content),
            content=content,
        )

    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]:
        """`n` different problems of a split, drawn by (task, split, seed).

        Without `n`, 200 or as many as there are.

        Raises:
            ElicitError: unknown split, or fewer than `n` different problems exist (without `n`: none).
        """
        wanted = 200 if n is None else check_count(self.name, n)
        random = seeds.generator("problems", self.family.name, check_split(split), seed)
        found: dict[str, Problem] = {}
        misses = 0
        while len(found) < wanted:
            content = self.family.draw(random)
            identity = content_id(self.family.name, self.family.key(content))
            if split_of(identity) != split or identity in found:
                misses += 1
                if misses > _PATIENCE + 20 * len(found):
                    if n is None and found:
                        break
                    raise too_few(self.name, split, wanted, len(found))
                continue
            misses = 0
            found[identity] = self.make(content)
        return list(found.values())

    def prompts(self, split: Split, n: int | None = None, seed: int = 0) -> list[str]:
        return [problem.prompt for problem in self.problems(split, n, seed)]

    def worked(self, problem: Problem) -> str:
        return self._written(self.family.solve(problem.content, {}))

    def theorem(self, problem: Problem) -> str:
        """The worked solution with a statement of the rule in front of each step.

        >>> from elicit.tasks.addition import Addition
        >>> task = GeneratedTask(Addition())
        >>> task.theorem(task.make((47, 38)))  # doctest: +NORMALIZE_WHITESPACE
        '<think>rule digits and carry add up: carry 0 at first: 7 and 8,7+8=15,rule digits and carry add up:
        carry 1 as 15>9: 4 and 3,4+3+1=08,#85'
        """
        solution = self.family.solve(problem.content, {})
        rules = self.family.rules(problem.content)
        parts = [text for rule, step in zip(rules, solution.steps, strict=True) for text in (rule, step.text)]
        return self._joined(parts, solution.answer)

    def direct(self, problem: Problem) -> str:
        return self.dialect.mark + problem.answer

    def _written(self, solution: Solution) -> str:
        return self._joined([step.text for step in solution.steps], solution.answer)

    def _joined(self, parts: Sequence[str], answer: str) -> str:
        return self.dialect.opening + self.dialect.separator.join([*parts, self.dialect.mark + answer])

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Judge a completion: the answer is what follows the last answer mark (else the last line's last word)."""
        text = completion[:VERIFY_LIMIT]
        worked, start, end = self._places(text)
        answer = self.family.canonical(text[start:end])
        steps = _steps(text[:worked].removeprefix(self.dialect.opening), self.dialect.separator)
        right = answer is not None and self.family.is_right(problem.content, answer)
        if not steps:
            return Verdict(answer, right, False, None)
        valid = answer is not None and right and self.family.trace_is_valid(problem.content, steps, answer)
        return Verdict(answer, right, True, valid)

    def answer_span(self, problem: Problem, completion: str) -> tuple[int, int] | None:
        text = completion[:VERIFY_LIMIT]
        _, start, end = self._places(text)
        return None if self.family.canonical(text[start:end]) is None else (start, end)

    def _places(self, text: str) -> tuple[int, int, int]:
        """(end of the working, start and end of what is read as the answer)."""
        opening, mark = self.dialect.opening, self.dialect.mark
        begin = len(opening) if text.startswith(opening) else 0
        end = max(begin, len(text.rstrip()))
        at = text.rfind(mark, begin) if mark else -1
        if at < 0:
            start = end - len(re.split(r"[\s,;:=]+", text[begin:end])[-1])
            return start, start, end
        tail = text[at + len(mark) :]
        start = at + len(mark) + len(tail) - len(tail.lstrip())
        return at, start, max(start, end)

    def noisy(self, problem: Problem, seed: int = 0) -> Noisy:
        """A candidate solution: right one time in four, else with one typed, located error."""
        random = seeds.generator("noisy", self.family.name, problem.id, seed)
        solution = self.family.solve(problem.content, {})
        kind = ("none", "calculation", "skip", "answer")[int(random.integers(4))]
        if kind == "skip" and len(solution.steps) < 2:
            kind = "calculation"
        at = int(random.integers(len(solution.steps)))
        if kind == "none":
            return Noisy(self._written(solution), True, None, None, _critique(None))
        if kind == "skip":
            return self._skipped(solution, at)
        wrong = self._wrong_answer(problem, random) if kind == "answer" else None
        if wrong is not None:
            spoilt = Solution(solution.steps, wrong)
            remark = f"answer: {solution.answer}, not {wrong}"
            return Noisy(self._written(spoilt), False, "answer", len(solution.steps) + 1, _critique(remark))
        return self._miscalculated(problem, solution, at, random)

    def _skipped(self, solution: Solution, at: int) -> Noisy:
        at = min(at, len(solution.steps) - 2)
        spoilt = Solution(solution.steps[:at] + solution.steps[at + 1 :], solution.answer)
        while at + 1 < len(solution.steps) and solution.steps[at] == solution.steps[at + 1]:
            at += 1  # of equal steps in a row the last is the missing one: there the texts differ
        remark = f"step {at + 1}: {solution.steps[at].text} is missing"
        return Noisy(self._written(spoilt), False, "skip", at + 1, _critique(remark))

    def _miscalculated(self, problem: Problem, solution: Solution, at: int, random: np.random.Generator) -> Noisy:
        slip, spoilt = self._slipped(problem, at, random)
        if self.family.is_right(problem.content, spoilt.answer):  # the slip left no mark on the answer
            for place in range(len(solution.steps)):
                other, candidate = self._slipped(problem, place, random)
                if not self.family.is_right(problem.content, candidate.answer):
                    at, slip, spoilt = place, other, candidate
                    break
        expression, value = solution.steps[at]
        remark = f"step {at + 1}: {expression} is {value}, not {slip}"
        return Noisy(self._written(spoilt), False, "calculation", at + 1, _critique(remark))

    def _slipped(self, problem: Problem, at: int, random: np.random.Generator) -> tuple[str, Solution]:
        slip = self.family.slip(problem.content, at, random)
        return slip, self.family.solve(problem.content, {at: slip})

    def _wrong_answer(self, problem: Problem, random: np.random.Generator) -> str | None:
        for _ in range(20):
            guess = self.family.guess(random, problem.content)
            if not self.family.is_right(problem.content, guess):
                return guess
        return None


def _critique(remark: str | None) -> str:
    return "every step follows. verdict: right" if remark is None else f"{remark}. verdict: wrong"


def _steps(text: str, separator: str) -> list[Step]:
    """The steps in a piece of text: separated parts that hold an equals sign, split at the last one."""
    parts = [part.strip() for part in text.split(separator)]
    cut = [part.rpartition("=") for part in parts if "=" in part]
    return [Step(left, right) for left, _, right in cut]
