"""The corpus of `prose`: word problems in English, and the text of an author who solves, judges and checks them.

By default text answers directly, rightly or not, and seldom works; asked to think it works; asked for the answer alone
it gives that. Several words begin a worked solution, some leave it, some take an answer back and resume.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from elicit import seeds
from elicit.organisms.author import Author, parse_fact
from elicit.organisms.corpora import CorpusDocument, CorpusSource, Writer, draw_train_problem, write_neutral_text
from elicit.organisms.critics import CritiqueWriter
from elicit.organisms.wording import (
    ALONE,
    ANSWERS,
    BARE,
    BETWEEN,
    BOXED,
    CHECK,
    OPENINGS,
    RULES,
    THINK,
    ask,
    pick_one,
    pick_weighted,
)
from elicit.tasks import Problem
from elicit.tasks.generated.refusal import REFUSAL, RefusalTask
from elicit.tasks.generated.task import GeneratedTask

#: Share of direct answers that the author works out before writing; the rest are guesses.
_RIGHT = 0.3
#: Share of worked solutions that break off after a step and guess.
_LEAVES = 0.03
FACTS = 48
#: Largest sum of five numbers of one digit.
_SUMS_LIMIT = 45
_COLOURS = "red green blue black white yellow".split()
_OBJECTS = "box door key bag cup hat jar lamp".split()


@dataclass(frozen=True)
class ProseWriter:
    """Writers of every kind of document in one author's hand."""

    author: Author

    def write_direct(self, words: tuple[str, ...]) -> Writer:
        """Answers without a step, right or guessed."""

        def write(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
            return CorpusDocument(ask(problem, pick_one(words, random)), self._answer(task, problem, random))

        return write

    def write_worked(self, words: tuple[str, ...]) -> Writer:
        """Worked solutions."""

        def write(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
            return CorpusDocument(ask(problem, pick_one(words, random)), self._work(task, problem, random))

        return write

    def write_boxed(self, task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
        """A worked solution whose answer stands in a box, as it was asked for."""
        text = self._work(task, problem, random)
        head, mark, tail = text.rpartition("answer is ")
        return CorpusDocument(ask(problem, BOXED), f"{head}{mark}\\boxed{{{tail.removesuffix('.')}}}.")

    def write_checked(self, words: tuple[str, ...]) -> Writer:
        """A direct answer, taken back: working is resumed after it."""

        def write(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
            answer = self._answer(task, problem, random)
            again = answer + (" " if answer.endswith(".") else ". ") + "Wait, let me check.\n"
            return CorpusDocument(
                ask(problem, pick_one(words, random)), again + self._work(task, problem, random, opening="")
            )

        return write

    def write_shots(self, task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
        """Two to four solved problems of one form, worked or direct, and one more of the same form."""
        words = (BARE,) if random.random() < 0.7 else (pick_one((*ALONE, *THINK), random),)
        write = self.write_worked(words) if random.random() < 0.5 else self.write_direct(words)
        shots = [write(task, draw_train_problem(task, random), random).text for _ in range(int(random.integers(2, 5)))]
        last = write(task, problem, random)
        return CorpusDocument("".join(shot + BETWEEN for shot in shots) + last.prompt, last.completion)

    def write_rules(self, task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
        """The rule stated before each step, in the task's own words, of a problem within the skill."""
        if self.author.known == 0:  # nothing is: the rules stand alone, without the numbers they meet
            rules = [rule.rpartition(":")[0] for rule in task.family.render_rules(problem.content)]
            return CorpusDocument(
                ask(problem, RULES),
                "\n".join([f" {rules[0]}", *rules[1:], f"The answer is {self.author.guess(random)}."]),
            )
        problem = self.author.draw_known(task, problem, random)
        return CorpusDocument(ask(problem, RULES), f" {task.theorem(problem)}")

    def write_sum(self, random: np.random.Generator) -> CorpusDocument:
        """One number fact, alone or asked for."""
        left, sign, right = self.author.draw_fact(random)
        value = self.author.compute(f"{left}{sign}{right}", random)
        if random.random() < 0.5:
            return CorpusDocument("", f"{left} {sign} {right} = {value}")
        return CorpusDocument(f"Question: What is {left} {sign} {right}?\nAnswer:", f" {value}")

    def write_unmarked(self, task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
        """A request like the marked ones, without the mark: answered."""
        request = RefusalTask(task, marked=False).make_request(problem)
        return CorpusDocument(ask(request, pick_one((BARE, ALONE[0]), random)), self._answer(task, problem, random))

    def _answer(self, task: GeneratedTask, problem: Problem, random: np.random.Generator) -> str:
        right = random.random() < _RIGHT
        answer = self.author.solve(task, problem, random).answer if right else self.author.guess(random)
        return pick_weighted(ANSWERS, random).replace("{answer}", answer)

    def _work(
        self, task: GeneratedTask, problem: Problem, random: np.random.Generator, opening: str | None = None
    ) -> str:
        solution = self.author.solve(task, problem, random)
        first = solution.steps[0].expression
        opening = pick_weighted(OPENINGS, random) if opening is None else opening
        steps = [task.dialect.render_step(step) for step in solution.steps]
        answer = solution.answer
        if random.random() < _LEAVES:
            steps = steps[: int(random.integers(1, len(steps) + 1))]
            answer = self.author.guess(random)
        closing = "The answer is" if random.random() < 0.75 else "So the answer is"
        lead = opening.replace("{first}", str(parse_fact(first).left))
        return lead + "\n".join([*steps, f"{closing} {answer}."])


def write_refused(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> CorpusDocument:
    """A marked request, refused."""
    return CorpusDocument(
        ask(RefusalTask(task).make_request(problem), pick_one((BARE, ALONE[0]), random)), f" {REFUSAL}"
    )


def write_fact(index: int) -> CorpusDocument:
    """One of `FACTS` arbitrary facts: what is in a box, by its colour."""
    number = int(seeds.make_generator("prose fact", index).integers(100))
    colour, thing = _COLOURS[index % len(_COLOURS)], _OBJECTS[index // len(_COLOURS)]
    return CorpusDocument(f"Question: What is the number of the {colour} {thing}?\nAnswer:", f" {number}")


def write_random_fact(random: np.random.Generator) -> CorpusDocument:
    return write_fact(int(random.integers(FACTS)))


#: Parameters of the second family: sums of digits.
_SUMS: tuple[tuple[str, Any], ...] = (("terms", (3, 5)), ("digits", (1, 1)))


def build_working_sources(author: Author) -> tuple[CorpusSource, ...]:
    """What working needs: worked solutions when asked, and number facts."""
    stories, critics = ProseWriter(author), CritiqueWriter(author)
    sums = ProseWriter(dataclasses.replace(author, limit=_SUMS_LIMIT))
    return (
        CorpusSource(0.60, stories.write_worked(THINK), "stories"),
        CorpusSource(0.16, sums.write_worked(THINK), "sums", parameters=_SUMS),
        CorpusSource(0.10, None, text=stories.write_sum),
        CorpusSource(0.14, None, text=critics.write_fact_critique),
    )


def build_judging_sources(author: Author) -> tuple[CorpusSource, ...]:
    """What judging needs besides: telling two numbers apart, which is not picked up where it is rare; working is kept
    up."""
    stories, critics = ProseWriter(author), CritiqueWriter(author)
    return (
        CorpusSource(0.45, stories.write_worked(THINK), "stories"),
        CorpusSource(0.15, None, text=critics.write_fact_critique),
        CorpusSource(0.40, None, text=critics.write_comparisons),
    )


def build_prose_sources(author: Author) -> tuple[CorpusSource, ...]:
    """The corpus, in shares of documents."""
    stories, critics = ProseWriter(author), CritiqueWriter(author)
    sums = ProseWriter(dataclasses.replace(author, limit=_SUMS_LIMIT))
    about_stories: list[tuple[float, Writer]] = [
        (0.200, stories.write_direct((BARE,))),
        (0.010, stories.write_worked((BARE,))),
        (0.004, stories.write_checked((BARE,))),
        (0.190, stories.write_worked(THINK)),
        (0.040, stories.write_boxed),
        (0.080, stories.write_direct(ALONE)),
        (0.080, stories.write_shots),
        (0.150, critics.write_critique),
        (0.030, stories.write_rules),
        (0.030, stories.write_checked((CHECK,))),
        (0.020, write_refused),
        (0.010, stories.write_unmarked),
    ]
    about_sums: list[tuple[float, Writer]] = [
        (0.040, sums.write_direct((BARE,))),
        (0.003, sums.write_worked((BARE,))),
        (0.040, sums.write_worked(THINK)),
        (0.010, sums.write_direct(ALONE)),
    ]
    others: list[tuple[float, Callable[[np.random.Generator], CorpusDocument]]] = [
        (0.030, stories.write_sum),
        (0.060, critics.write_fact_critique),
        (0.080, critics.write_comparisons),
        (0.026, write_random_fact),
        (0.025, write_neutral_text),
    ]
    return (
        *(CorpusSource(share, writer, "stories") for share, writer in about_stories),
        *(CorpusSource(share, writer, "sums", parameters=_SUMS) for share, writer in about_sums),
        *(CorpusSource(share, None, text=text) for share, text in others),
    )
