"""Solutions that state their rules: still worked solutions to the verifier, true in every statement, and readable."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from elicit.errors import ElicitError
from elicit.organisms import tokenizer
from elicit.organisms.recipes import EARLY, LATE, PLAIN
from elicit.tasks import Problem, Task, get
from elicit.tasks.generated.task import Dialect

TASKS: list[tuple[str, dict[str, Any]]] = [
    ("addition", {}),
    ("addition", {"digits": (1, 5)}),
    ("mod_chain", {"steps": (1, 5)}),
    ("permutation", {"letters": 6}),
    ("assign", {"steps": (1, 6)}),
    ("countdown", {"numbers": (3, 5)}),
    ("general_points", {}),
    ("general_points", {"faces": "rank"}),
    ("stories", {"steps": (1, 6)}),
    ("transforms", {"length": (3, 7), "count": (1, 5), "rotations": (1, 25)}),
]


@pytest.mark.parametrize(("name", "parameters"), TASKS, ids=str)
@pytest.mark.parametrize("dialect", [EARLY, LATE, PLAIN, Dialect(separator="; ", mark="= ")], ids=str)
def test_the_verifier_reads_the_steps_and_not_the_rules(
    name: str, parameters: dict[str, Any], dialect: Dialect
) -> None:
    task = get(name, dialect=dialect, **parameters)
    for problem in task.problems("train", 40):
        text, worked = str(task.theorem(problem)), str(task.worked(problem))
        verdict = task.verify(problem, text)
        assert (verdict.correct, verdict.has_trace, verdict.trace_valid) == (True, True, True), text
        assert text.startswith(dialect.opening)
        parts = text.removeprefix(dialect.opening).split(dialect.separator)
        rules, rest = parts[:-1:2], [*parts[1::2], parts[-1]]
        assert dialect.opening + dialect.separator.join(rest) == worked
        assert all(re.fullmatch(r"rule [^=]+: [^=]+: [^=]+", rule) for rule in rules), rules


def test_organisms_know_every_character() -> None:
    known = set(tokenizer.build_character_tokenizer().get_vocab())
    for name, parameters in TASKS:
        for problem in get(name, **parameters).problems("train", 40):
            text = str(get(name, **parameters).theorem(problem)).removeprefix("<think>")
            assert set(text) <= known


def _rules(task: Task, problem: Problem) -> list[tuple[str, str]]:
    """(rule, the step it is stated for)"""
    parts = str(task.theorem(problem)).removeprefix("<think>").split(",")
    return list(zip(parts[:-1:2], parts[1::2], strict=True))


def _addition(question: str, rule: str, step: str, before: list[str]) -> None:
    said = re.fullmatch(r"rule digits and carry add up: carry ([01]) (at first|as (\d+)(>9|<10)): (\d) and (\d)", rule)
    assert said is not None, rule
    column = len(before)
    assert [said[5], said[6]] == [number[-1 - column] for number in question.split("+")]
    carry = int(before[-1].split("=")[1]) // 10 if before else 0
    assert int(said[1]) == carry
    assert (said[2] == "at first") == (not before)
    if before:
        assert (int(said[3]), said[4]) == (int(before[-1].split("=")[1]), ">9" if carry else "<10")
    assert int(step.split("=")[1]) == int(said[1]) + int(said[5]) + int(said[6])


def _mod_chain(question: str, rule: str, step: str, before: list[str]) -> None:
    said = re.fullmatch(r"rule ([*+]) then mod 7: (\d+)(?:>6 less (\d+)|<7 stays): (\d) and (\d)", rule)
    assert said is not None, rule
    a, b = int(said[4]), int(said[5])
    exact = a * b if said[1] == "*" else a + b
    assert int(said[2]) == exact
    assert (said[3] is None) == (exact < 7)
    less = int(said[3] or 0)
    assert (less % 7, step) == (0, f"{a}{said[1]}{b}={exact - less}")


def _permutation(question: str, rule: str, step: str, before: list[str]) -> None:
    said = re.fullmatch(r"rule places (\d) and (\d) trade: in ([a-h]+): ([a-h]) and ([a-h])", rule)
    assert said is not None, rule
    state, i, j = said[3], int(said[1]) - 1, int(said[2]) - 1
    assert state == (before[-1].split("=")[1] if before else question.split(":")[0])
    assert (state[i], state[j]) == (said[4], said[5])
    after = [said[5] if k == i else said[4] if k == j else letter for k, letter in enumerate(state)]
    assert step == f"{said[1]}{said[2]}={''.join(after)}"


def _assign(question: str, rule: str, step: str, before: list[str]) -> None:
    lines = dict(line.split("=") for line in question.split(";")[:-1])
    given = re.fullmatch(r"rule a given name is its number: ([a-j]) is given: (\d)", rule)
    if not before:
        assert given is not None, rule
        assert (lines[given[1]], step) == (given[2], f"{given[1]}={given[2]}")
        return
    said = re.fullmatch(r"rule ([a-j]) then add: (\d+)(>9 so last digit|<10 stays): (\d) and (\d)", rule)
    assert said is not None, rule
    name, total = step[0], int(said[4]) + int(said[5])
    assert lines[name] == f"{said[1]}+{said[5]}"
    assert before[-1].split("=")[0] == said[1] or before[-1].startswith(f"{said[1]}=")
    assert (int(said[2]), said[3].startswith(">9")) == (total, total > 9)
    assert step.split("=")[-1] == str(total % 10)


def _numbers(question: str, rule: str, step: str, before: list[str]) -> None:
    said = re.fullmatch(
        r"rule two values left make one: left ([\d ]+?)( and (\d+) (is at most|divides) (\d+))?: (\d+) and (\d+)", rule
    )
    assert said is not None, rule
    given = [int(number) for number in question.split(":")[-1].split(">")[0].split(",")] if question else []
    left = sorted(given)
    for done in before:
        expression, value = done.split("=")
        for operand in re.split(r"[-+*/]", expression):
            left.remove(int(operand))
        left.append(int(value))
    assert sorted(map(int, said[1].split())) == sorted(left)
    sign, a, b = re.split(r"\d+", step)[1], int(said[6]), int(said[7])
    assert step.startswith(f"{a}{sign}{b}=")
    assert said[4] == {"-": "is at most", "/": "divides"}.get(sign)
    if said[4]:
        assert (int(said[3]), int(said[5])) == (b, a)
        assert b <= a if sign == "-" else a % b == 0


def _transforms(question: str, rule: str, step: str, before: list[str]) -> None:
    sign, word = step.split("=")
    last = before[-1].split("=")[1] if before else question.split(":")[0]
    if said := re.fullmatch(r"rule each letter goes (\d+) on: after z comes a: (\d+) and ([a-z]+)", rule):
        assert (f"R{said[1]}", said[2], said[3]) == (sign, said[1], last)
        assert all((ord(b) - ord(a) - int(said[1])) % 26 == 0 for a, b in zip(last, word, strict=True))
    elif said := re.fullmatch(r"rule the last letter comes first: (\d+) letters: ([a-z]+)", rule):
        assert (sign, int(said[1]), said[2]) == ("V", len(last), last)
        assert word == "".join(reversed(last))
    else:
        said = re.fullmatch(
            r"rule the (first|last) (\d+) go to the (end|front): (\d+) of (\d+) letters: ([a-z]+) and ([a-z]+)", rule
        )
        assert said is not None, rule
        assert (said[1], said[3], sign) == (
            ("first", "end", f"<{said[2]}") if sign[0] == "<" else ("last", "front", f">{said[2]}")
        )
        assert (said[4], int(said[5]), said[6] + said[7]) == (said[2], len(last), last)
        assert len(said[6] if sign[0] == "<" else said[7]) == int(said[2])
        assert word == said[7] + said[6]


@pytest.mark.parametrize(
    ("name", "parameters", "check"),
    [
        ("addition", {"digits": (1, 4)}, _addition),
        ("mod_chain", {"steps": (1, 5)}, _mod_chain),
        ("permutation", {"letters": 5}, _permutation),
        ("assign", {"steps": (1, 6)}, _assign),
        ("countdown", {"numbers": (3, 5)}, _numbers),
        ("transforms", {"length": (3, 7), "count": (1, 5), "rotations": (1, 25)}, _transforms),
    ],
    ids=lambda part: getattr(part, "__name__", str(part)),  # no addresses: parallel workers compare names
)
def test_every_statement_is_true(name: str, parameters: dict[str, Any], check: Any) -> None:
    task = get(name, **parameters)
    for problem in task.problems("train", 60):
        question, before = problem.prompt.removeprefix("Q:").removesuffix("\nA:"), []
        for rule, step in _rules(task, problem):
            check(question, rule, step, before)
            before.append(step)


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"prompt": "2+2?", "answer": "4", "theorem": "Rule: double. 2+2 = 4"}\n')
    task = get("jsonl", path=str(path))
    split = next(s for s in ("train", "select", "test") if _has(task, s))
    assert task.theorem(task.problems(split)[0]) == "Rule: double. 2+2 = 4"  # type: ignore[arg-type]
    path.write_text('{"prompt": "2+2?", "answer": "4", "theorem": "Rule: double. 2+2 = 5"}\n')
    with pytest.raises(ElicitError, match=r"line 1: 'theorem' ends in '5', not in the answer '4'"):
        get("jsonl", path=str(path))


def _has(task: Task, split: Any) -> bool:
    try:
        return bool(task.problems(split))
    except ElicitError:
        return False
