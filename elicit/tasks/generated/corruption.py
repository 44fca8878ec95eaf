"""Corrupted traces: solutions whose steps do not lead to their answer, which is always right (after 2505.13775).

    correct    3*4=5,5+5=3,#3      the worked solution
    swapped    2*6=5,5+1=6,#3      another problem's steps, this problem's answer
    shuffled   5+5=3,3*4=5,#3      its own steps in another order
    filler     =====,=====,#3      nothing in place of steps (2404.15758 has dots; a task's solutions may not)
    random     6+1=0,4*2=4,#3      left and right sides of other problems' steps, put together at random
    none       #3                  the bare answer

All but `none` have as many steps and characters as the worked solution, and only characters that occur in the task's
worked solutions, so that arms trained on them differ in nothing else: `distance` says by how much a text misses that
(swapped and random may, where no problem of the right length is found). Other problems come from the problem's own
split. Steps that are all equal are swapped where they cannot be shuffled (3 in 1,000 of addition's). Shuffled, swapped
and random are drawn again where the family finds that the steps lead to the answer after all.

Where this differs from the paper: it swaps whole traces of A* search and the other kinds here are controls; lengths are
matched in characters, which for an organism are tokens and for a real model's tokenizer are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, NoReturn, get_args

import numpy as np

from elicit import seeds
from elicit.errors import ElicitError, unknown
from elicit.tasks.core import Problem, Task, content_id, split_of
from elicit.tasks.families.family import Step
from elicit.tasks.generated.task import GeneratedTask
from elicit.tasks.prompts import AskedTask

Corruption = Literal["correct", "swapped", "shuffled", "filler", "random", "none"]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
#: Other problems that are looked at for steps of the right number and length, and those random steps are made of.
_DONORS, _PIECES = 400, 48
#: Orders, and random traces, that are tried for one that does not lead to the answer.
_PATIENCE = 30


class Distance(NamedTuple):
    """How far a text is from the worked solution in form: (0, 0) where lengths are kept."""

    steps: int
    characters: int


def corrupted(task: Task, problem: Problem, kind: Corruption, *, seed: int) -> str:
    """A solution of `problem` in the task's own form, with the right answer and steps of this kind.

    Random numbers belong to (seed, problem, kind).

    Raises:
        ElicitError: unknown kind, a task whose problems no program draws, or a single step to be shuffled.
    """
    if kind not in CORRUPTIONS:
        raise unknown("corruption", kind, CORRUPTIONS)
    inner, own = written_task(task, problem, "corrupted")
    if inner is not task:  # what the asked task puts in front of a solution
        bare, asked = inner.direct(own), task.direct(problem)
        return asked.removesuffix(bare) + corrupted(inner, own, kind, seed=seed)
    if kind == "none":
        return inner.direct(own)
    right = inner.family.solve(own.content, {})
    random = seeds.generator("corrupted", inner.name, own.id, kind, seed)
    written = _written(inner, right.steps)
    if kind == "filler":
        written = [_filler(text) for text in written]
    elif kind != "correct":
        draw = {"swapped": _swapped, "shuffled": _shuffled, "random": _random}[kind]
        written = _written(inner, draw(inner, own, right.steps, random))
    return inner.dialect.joined(written, right.answer)


def distance(task: Task, problem: Problem, text: str) -> Distance:
    """How many steps and characters `text`, from `corrupted`, has more or fewer than the worked solution."""
    inner, _ = written_task(task, problem, "corrupted")
    between = inner.dialect.joined(["\0", "\0"], "").split("\0")[1]
    worked = corrupted(task, problem, "correct", seed=0)
    return Distance(abs(text.count(between) - worked.count(between)), abs(len(text) - len(worked)))


def written_task(task: Task, problem: Problem, what: str) -> tuple[GeneratedTask, Problem]:
    """The task that solves, without the words around it, and its own problem.

    Args:
        what: is to be done to the steps ("corrupted").

    Raises:
        ElicitError: a task whose solutions no program writes.
    """
    while isinstance(task, AskedTask):
        task, problem = task.inner, problem.content.problem
    if not isinstance(task, GeneratedTask):
        raise ElicitError(
            f"task {task.name!r}: its solutions are not written by a program, so their steps cannot be {what}. "
            "Use a generated task such as addition or transforms."
        )
    return task, problem


def _written(task: GeneratedTask, steps: Sequence[Step]) -> list[str]:
    return [task.dialect.stated(step) for step in steps]


def _filler(text: str) -> str:
    """Equals signs, which every worked solution has; with every other one a space where steps are spaced."""
    return ("= " * len(text))[: len(text) - 1] + "=" if " " in text else "=" * len(text)


def _leads(task: GeneratedTask, problem: Problem, steps: Sequence[Step]) -> bool:
    """Whether the family takes the steps for valid: stricter than a reader of English, who checks each claim alone."""
    return task.family.trace_is_valid(problem.content, steps, problem.answer)


def _shuffled(
    task: GeneratedTask, problem: Problem, steps: Sequence[Step], random: np.random.Generator
) -> Sequence[Step]:
    if len(steps) > 1 and len(set(steps)) == 1:  # 11+22: no order is another, and a right trace must not slip in
        return _swapped(task, problem, steps, random)
    if len(steps) < 2:
        raise ElicitError(
            f"task {task.name!r}, problem {problem.id}: its one worked step has no other order, so it cannot be "
            "shuffled. Use a task of at least two steps."
        )
    orders = (tuple(steps[i] for i in random.permutation(len(steps))) for _ in range(_PATIENCE))
    others = [order for order in orders if order != tuple(steps)] or [(*steps[1:], steps[0])]
    return next((order for order in others if not _leads(task, problem, order)), others[0])


def _donors(task: GeneratedTask, problem: Problem, random: np.random.Generator) -> Iterator[Sequence[Step]]:
    """The worked steps of other problems of the same split: a test problem never lends its own to a train problem."""
    split = split_of(problem.id)
    for _ in range(_DONORS):
        content = task.family.draw(random)
        identity = content_id(task.name, task.family.key(content))
        if identity != problem.id and split_of(identity) == split:
            yield task.family.solve(content, {}).steps


def _swapped(
    task: GeneratedTask, problem: Problem, steps: Sequence[Step], random: np.random.Generator
) -> Sequence[Step]:
    """Of the other problem that is nearest in number of steps, then of characters: the first that is equal in both."""

    def far(other: Sequence[Step]) -> Distance:
        return Distance(abs(len(other) - len(steps)), abs(_size(task, other) - size))

    best: Sequence[Step] | None = None
    size = _size(task, steps)
    for other in _donors(task, problem, random):
        if (best is None or far(other) < far(best)) and not _leads(task, problem, other):
            best = other
            if far(best) == (0, 0):
                break
    return best if best is not None else _none(task, problem)


def _random(
    task: GeneratedTask, problem: Problem, steps: Sequence[Step], random: np.random.Generator
) -> Sequence[Step]:
    """Each side of each step is drawn among those of its length, and a missing length is made up for in the next."""
    pool = [step for other, _ in zip(_donors(task, problem, random), range(_PIECES), strict=False) for step in other]
    if not pool:
        _none(task, problem)
    lefts = _by_length({step.expression: _length(task, step.expression) for step in pool})
    rights = _by_length({step.value: len(step.value) for step in pool})
    for _ in range(_PATIENCE):
        made: list[Step] = []
        missing = 0
        for step in steps:
            missing += _length(task, step.expression)
            size, left = _near(lefts, missing, random)
            missing += len(step.value) - size
            size, right = _near(rights, missing, random)
            missing -= size
            made.append(Step(left, right))
        if not _leads(task, problem, made):
            break
    return made


def _by_length(lengths: Mapping[str, int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for text, length in lengths.items():
        found.setdefault(length, []).append(text)
    return found


def _near(texts: Mapping[int, Sequence[str]], length: int, random: np.random.Generator) -> tuple[int, str]:
    """One of the texts whose length is nearest, with its length."""
    nearest = min(texts, key=lambda size: (abs(size - length), size))
    return nearest, texts[nearest][int(random.integers(len(texts[nearest])))]


def _length(task: GeneratedTask, left: str) -> int:
    """Of a step's left side, as it is written there."""
    return len(task.dialect.stated(Step(left, "0")))


def _size(task: GeneratedTask, steps: Sequence[Step]) -> int:
    return sum(map(len, _written(task, steps)))


def _none(task: GeneratedTask, problem: Problem) -> NoReturn:
    raise ElicitError(
        f"task {task.name!r}, problem {problem.id}: no other problem of its split was found in {_DONORS} draws to take "
        "steps from. Widen the parameters."
    )
