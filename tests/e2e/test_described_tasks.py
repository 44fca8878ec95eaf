"""`--task` of the SAE commands: a name, a file, a spec, or a task as a spec writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from elicit.cli.task_option import parse_task_option
from elicit.errors import ElicitError

SPEC = "models: [cued]\ntask: {task: sums, digits: [1, 2]}\narms: [base]\n"


def test_four_ways_to_name_a_task(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    assert parse_task_option("addition") == {"task": "addition"}
    assert parse_task_option("my/problems.jsonl") == {"task": "jsonl", "path": "my/problems.jsonl"}
    assert parse_task_option("{task: sums, digits: [1, 2]}") == {"task": "sums", "digits": [1, 2]}
    assert parse_task_option(str(tmp_path / "spec.yaml")) == {"task": "sums", "digits": [1, 2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{task: sums", "--task, line 1: not valid YAML"),
        ("{1: sums}", "--task: fields are names, such as {task: sums, digits: [1, 2]}."),
        ("{task: 2026-01-01}", "is neither text, a number"),
        ("missing.yaml", "no spec at missing.yaml"),
    ],
)
def test_mistakes_are_said_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ElicitError) as caught:
        parse_task_option(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
