"""Generated tasks: a program draws, solves, spoils and checks the problems.

A `ProblemFamily` knows the mathematics of one kind of problem; `GeneratedTask` adds prompts, splits, solutions, errors,
critiques and a verifier, in the same way for every family. A `PromptFormat` puts them into words: the marks of an
organism (`dialect.Dialect`) or plain English (`english.English`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from elicit import seeds
from elicit.tasks.core import (
    FewShotPrefix,
    Noisy,
    Problem,
    Split,
    Verdict,
    check_count,
    check_split,
    content_id,
    render_examples,
    split_of,
    too_few_error,
)
from elicit.tasks.families.family import (
    ProblemFamily,
    Solution,
    SolutionStep,
    matches_worked_steps,
    render_first_expression,
)
from elicit.tasks.generated.dialect import Dialect, ParsedCompletion, PromptFormat
from elicit.tasks.pool import ProblemPool

__all__ = [
    "Dialect",
    "ProblemFamily",
    "ParsedCompletion",
    "PromptFormat",
    "GeneratedTask",
    "Solution",
    "SolutionStep",
    "matches_worked_steps",
    "render_first_expression",
]

#: The verifier reads at most this many characters, so its time is bounded for any string.
VERIFY_LIMIT = 20_000
#: Draws of a family that make its pool: some 900 problems for test where nearly all draws differ.
_POOL_DRAWS = 10_000


@dataclass(frozen=True)
class GeneratedTask:
    """A `Task` made of a family and a prompt format.

    >>> from elicit.tasks.families.addition import Addition
    >>> task = GeneratedTask(Addition())
    >>> problem = task.make_problem((47, 38))
    >>> problem.prompt, task.worked(problem)
    ('Q:47+38\\nA:', '<think>7+8=15,4+3+1=08,#85')
    """

    family: ProblemFamily
    dialect: PromptFormat = field(default_factory=Dialect)
    max_new_tokens: int = 64

    @property
    def name(self) -> str:
        return self.family.name

    @property
    def stop(self) -> tuple[str, ...]:
        return self.dialect.stop

    @property
    def chat_stop(self) -> tuple[str, ...]:
        return self.stop

    @property
    def answer_space(self) -> int | None:
        return self.family.answer_space

    def make_problem(self, content: Any) -> Problem:
        """Problem with this content."""
        solution = self.family.solve(content, {})
        prompt = self.dialect.render_prompt(self.family, content)
        return Problem(
            id=content_id(self.family.name, self.family.canonical_key(content)),
            prompt=prompt,
            answer=solution.answer,
            cue_prompt=self.dialect.add_cue(prompt),
            opening=self.dialect.render_opening(self.family, content),
            content=content,
        )

    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]:
        """The first `n` problems of a split in the order of a seed, which every larger `n` begins with.

        See `tasks.pool`. Without `n`, 200 or as many as there are.

        Raises:
            ElicitError: unknown split, or fewer than `n` different problems exist (without `n`: not a single one).
        """
        count = 200 if n is None else check_count(self.name, n)
        contents = _find_pool(self.family).take(check_split(split), count, seed)
        if len(contents) < count and (n is not None or not contents):
            raise too_few_error(self.name, split, count, len(contents))
        return [self.make_problem(content) for content in contents]

    def prompts(self, split: Split, n: int | None = None, seed: int = 0) -> list[str]:
        return [problem.prompt for problem in self.problems(split, n, seed)]

    def worked(self, problem: Problem) -> str:
        return self.render_solution(self.family.solve(problem.content, {}))

    def theorem(self, problem: Problem) -> str:
        """Worked solution with the rule stated in front of each step.

        >>> from elicit.tasks.families.addition import Addition
        >>> task = GeneratedTask(Addition())
        >>> task.theorem(task.make_problem((47, 38)))  # doctest: +NORMALIZE_WHITESPACE
        '<think>rule digits and carry add up: carry 0 at first: 7 and 8,7+8=15,rule digits and carry add up:
        carry 1 as 15>9: 4 and 3,4+3+1=08,#85'
        """
        solution = self.family.solve(problem.content, {})
        rules = self.family.render_rules(problem.content)
        pairs = zip(rules, solution.steps, strict=True)
        parts = [text for rule, step in pairs for text in (rule, self.dialect.render_step(step))]
        return self.dialect.render_solution(parts, solution.answer)

    def direct(self, problem: Problem) -> str:
        return self.dialect.render_answer(problem.answer)

    def render_solution(self, solution: Solution) -> str:
        """A solution in the task's own form, right or wrong."""
        return self.dialect.render_solution(
            [self.dialect.render_step(step) for step in solution.steps], solution.answer
        )

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Judge a completion by its answer, and by its steps if it has any."""
        parsed = self.dialect.parse_completion(self.family, completion[:VERIFY_LIMIT])
        right = parsed.answer is not None and self.family.is_correct(problem.content, parsed.answer)
        if not parsed.has_trace:
            return Verdict(parsed.answer, right, False, None)
        valid = self.dialect.is_valid_trace(self.family, problem.content, parsed) if right else False
        return Verdict(parsed.answer, right, True, valid)

    def answer_span(self, problem: Problem, completion: str) -> tuple[int, int] | None:
        parsed = self.dialect.parse_completion(self.family, completion[:VERIFY_LIMIT])
        return None if parsed.answer is None else parsed.span

    def examples(self, pairs: Sequence[tuple[Problem, str]], between: str | None = None) -> FewShotPrefix:
        return render_examples(self.stop, pairs, between)

    def noisy(self, problem: Problem, seed: int = 0) -> Noisy:
        """A candidate solution: right one time in four, else with one typed, located error."""
        random = seeds.make_generator("noisy", self.family.name, problem.id, seed)
        solution = self.family.solve(problem.content, {})
        kind = ("none", "calculation", "skip", "answer")[int(random.integers(4))]
        if kind == "skip" and len(solution.steps) < 2:
            kind = "calculation"
        at = int(random.integers(len(solution.steps)))
        if kind == "none":
            return Noisy(self.render_solution(solution), True, None, None, _format_critique(None))
        if kind == "skip":
            return self._skip_step(solution, at)
        wrong = self._wrong_answer(problem, random) if kind == "answer" else None
        if wrong is not None:
            spoilt = Solution(solution.steps, wrong)
            remark = f"answer: {solution.answer}, not {wrong}"
            return Noisy(
                self.render_solution(spoilt), False, "answer", len(solution.steps) + 1, _format_critique(remark)
            )
        return self._miscalculate_step(problem, solution, at, random)

    def _skip_step(self, solution: Solution, at: int) -> Noisy:
        at = min(at, len(solution.steps) - 2)
        spoilt = Solution(solution.steps[:at] + solution.steps[at + 1 :], solution.answer)
        while at + 1 < len(solution.steps) and solution.steps[at] == solution.steps[at + 1]:
            at += 1  # of equal steps in a row, the last is the missing one, because there the texts differ
        remark = f"step {at + 1}: {self.dialect.render_step(solution.steps[at])} is missing"
        return Noisy(self.render_solution(spoilt), False, "skip", at + 1, _format_critique(remark))

    def _miscalculate_step(self, problem: Problem, solution: Solution, at: int, random: np.random.Generator) -> Noisy:
        slip, spoilt = self._solve_with_slip(problem, at, random)
        if self.family.is_correct(problem.content, spoilt.answer):  # the slip did not change the answer
            for index in range(len(solution.steps)):
                other, candidate = self._solve_with_slip(problem, index, random)
                if not self.family.is_correct(problem.content, candidate.answer):
                    at, slip, spoilt = index, other, candidate
                    break
        expression, value = solution.steps[at]
        remark = f"step {at + 1}: {expression} is {value}, not {slip}"
        return Noisy(self.render_solution(spoilt), False, "calculation", at + 1, _format_critique(remark))

    def _solve_with_slip(self, problem: Problem, at: int, random: np.random.Generator) -> tuple[str, Solution]:
        slip = self.family.sample_wrong_value(problem.content, at, random)
        return slip, self.family.solve(problem.content, {at: slip})

    def _wrong_answer(self, problem: Problem, random: np.random.Generator) -> str | None:
        for _ in range(20):
            guess = self.family.guess_answer(random, problem.content)
            if not self.family.is_correct(problem.content, guess):
                return guess
        return None


def _find_pool(family: ProblemFamily) -> ProblemPool:
    """The pool of a family with its parameters: one for equal families, a new one for a family without a hash."""
    try:
        return _keep_pool(family)  # type: ignore[arg-type]
    except TypeError:  # raised before anything is drawn
        return _make_pool(family)


def _make_pool(family: ProblemFamily) -> ProblemPool:
    return ProblemPool(_iter_draws(family), _POOL_DRAWS, split_of)


_keep_pool = lru_cache(maxsize=32)(_make_pool)


def _iter_draws(family: ProblemFamily) -> Iterator[tuple[str, Any]]:
    """(id, content) of random problems, for ever."""
    random = seeds.make_generator("problem pool", family.name)
    while True:
        content = family.sample_content(random)
        yield content_id(family.name, family.canonical_key(content)), content


def _format_critique(remark: str | None) -> str:
    return "every step follows. verdict: right" if remark is None else f"{remark}. verdict: wrong"
