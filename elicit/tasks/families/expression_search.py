"""Search for expressions that make a target, and wrong values for their steps.

The search is depth-first in a fixed order, so the same numbers always get the same solution.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations

import numpy as np

from elicit.errors import ElicitError
from elicit.tasks.families.arithmetic import NODES, apply_operator, makes_target, render_expression
from elicit.tasks.families.family import Solution, SolutionStep

#: Indices of the two operands among the values so far (given ones first), and the sign between them.
Move = tuple[int, str, int]
_Live = tuple[tuple[int, int], ...]


@lru_cache(maxsize=50_000)
def plan_moves(values: tuple[int, ...], target: int, use_all: bool) -> tuple[Move, ...] | None:
    """Moves that make `target`, with every intermediate value whole and not negative; None if there are none.

    All values are used if possible; otherwise, with `use_all` false, as many as possible.
    """
    live = tuple((value, index) for index, value in enumerate(values))
    for size in range(len(values), 0, -1):
        for chosen in combinations(live, size):
            moves = _search_moves(chosen, len(values), target, set())
            if moves is not None:
                return moves
        if use_all:
            break
    return None


def _search_moves(live: _Live, next_index: int, target: int, dead: set[tuple[int, ...]]) -> tuple[Move, ...] | None:
    """Depth-first search. `live` holds (value, index); `dead` remembers sets of values that lead nowhere."""
    if len(live) == 1:
        return () if live[0][0] == target else None
    state = tuple(sorted(value for value, _ in live))
    if state in dead:
        return None
    for pair in combinations(live, 2):
        (a, x), (b, y) = sorted(pair, key=lambda item: -item[0])
        rest = tuple(item for item in live if item not in pair)
        results = [("+", a + b), ("-", a - b), ("*", a * b)]
        if b and a % b == 0:
            results.append(("/", a // b))
        for sign, value in results:
            tail = _search_moves((*rest, (value, next_index)), next_index + 1, target, dead)
            if tail is not None:
                return ((x, sign, y), *tail)
    dead.add(state)
    return None


def build_solution(values: tuple[int, ...], target: int, slips: Mapping[int, str], *, use_all: bool) -> Solution:
    """Solution by the planned moves. After a slip the rest is planned anew from the wrong value, as if it were right.

    Where the target cannot be reached from the wrong value, the rest follows the old plan.

    Raises:
        ElicitError: the numbers cannot make the target.
    """
    moves = _require_moves(values, target, use_all)
    results = [Fraction(value) for value in values]
    trees: list[ast.expr] = [ast.Constant(value) for value in values]
    live = dict.fromkeys(range(len(values)))
    steps: list[SolutionStep] = []
    while moves:
        (x, sign, y), *rest = moves
        exact = apply_operator(sign, results[x], results[y])
        if exact is None:  # only after a slip: a wrong value brought a division by zero, and the work ends there
            break
        value = Fraction(slips.get(len(steps), str(exact)))
        steps.append(SolutionStep(f"{_render_operand(results[x])}{sign}{_render_operand(results[y])}", str(value)))
        trees.append(ast.BinOp(trees[x], NODES[sign](), trees[y]))
        results.append(value)
        del live[x], live[y]
        live[len(results) - 1] = None
        moves = tuple(rest) if value == exact else _replan_moves(results, list(live), target, use_all) or tuple(rest)
    return Solution(tuple(steps), render_expression(trees[-1]))


def describe_rules(values: tuple[int, ...], target: int, *, use_all: bool) -> tuple[str, ...]:
    """Rule behind each planned step: both values are still unused, and the operation stays in whole numbers from 0.

    Raises:
        ElicitError: the numbers cannot make the target.
    """
    moves = _require_moves(values, target, use_all)
    results = [Fraction(value) for value in values]
    left = list(range(len(values)))
    statements = []
    for x, sign, y in moves:
        a, b = results[x], results[y]
        fits = {"-": f" and {b} is at most {a}", "/": f" and {b} divides {a}"}.get(sign, "")
        there = " ".join(str(results[index]) for index in left)
        statements.append(f"rule two values left make one: left {there}{fits}: {a} and {b}")
        exact = apply_operator(sign, a, b)
        assert exact is not None
        results.append(exact)
        left = [index for index in left if index not in (x, y)] + [len(results) - 1]
    return tuple(statements)


def _require_moves(values: tuple[int, ...], target: int, use_all: bool) -> tuple[Move, ...]:
    moves = plan_moves(values, target, use_all)
    if moves is None:
        raise ElicitError(f"the numbers {', '.join(map(str, values))} cannot make {target}.")
    return moves


def _render_operand(value: Fraction) -> str:
    return str(value) if value.denominator == 1 and value >= 0 else f"({value})"


def _replan_moves(results: list[Fraction], live: list[int], target: int, use_all: bool) -> tuple[Move, ...] | None:
    if any(results[index].denominator != 1 for index in live):
        return None
    moves = plan_moves(tuple(int(results[index]) for index in live), target, use_all)
    shift = len(results) - len(live)
    places = [*live, *(index + shift for index in range(len(live), 2 * len(live)))]
    return None if moves is None else tuple((places[x], sign, places[y]) for x, sign, y in moves)


# --- drawing -----------------------------------------------------------------------------------------------------


def choose_wrong_value(
    solution: Solution, step: int, values: tuple[int, ...], target: int, use_all: bool, random: np.random.Generator
) -> str:
    """Wrong value near the right one, if possible one that makes the answer wrong."""
    right = int(solution.steps[step].value)
    near = [right + shift for shift in random.permutation([*range(-12, 0), *range(1, 13)]).tolist()]
    near = [value for value in near if value > 0]
    for value in near:
        answer = build_solution(values, target, {step: str(value)}, use_all=use_all).answer
        if not makes_target(answer, values, target, use_all=use_all):
            return str(value)
    return str(near[0])


def sample_expression(values: Sequence[int], random: np.random.Generator) -> str:
    """Expression over all the numbers, in random order with random signs, worked from left to right."""
    shuffled = random.permutation(list(values)).tolist()
    tree: ast.expr = ast.Constant(shuffled[0])
    for number in shuffled[1:]:
        sign = "+-*/"[int(random.integers(4))]
        tree = ast.BinOp(tree, NODES[sign](), ast.Constant(number))
    return render_expression(tree)
