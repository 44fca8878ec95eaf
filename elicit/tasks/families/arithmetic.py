"""Arithmetic expressions over given numbers, parsed and judged without ever being run as code.

They are parsed by `ast` with a whitelist (whole numbers, + - * / and a minus sign), with limits on length, depth and
size of numbers. Values are exact fractions.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from elicit.tasks.families.family import SolutionStep

#: Most characters and nesting levels of an expression, and the first whole number that is too large.
LENGTH, DEPTH, TOO_LARGE = 120, 60, 10**9
_WRITTEN = re.compile(r"[0-9+\-*/() ]+")
_NUMBER = re.compile(r"-?[0-9]{1,30}(/[0-9]{1,30})?")
#: A claim after an answer: `3*7+5=26` is `3*7+5` with a claim, and the claim is not the answer.
_CLAIM = re.compile(r" *= *-?[0-9]{1,12}$")
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-"})
_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
#: AST node of each sign.
NODES: dict[str, type[ast.operator]] = {sign: node for node, sign in _OPERATORS.items()}


# --- reading -----------------------------------------------------------------------------------------------------


def parse_expression(text: str) -> ast.expr | None:
    """Tree of an expression, None for anything else. Total and bounded for any string."""
    if len(text) > LENGTH:
        return None
    text = text.translate(_SIGNS).strip()
    if not _WRITTEN.fullmatch(text):
        return None
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree if _is_allowed(tree, DEPTH) else None


def _is_allowed(node: ast.expr, depth: int) -> bool:
    if depth == 0:
        return False
    match node:
        case ast.Constant(value=value):
            return type(value) is int and value < TOO_LARGE
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _is_allowed(operand, depth - 1)
        case ast.BinOp(left=left, op=op, right=right):
            return type(op) in _OPERATORS and _is_allowed(left, depth - 1) and _is_allowed(right, depth - 1)
    return False


def normalize_expression(text: str) -> str | None:
    """Normal form of an expression: no spaces, no needless parentheses, no trailing claim (`=26`).

    Idempotent, and it keeps the value.
    """
    tree = parse_expression(_CLAIM.sub("", text)) if len(text) <= LENGTH else None
    flat = None if tree is None else _flatten_tree(tree)
    return None if flat is None or not _is_allowed(flat, DEPTH) else _unparse_tree(flat)


def render_expression(tree: ast.expr) -> str:
    """Normal form of a tree."""
    return _unparse_tree(_flatten_tree(tree))


def _unparse_tree(tree: ast.expr) -> str:
    return ast.unparse(tree).replace(" ", "")


def _flatten_tree(node: ast.expr) -> ast.expr:
    """Tree without needless parentheses: a+(b-c) is a+b-c and a*(b/c) is a*b/c."""
    if isinstance(node, ast.UnaryOp):
        return ast.UnaryOp(node.op, _flatten_tree(node.operand))
    if not isinstance(node, ast.BinOp):
        return node
    return _join_operands(_flatten_tree(node.left), node.op, _flatten_tree(node.right))


def _join_operands(left: ast.expr, op: ast.operator, right: ast.expr) -> ast.expr:
    level = {ast.Add: (ast.Add, ast.Sub), ast.Mult: (ast.Mult, ast.Div)}.get(type(op), ())
    if isinstance(right, ast.BinOp) and isinstance(right.op, level):
        return ast.BinOp(_join_operands(left, op, right.left), right.op, right.right)
    return ast.BinOp(left, op, right)


def evaluate_expression(node: ast.expr) -> Fraction | None:
    """Exact value of a parsed expression, None if it divides by zero."""
    match node:
        case ast.Constant(value=int(value)):
            return Fraction(value)
        case ast.UnaryOp(operand=operand):
            inner = evaluate_expression(operand)
            return None if inner is None else -inner
        case ast.BinOp(left=left, op=op, right=right):
            a, b = evaluate_expression(left), evaluate_expression(right)
            return None if a is None or b is None else apply_operator(_OPERATORS[type(op)], a, b)
    raise TypeError(f"not a parsed expression: {node!r}")


def apply_operator(sign: str, a: Fraction, b: Fraction) -> Fraction | None:
    """Exact result of one operation; None for a division by zero."""
    if sign == "+":
        return a + b
    if sign == "-":
        return a - b
    if sign == "*":
        return a * b
    return a / b if b else None


def count_numbers(tree: ast.expr) -> Counter[int]:
    """Whole numbers written in an expression, with their counts."""
    values = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return Counter(value for value in values if isinstance(value, int))


def makes_target(answer: str, numbers: Sequence[int], target: int, *, use_all: bool) -> bool:
    """Return True if `answer` is an expression over these numbers, each used at most once, that makes `target`."""
    tree = parse_expression(answer)
    if tree is None:
        return False
    used, available = count_numbers(tree), Counter(numbers)
    fits = used == available if use_all else used <= available
    return fits and evaluate_expression(tree) == target


# --- checking a trace --------------------------------------------------------------------------------------------


def is_trace_to_target(answer: str, target: int, steps: Sequence[SolutionStep]) -> bool:
    """Return True if every step is true and together they work out `answer`.

    The steps start from the numbers of the answer. Each step replaces numbers with its value, until only the target is
    left. So a step with a number that is neither given nor computed, a missing step and a useless step all make the
    trace invalid. The order of independent steps does not matter.
    """
    tree = parse_expression(answer)
    if tree is None:
        return False
    pool = Counter({Fraction(number): count for number, count in count_numbers(tree).items()})
    if len(steps) >= pool.total():
        return False
    for step in steps:
        left = parse_expression(step.expression)
        if not isinstance(left, ast.BinOp) or not _NUMBER.fullmatch(step.value):
            return False
        value = evaluate_expression(left)
        if value is None or str(value) != step.value or not _take_numbers(left, pool):
            return False
        pool[value] += 1
    return +pool == Counter({Fraction(target): 1})


def _take_numbers(node: ast.expr, pool: Counter[Fraction]) -> bool:
    """Remove the numbers of an expression from the pool; False if one is not there."""
    value = evaluate_expression(node)
    if _is_one_number(node) and value is not None and pool[value] > 0:
        pool[value] -= 1
        return True
    match node:
        case ast.UnaryOp(operand=operand):
            return _take_numbers(operand, pool)
        case ast.BinOp(left=left, right=right):
            return _take_numbers(left, pool) and _take_numbers(right, pool)
    return False


def _is_one_number(node: ast.expr) -> bool:
    """Return True for `7`, `-7` and the fraction `7/2`, which may be a number computed before."""
    match node:
        case ast.UnaryOp(operand=operand):
            return _is_one_number(operand)
        case ast.BinOp(left=ast.Constant(value=int(a)), op=ast.Div(), right=ast.Constant(value=int(b))):
            return b != 0 and a % b != 0
        case ast.BinOp(left=ast.UnaryOp(operand=ast.Constant()), op=ast.Div(), right=ast.Constant()):
            return True
    return isinstance(node, ast.Constant)
