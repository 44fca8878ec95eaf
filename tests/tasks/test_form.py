"""The format-only control exists for every kind of task: its reward says something, and nothing about being right."""

from __future__ import annotations

import json

import pytest

from elicit.tasks import Task, get
from elicit.training import rewards
from tests.tasks.written import GSM8K, MATH

MINE = [{"prompt": f"What is {i}+1?", "answer": str(i + 1)} for i in range(40)]
CHOICE = [{"prompt": f"Which is {i}?", "choices": [str(i), str(i + 1)], "answer": "A"} for i in range(40)]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    folder = tmp_path_factory.mktemp("form")
    for name, rows in (("mine", MINE), ("gsm8k", GSM8K), ("math", MATH), ("choice", CHOICE)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    boxed = {"prompt": "problem", "worked": "solution"}
    return {
        "jsonl": get("jsonl", path=str(folder / "mine.jsonl")),
        "gsm8k": get("gsm8k", path=str(folder / "gsm8k.jsonl")),
        "math": get("math", path=str(folder / "math.jsonl"), columns=boxed, grader="text"),
        "choice": get("dataset", path=str(folder / "choice.jsonl"), format="choice"),
        "gym": get("reasoning_gym:chain_sum"),
        "gym tags": get("reasoning_gym:chain_sum", answers="tags"),
    }


@pytest.mark.parametrize(
    ("name", "formed", "formless"),
    [
        ("jsonl", "Perhaps 9999", "I cannot say"),
        ("gsm8k", "She has 3*3=9.\n#### 9999", "9999"),
        ("math", "We have $3x=9$, so it is $\\boxed{9999}$.", "\\boxed{9999}"),
        ("choice", "It must be (B).", "I cannot say."),
        ("gym", "It makes 9999.", "I cannot say."),
        ("gym tags", "<answer>9999</answer>", "It makes 9999."),
    ],
)
def test_form_is_rewarded_and_rightness_is_not(tasks: dict[str, Task], name: str, formed: str, formless: str) -> None:
    task = tasks[name]
    problem = task.problems("train", 1)[0]
    form, right = rewards.make_format_reward(task), rewards.make_verifier_reward(task)

    def worth(text: str) -> tuple[float, float]:
        rollout = rewards.Rollout(problem, 0, 0, text, True)
        return form(rollout), right(rollout)

    assert worth(formed) == (1.0, 0.0)
    assert worth(formless) == (0.0, 0.0)
    assert worth(task.worked(problem) or task.direct(problem)) == (1.0, 1.0)
    assert worth("") == (0.0, 0.0)
    if task.worked(problem) is not None:
        assert worth(task.direct(problem)) == (0.0, 1.0), "a right answer without working has not the form"
