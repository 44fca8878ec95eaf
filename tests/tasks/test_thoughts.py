"""Blocks of thinking: what is thought is no answer, and an answer that never came is none."""

from __future__ import annotations

import dataclasses

import pytest

from elicit.comparison.reader import ArmData
from elicit.comparison.spec import check_spec
from elicit.comparison.spec.cells import Cell
from elicit.comparison.summary.entries import summarise_arm
from elicit.comparison.summary.trace_coverage import TraceCoverage
from elicit.report.data.summary_view import read_panels
from elicit.report.verdict import judge_panel
from elicit.report.verdict.caution_facts import CutInThought, OpenThinkingSwitch, Rate
from elicit.report.verdict.kinds import ThinkingState
from elicit.schema import Row
from elicit.tasks import English, get
from elicit.tasks.answers.thoughts import answer_start, has_thought


@pytest.mark.parametrize(
    ("text", "answer", "thought"),
    [
        ("It is 4.", "It is 4.", False),
        ("<think>\n\n</think>\n\n4", "\n\n4", False),
        ("<think>2 + 2, or 5?</think> 4", " 4", True),
        ("2 + 2, or 5?</think> 4", " 4", True),
        ("<think>a</think> 4 <think>b</think> 5", " 5", True),
        ("<think>2 + 2, perhaps 4", None, True),
        ("4 <think>or 5?", None, True),
        ("[THINK]5?[/THINK]4", "4", True),
    ],
)
def test_where_the_answer_begins(text: str, answer: str | None, thought: bool) -> None:
    start = answer_start(text)
    assert (None if start is None else text[start:]) == answer
    assert has_thought(text) == thought


def test_verdicts_are_of_what_follows_the_thinking() -> None:
    task = get("sums", dialect=English(), prompts={})
    problem = task.problems("test", 1)[0]
    right, wrong = problem.answer, str(int(problem.answer) + 1)
    said = f"<think>The answer is {wrong}. Wait.</think>\n\n{right}"
    assert task.verify(problem, said) == (right, True, True, None)
    span = task.answer_span(problem, said)
    assert span is not None
    assert said[slice(*span)] == right
    cut = f"<think>The answer is {right}. But is it"
    assert task.verify(problem, cut) == (None, False, True, None)
    assert task.answer_span(problem, cut) is None
    empty = f"<think>\n\n</think>\n\n{right}"
    assert task.verify(problem, empty) == task.verify(problem, right)


def test_answers_cut_in_their_thinking_are_counted_and_cautioned() -> None:
    spec = check_spec({"models": ["cued"], "task": "sums", "arms": ["base"]})
    row = Row("sums", "p", 0, "answer", "h", "4", 1, True, "4", True, False, None, 0, 0, 1)
    rows = [dataclasses.replace(row, problem=str(i), completion="<think>so" if i < 3 else "x") for i in range(10)]

    cell = Cell("cued", "base", 0, (), "")

    def figures(rows: list[Row], dialect: object) -> dict:
        data = ArmData((cell,), ({"state": "done", "model": {"dialect": dialect}},), {"sums": [rows]}, ())
        return summarise_arm(
            spec,
            "base",
            spec.build_methods()["base"],
            data,
            None,
            [r.problem for r in rows],
            None,
            TraceCoverage(True, False),
        )

    cut = figures(rows, None)["cut_in_thought"]
    assert (cut["value"], cut["n"]) == (0.3, 10)
    assert figures([row], None)["cut_in_thought"] is None
    assert figures(rows, {"think": "<think>"})["cut_in_thought"] is None, "an organism's own mark"

    thinking = {"switch": "enable_thinking", "given": False, "on": True}
    arm = {"method": "base", "status": "done", "cut_in_thought": cut, "accuracy": 0.1, "n": 10, "seeds": 1}
    task = {"n": 10, "arms": {"base": arm}, "thinking": thinking}
    (panel,) = read_panels({"models": {"m": {"tasks": {"sums": task}}}})
    cautions = judge_panel(panel).cautions
    assert OpenThinkingSwitch("m", "enable_thinking", ThinkingState.ON) in cautions
    assert CutInThought((Rate("base", 0.3),)) in cautions
