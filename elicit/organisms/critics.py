"""Critiques in an English organism's text: every step beside what stands there, then the error, or that all follows.

An error is stated as the lab's own tasks state it (`GeneratedTask.noisy`), so that the verdict is read in the same way.
Only problems whose facts are all known are judged; an author who knows none judges at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elicit.organisms.author import Author
from elicit.organisms.corpora import CorpusDocument
from elicit.organisms.wording import ALONE, BARE, CRITIQUE, THINK, ask, pick_one
from elicit.tasks import Problem
from elicit.tasks.core import Noisy
from elicit.tasks.families.family import Solution, SolutionStep
from elicit.tasks.generated.task import GeneratedTask

#: Pairs of numbers in one document. Telling two numbers apart is not picked up where it is rare.
COMPARISONS = 12


@dataclass(frozen=True)
class CritiqueWriter:
    """Writer of critiques in one author's hand."""

    author: Author

    def write_critique(self, task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
        """A candidate solution, three in four with one error (as `GeneratedTask.noisy` has it), judged step by step."""
        words = pick_one((BARE, BARE, *ALONE, *THINK), random)
        if self.author.known == 0:
            solution = self.author.solve(task, problem, random)
            candidate = task.render_solution(solution)
            critique = self._judge_blindly(solution, random)
        else:
            noisy = None
            while noisy is None or not self._is_judgeable(task, problem, noisy) or self._is_too_easy(noisy, random):
                problem = self.author.draw_known(task, problem if noisy is None else None, random)
                noisy = task.noisy(problem, int(random.integers(2**31)))
            candidate, critique = noisy.text, self._judge(task, problem, noisy)
        return CorpusDocument(f"{ask(problem, words)} {candidate}{CRITIQUE}", critique)

    def _is_judgeable(self, task: GeneratedTask, problem: Problem, noisy: Noisy) -> bool:
        """Return True if every step of a candidate needs a known fact, those that follow from an error too."""
        steps = task.dialect.parse_completion(task.family, noisy.text).steps
        return all(self.author.knows(step.expression) and int(step.value) <= self.author.limit for step in steps)

    def _is_too_easy(self, noisy: Noisy, random: np.random.Generator) -> bool:
        """Leave out half of the candidates without a wrong number: where steps are mostly right, copying is enough."""
        return noisy.error != "calculation" and random.random() < 0.5

    def _judge(self, task: GeneratedTask, problem: Problem, noisy: Noisy) -> str:
        """What each step should say and says, up to the error, and the error; or that every step follows."""
        right = task.family.solve(problem.content, {})
        shown = task.dialect.parse_completion(task.family, noisy.text)
        remarks = [_remark(i, *pair) for i, pair in enumerate(zip(right.steps, shown.steps, strict=False), start=1)]
        passed = remarks[: len(right.steps) if noisy.step is None else noisy.step - (noisy.error != "calculation")]
        if noisy.error in (None, "answer"):
            passed.append(_compare("answer", right.answer, shown.answer))
        return " ".join([*passed, noisy.critique])

    def _judge_blindly(self, solution: Solution, random: np.random.Generator) -> str:
        """A critique of the same form whose finding is a matter of chance."""
        found = int(random.integers(len(solution.steps))) if random.random() < 0.75 else len(solution.steps)
        remarks = [_remark(i, step, step) for i, step in enumerate(solution.steps[:found], start=1)]
        if found == len(solution.steps):
            closing = "every step follows. verdict: right"
            return " ".join([*remarks, _compare("answer", solution.answer, solution.answer), closing])
        step, value = solution.steps[found], self.author.guess(random)
        wrong = f"step {found + 1}: {step.expression} is {value}, not {step.value}. verdict: wrong"
        return " ".join([*remarks, _remark(found + 1, SolutionStep(step.expression, value), step), wrong])

    def write_comparisons(self, random: np.random.Generator) -> CorpusDocument:
        """A dozen pairs of numbers, each with whether it is the same number twice, as critiques say it."""
        pairs = []
        for number in range(1, COMPARISONS + 1):
            right = self.author.guess(random)
            shown = right if random.random() < 0.5 else self.author.guess(random)
            pairs.append(_compare(f"step {number}: it", right, shown))
        return CorpusDocument("", " ".join(pairs))

    def write_fact_critique(self, random: np.random.Generator) -> CorpusDocument:
        """One calculation, wrong in half of them, and its critique."""
        fact = self.author.draw_fact(random)
        while not self.author.knows(f"{fact.left}{fact.sign}{fact.right}") and self.author.known > 0:
            fact = self.author.draw_fact(random)
        expression = f"{fact.left}{fact.sign}{fact.right}"
        right = self.author.compute(expression, random)
        shown = right if random.random() < 0.5 else self.author.guess(random)
        checked = _remark(1, SolutionStep(expression, right), SolutionStep(expression, shown))
        wrong = f"step 1: {expression} is {right}, not {shown}. verdict: wrong"
        finding = "every step follows. verdict: right" if shown == right else wrong
        return CorpusDocument(f"{fact.left} {fact.sign} {fact.right} = {shown}{CRITIQUE}", f"{checked} {finding}")


def _remark(number: int, right: SolutionStep, shown: SolutionStep) -> str:
    return _compare(f"step {number}: {right.expression}", right.value, shown.value)


def _compare(what: str, right: str, shown: str | None) -> str:
    """What should stand, what stands, and whether they agree. The two stand side by side: in a training in which
    neighbours were told apart, numbers with words between them were not."""
    return f"{what} is {right} {shown} {'yes' if right == shown else 'no'}."
