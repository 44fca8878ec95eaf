"""Each family's answers against a reference that shares no code with it."""

from __future__ import annotations

import ast
import re
from collections import Counter
from fractions import Fraction
from itertools import combinations_with_replacement, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.tasks import get
from elicit.tasks.families.arithmetic import makes_target, normalize_expression
from elicit.tasks.families.expression_search import build_solution, plan_moves
from elicit.tasks.families.general_points import GeneralPoints
from elicit.tasks.generated.task import SolutionStep


def questions(name: str, n: int = 150, **parameters: object) -> list[tuple[str, str]]:
    """(question as printed, answer)"""
    problems = get(name, **parameters).problems("train", n)
    return [(p.prompt.removeprefix("Q:").removesuffix("\nA:"), p.answer) for p in problems]


def test_addition() -> None:
    for question, answer in questions("addition", digits=(1, 12)):
        assert eval(question) == int(answer)
    assert all(no_carry(q) for q, _ in questions("addition", 40, digits=3, carries=False))
    assert not any(no_carry(q) for q, _ in questions("addition", 40, digits=3, carries=True))


def no_carry(question: str) -> bool:
    """A sum has no carry exactly when its digits sum to the digits of its terms."""
    digits = sum(int(digit) for digit in question if digit != "+")
    return sum(map(int, str(eval(question)))) == digits


def test_mod_chain() -> None:
    for question, answer in questions("mod_chain", steps=(1, 12)):
        operations = re.findall("[+*]", question)
        from_the_left = "(" * len(operations) + re.sub("([+*])", r")\1", question)
        assert eval(from_the_left) % 7 == int(answer)


def test_permutation() -> None:
    for question, answer in questions("permutation", letters=5):
        letters, _, swaps = question.partition(":")
        place = dict(enumerate(letters))
        for swap in swaps.split(","):
            a, b = (int(digit) - 1 for digit in swap)
            place |= {a: place[b], b: place[a]}
        assert "".join(place[i] for i in range(5)) == answer


def test_assign() -> None:
    for question, answer in questions("assign", steps=(1, 9)):
        *lines, asked = question.split(";")
        formula = dict(line.split("=") for line in lines)
        text = asked
        while any(letter.isalpha() for letter in text):
            text = "".join(f"({formula[c]})" if c.isalpha() else c for c in text)
        assert eval(text) % 10 == int(answer)


def values_of(numbers: tuple[int, ...]) -> set[Fraction]:
    """Everything an expression over exactly these numbers can make, by splitting them into two groups."""
    if len(numbers) == 1:
        return {Fraction(numbers[0])}
    made: set[Fraction] = set()
    for mask in range(1, 2 ** len(numbers) - 1):
        left = tuple(n for i, n in enumerate(numbers) if mask >> i & 1)
        right = tuple(n for i, n in enumerate(numbers) if not mask >> i & 1)
        for a, b in product(values_of(left), values_of(right)):
            made |= {a + b, a - b, a * b} | ({a / b} if b else set())
    return made


def test_countdown() -> None:
    for question, answer in questions("countdown", 60):
        numbers, _, target = question.partition(">")
        assert eval(answer) == int(target)
        assert not Counter(literals(answer)) - Counter(map(int, numbers.split(",")))


def literals(expression: str) -> list[int]:
    return [node.value for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Constant)]


@pytest.mark.parametrize("faces", ["ten", "rank"])
def test_general_points(faces: str) -> None:
    worth = {"A": 1} | (dict.fromkeys("JQK", 10) if faces == "ten" else {"J": 11, "Q": 12, "K": 13})
    for question, answer in questions("general_points", 80, faces=faces, require_face=True):
        rule, cards, _ = question.replace(">", ":").split(":")
        assert rule == {"ten": "JQK=10", "rank": "JQK=11,12,13"}[faces]
        values = [worth.get(card) or int(card) for card in cards.split(",")]
        assert set(cards.split(",")) & set("JQK")
        assert eval(answer) == 24
        assert sorted(literals(answer)) == sorted(values)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 13), min_size=2, max_size=4), st.integers(0, 60))
def test_the_solver_agrees_with_brute_force(numbers: list[int], target: int) -> None:
    """What it finds is reachable; what it gives up on is not, by whole numbers that stay at or above zero."""
    moves = plan_moves(tuple(numbers), target, True)
    assert (moves is not None) == (target in whole_values(tuple(sorted(numbers)), {}))
    if moves is not None:
        assert target in values_of(tuple(numbers))


def test_the_solver_gives_up_on_no_hand_that_works() -> None:
    hands = list(combinations_with_replacement(range(1, 8), 4))
    known: dict[tuple[int, ...], set[int]] = {}
    solvable = [hand for hand in hands if 24 in whole_values(hand, known)]
    assert [hand for hand in hands if plan_moves(hand, 24, True) is not None] == solvable
    assert 100 < len(solvable) < len(hands)


def test_work_goes_on_from_a_wrong_value() -> None:
    """With a way to the target the rest is planned anew; without one the old plan is followed."""
    right = build_solution((3, 5, 7), 26, {}, use_all=False)
    assert [step.text for step in right.steps] == ["7*3=21", "21+5=26"]
    assert right.answer == "7*3+5"
    led_astray = build_solution((3, 5, 7), 26, {0: "31"}, use_all=False)
    assert [step.text for step in led_astray.steps] == ["7*3=31", "31-5=26"]
    assert led_astray.answer == "7*3-5"
    stuck = build_solution((3, 5, 7), 26, {0: "24"}, use_all=False)
    assert [step.text for step in stuck.steps] == ["7*3=24", "24+5=29"]
    assert stuck.answer == "7*3+5"


def whole_values(numbers: tuple[int, ...], known: dict[tuple[int, ...], set[int]]) -> set[int]:
    if len(numbers) == 1:
        return set(numbers)
    if numbers not in known:
        made: set[int] = set()
        for mask in range(1, 2 ** len(numbers) - 1):
            left = tuple(n for i, n in enumerate(numbers) if mask >> i & 1)
            right = tuple(n for i, n in enumerate(numbers) if not mask >> i & 1)
            for a, b in product(whole_values(left, known), whole_values(right, known)):
                made |= {a + b, a * b} | ({a - b} if a >= b else set())
                made |= {a // b} if b and a % b == 0 else set()
        known[numbers] = made
    return known[numbers]


# --- expressions ---------------------------------------------------------------------------------------------------

NUMBER = st.integers(0, 30).map(str)
EXPRESSION = st.recursive(
    NUMBER,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner),
        st.builds("{}{}({})".format, NUMBER, st.sampled_from("+-*/"), inner),
        st.builds("-({})".format, inner),
    ),
    max_leaves=8,
)


class Exact(ast.NodeTransformer):
    """Literals become fractions, so that Python's own evaluation is exact."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Call(ast.Name("Fraction", ast.Load()), [node], [])


def exactly(expression: str) -> Fraction | None:
    tree = ast.fix_missing_locations(Exact().visit(ast.parse(expression, mode="eval")))
    try:
        return eval(compile(tree, "test", "eval"), {"Fraction": Fraction})
    except ZeroDivisionError:
        return None


@settings(max_examples=300, deadline=None)
@given(EXPRESSION)
def test_expressions_agree_with_python(text: str) -> None:
    value, numbers = exactly(text), literals(text)
    normal = normalize_expression(text)
    if len(text) > 120:
        assert normal is None
        return
    assert normal is not None
    assert normalize_expression(normal) == normal
    assert " " not in normal
    assert len(normal) <= len(text)
    assert exactly(normal) == value
    assert sorted(literals(normal)) == sorted(numbers)
    if value is not None and value.denominator == 1:
        target = int(value)
        assert makes_target(normal, numbers, target, use_all=True)
        assert makes_target(text, [*numbers, 7], target, use_all=False)
        assert not makes_target(text, [*numbers, 7], target, use_all=True)
        assert not makes_target(text, numbers[1:], target, use_all=False)
        assert not makes_target(text, numbers, target + 1, use_all=False)
    elif value is None:
        assert not any(makes_target(text, numbers, target, use_all=True) for target in range(3))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("(3*7)+5", "3*7+5"),
        ("5 + (3 + 7)", "5+3+7"),
        ("2*(6/3)", "2*6/3"),
        ("8/(3-8/3)", "8/(3-8/3)"),
        ("10-(3-1)", "10-(3-1)"),
        ("3×7 + 5 = 26", "3*7+5"),
        ("10−4÷2", "10-4/2"),
        ("3**7", None),
        ("3//7", None),
        ("+3", None),
        ("3.0*7", None),
        ("0x10", None),
        ("1_0", None),
        ("3(7)", None),
        ("()", None),
        ("1,2", None),
        ("1<2", None),
        ("x", None),
        ("1000000000", None),
        ("007", None),
        ("(" * 40 + "7" + ")" * 40, "7"),
        ("=26", None),
    ],
)
def test_normal_forms(text: str, normal: str | None) -> None:
    assert normalize_expression(text) == normal


def test_any_right_expression_counts() -> None:
    task = get("countdown")
    problem = task.make_problem(((3, 5, 7, 50), 26))
    for answer in ("3*7+5", "5+7*3", "50-(3+7)-(5+9)", "26", "3*7+5+50-50", "(7*3)+(5)=26"):
        expected = answer not in ("50-(3+7)-(5+9)", "26", "3*7+5+50-50")
        assert task.verify(problem, "#" + answer).correct == expected, answer
    cards = get("general_points", faces="rank").make_problem(((11, 13, 1, 1), "rank"))
    for order in permutations(["11", "13"]):
        assert get("general_points").verify(cards, "#" + "+".join(order) + "+1-1").correct
    assert not get("general_points").verify(cards, "#11+13").correct  # all four cards must be used


def test_a_fraction_on_the_way_is_right() -> None:
    """3, 3, 8, 8 has no solution in whole numbers; the verifier takes the one in fractions, trace and all."""
    assert plan_moves((3, 3, 8, 8), 24, True) is None
    family, hand = GeneralPoints(), ((8, 3, 8, 3), "ten")
    assert family.is_correct(hand, "8/(3-8/3)")
    steps = [SolutionStep("8/3", "8/3"), SolutionStep("3-8/3", "1/3"), SolutionStep("8/(1/3)", "24")]
    assert family.is_valid_trace(hand, steps, "8/(3-8/3)")
    assert not family.is_valid_trace(hand, [steps[0], SolutionStep("3-8/3", "1/2"), steps[2]], "8/(3-8/3)")


@pytest.mark.parametrize(
    ("trace", "valid"),
    [
        ("3*7=21,21+5=26", True),
        ("7*3=21,5+21=26", True),
        ("3*7+5=26", True),
        ("3*7=21", False),  # stops short
        ("3*7=21,21+5=27", False),  # false
        ("3*7=20,20+5=25", False),
        ("21+5=26", False),  # 21 is neither given nor worked out
        ("3*7=21,3*7=21,21+5=26", False),  # uses 3 and 7 twice
        ("3*7=21,21+5=26,50-50=0", False),  # leads away from the target
        ("7+3=10,10+16=26", False),
        ("3*7=7*3,21+5=26", False),  # a value is a number
        ("26=26", False),
        ("3*7=21.0,21+5=26", False),
        ("3*7=021,21+5=26", False),
        ("=26", False),
    ],
)
def test_countdown_traces(trace: str, valid: bool) -> None:
    task = get("countdown")
    problem = task.make_problem(((3, 5, 7, 50), 26))
    verdict = task.verify(problem, f"<think>{trace},#3*7+5")
    assert (verdict.correct, verdict.trace_valid) == (True, valid)


def test_countdown_opens_with_nothing_found() -> None:
    """The first operands are a choice, so forcing the opening must not give them away."""
    assert get("countdown").make_problem(((3, 5, 7), 26)).opening == "<think>"
    assert get("addition").make_problem((47, 38)).opening == "<think>7+8="
