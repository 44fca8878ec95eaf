"""Corrupted traces: solutions whose steps do not lead to their answer, which is always right (after 2505.13775).

    correct    3*4=5,5+5=3,#3      the worked solution
    swapped    2*6=5,5+1=6,#3      another problem's steps, this problem's answer
    shuffled   5+5=3,3*4=5,#3      its own steps in another order
    filler     =====,=====,#3      nothing in place of steps (2404.15758 has dots; a task's solutions may not)
    random     6+1=0,4*2=4,#3      left and right sides of other problems' steps, put together at random
    none       #3                  the bare answer

All but `none` have as many steps and characters as the worked solution, and only characters that occur in the task's
worked solutions, so that arms trained on them differ in nothing else: `measure_distance` gives the remaining difference
(swapped and random have one if no problem of the right length is found). Other problems come from the problem's own
split. Steps that are all equal are swapped where they cannot be shuffled (3 in 1,000 of addition's). Shuffled, swapped
and random are drawn again where the family finds that the steps lead to the answer after all.

Differences from the paper: it swaps whole traces of A* search, and the other kinds here are controls; lengths are
matched in characters, which for an organism are tokens and for a real model's tokenizer are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, NoReturn, get_args

import numpy as np

from elicit import seeds
from elicit.errors import ElicitError, unknown_name_error
from elicit.tasks.core import Problem, Task, content_id, split_of
from elicit.tasks.families.family import SolutionStep
from elicit.tasks.generated.task import GeneratedTask
from elicit.tasks.prompts import AskedTask

Corruption = Literal["correct", "swapped", "shuffled", "filler", "random", "none"]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
#: Number of other problems searched for steps of the right number and length, and number used for random steps.
_DONORS, _PIECES = 400, 48
#: Most orders, or random traces, to try for one that does not lead to the answer.
_PATIENCE = 30


class Distance(NamedTuple):
    """Difference in form between a text and the worked solution: (0, 0) if the lengths are equal."""

    steps: int
    characters: int


def corrupt_solution(task: Task, problem: Problem, kind: Corruption, *, seed: int) -> str:
    """Solution of `problem` in the task's own form, with the right answer and steps of this kind.

    Random numbers depend on (seed, problem, kind).

    Raises:
        ElicitError: unknown kind, a task that is not generated, or a single step that should be shuffled.
    """
    if kind not in CORRUPTIONS:
        raise unknown_name_error("corruption", kind, CORRUPTIONS)
    inner, inner_problem = unwrap_generated_task(task, problem, "corrupted")
    if inner is not task:  # prefix that the prompt conditions put in front of a solution
        bare, wrapped = inner.direct(inner_problem), task.direct(problem)
        return wrapped.removesuffix(bare) + corrupt_solution(inner, inner_problem, kind, seed=seed)
    if kind == "none":
        return inner.direct(inner_problem)
    right = inner.family.solve(inner_problem.content, {})
    random = seeds.make_generator("corrupted", inner.name, inner_problem.id, kind, seed)
    step_texts = _render_steps(inner, right.steps)
    if kind == "filler":
        step_texts = [_render_filler(text) for text in step_texts]
    elif kind != "correct":
        draw = {"swapped": _swap_steps, "shuffled": _shuffle_steps, "random": _randomize_steps}[kind]
        step_texts = _render_steps(inner, draw(inner, inner_problem, right.steps, random))
    return inner.dialect.render_solution(step_texts, right.answer)


def measure_distance(task: Task, problem: Problem, text: str) -> Distance:
    """Steps and characters that `text`, from `corrupt_solution`, has more or fewer than the worked solution."""
    inner, _ = unwrap_generated_task(task, problem, "corrupted")
    between = inner.dialect.render_solution(["\0", "\0"], "").split("\0")[1]
    worked = corrupt_solution(task, problem, "correct", seed=0)
    return Distance(abs(text.count(between) - worked.count(between)), abs(len(text) - len(worked)))


def unwrap_generated_task(task: Task, problem: Problem, what: str) -> tuple[GeneratedTask, Problem]:
    """(generated task without its prompt conditions, its own problem).

    Args:
        what: participle for the message, such as "corrupted".

    Raises:
        ElicitError: a task that is not generated.
    """
    while isinstance(task, AskedTask):
        task, problem = task.inner, problem.content.problem
    if not isinstance(task, GeneratedTask):
        raise ElicitError(
            f"task {task.name!r}: its solutions are not written by a program, so their steps cannot be {what}. "
            "Use a generated task such as addition or transforms."
        )
    return task, problem


def _render_steps(task: GeneratedTask, steps: Sequence[SolutionStep]) -> list[str]:
    return [task.dialect.render_step(step) for step in steps]


def _render_filler(text: str) -> str:
    """Equals signs, which every worked solution has; every other character is a space if steps are spaced."""
    return ("= " * len(text))[: len(text) - 1] + "=" if " " in text else "=" * len(text)


def _is_valid_trace(task: GeneratedTask, problem: Problem, steps: Sequence[SolutionStep]) -> bool:
    """Return True if the family accepts the steps: stricter than for English, where each claim is checked alone."""
    return task.family.is_valid_trace(problem.content, steps, problem.answer)


def _shuffle_steps(
    task: GeneratedTask, problem: Problem, steps: Sequence[SolutionStep], random: np.random.Generator
) -> Sequence[SolutionStep]:
    if len(steps) > 1 and len(set(steps)) == 1:  # 11+22: all orders are equal, and a right trace must not slip in
        return _swap_steps(task, problem, steps, random)
    if len(steps) < 2:
        raise ElicitError(
            f"task {task.name!r}, problem {problem.id}: its one worked step has no other order, so it cannot be "
            "shuffled. Use a task of at least two steps."
        )
    orders = (tuple(steps[i] for i in random.permutation(len(steps))) for _ in range(_PATIENCE))
    others = [order for order in orders if order != tuple(steps)] or [(*steps[1:], steps[0])]
    return next((order for order in others if not _is_valid_trace(task, problem, order)), others[0])


def _sample_donor_steps(
    task: GeneratedTask, problem: Problem, random: np.random.Generator
) -> Iterator[Sequence[SolutionStep]]:
    """Worked steps of other problems of the same split, so that no test problem's steps reach a train problem."""
    split = split_of(problem.id)
    for _ in range(_DONORS):
        content = task.family.sample_content(random)
        identity = content_id(task.name, task.family.canonical_key(content))
        if identity != problem.id and split_of(identity) == split:
            yield task.family.solve(content, {}).steps


def _swap_steps(
    task: GeneratedTask, problem: Problem, steps: Sequence[SolutionStep], random: np.random.Generator
) -> Sequence[SolutionStep]:
    """Steps of the other problem that is nearest in number of steps, then of characters; the first exact match."""

    def distance_to(other: Sequence[SolutionStep]) -> Distance:
        return Distance(abs(len(other) - len(steps)), abs(_measure_steps(task, other) - size))

    best: Sequence[SolutionStep] | None = None
    size = _measure_steps(task, steps)
    for other in _sample_donor_steps(task, problem, random):
        if (best is None or distance_to(other) < distance_to(best)) and not _is_valid_trace(task, problem, other):
            best = other
            if distance_to(best) == (0, 0):
                break
    return best if best is not None else _raise_no_donor(task, problem)


def _randomize_steps(
    task: GeneratedTask, problem: Problem, steps: Sequence[SolutionStep], random: np.random.Generator
) -> Sequence[SolutionStep]:
    """Steps whose sides are drawn among sides of equal length; a length missing in one is made up for in the next."""
    pool = [
        step
        for other, _ in zip(_sample_donor_steps(task, problem, random), range(_PIECES), strict=False)
        for step in other
    ]
    if not pool:
        _raise_no_donor(task, problem)
    lefts = _group_by_length({step.expression: _measure_expression(task, step.expression) for step in pool})
    rights = _group_by_length({step.value: len(step.value) for step in pool})
    for _ in range(_PATIENCE):
        result: list[SolutionStep] = []
        missing = 0
        for step in steps:
            missing += _measure_expression(task, step.expression)
            size, left = _pick_nearest_length(lefts, missing, random)
            missing += len(step.value) - size
            size, right = _pick_nearest_length(rights, missing, random)
            missing -= size
            result.append(SolutionStep(left, right))
        if not _is_valid_trace(task, problem, result):
            break
    return result


def _group_by_length(lengths: Mapping[str, int]) -> dict[int, list[str]]:
    groups: dict[int, list[str]] = {}
    for text, length in lengths.items():
        groups.setdefault(length, []).append(text)
    return groups


def _pick_nearest_length(
    texts: Mapping[int, Sequence[str]], length: int, random: np.random.Generator
) -> tuple[int, str]:
    """(length, text) of a random text among those of the nearest length."""
    nearest = min(texts, key=lambda size: (abs(size - length), size))
    return nearest, texts[nearest][int(random.integers(len(texts[nearest])))]


def _measure_expression(task: GeneratedTask, left: str) -> int:
    """Length of a step's left side as it is written."""
    return len(task.dialect.render_step(SolutionStep(left, "0")))


def _measure_steps(task: GeneratedTask, steps: Sequence[SolutionStep]) -> int:
    return sum(map(len, _render_steps(task, steps)))


def _raise_no_donor(task: GeneratedTask, problem: Problem) -> NoReturn:
    raise ElicitError(
        f"task {task.name!r}, problem {problem.id}: no other problem of its split was found in {_DONORS} draws to take "
        "steps from. Widen the parameters."
    )
