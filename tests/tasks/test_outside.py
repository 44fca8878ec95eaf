"""Tasks and answer readers from outside: made, described and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import elicit
from elicit.errors import ElicitError
from elicit.plugins import load_reference
from elicit.tasks.from_dict import build_task
from elicit.tasks.to_dict import task_to_dict
from tests.support.outside import READER, TASK, install_package

FAMILY = """
from dataclasses import dataclass
from elicit.tasks.families.addition import Addition

@dataclass(frozen=True)
class Doubled(Addition):
    name = "doubled"

DEFAULT = Doubled(digits=1)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a task, a reader and a family in files."""
    for name, source in (("mine", TASK), ("reading", READER), ("family", FAMILY)):
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_task_of_a_file(folder: Path) -> None:
    task = elicit.tasks.get("mine.py:Parity", high=20)
    problems = {split: task.problems(split) for split in ("train", "select", "test")}  # type: ignore[arg-type]
    assert sum(map(len, problems.values())) == 100
    assert len({problem.id for pool in problems.values() for problem in pool}) == 100, "no problem is in two splits"
    assert task.problems("train", 3) == task.problems("train", 9)[:3]
    assert task.problems("train", 9, seed=1) != task.problems("train", 9)
    problem = problems["train"][0]
    a, b = problem.content
    assert task.verify(problem, f"I say {a + b}").correct
    assert not task.verify(problem, f"{a + b + 1}").correct
    assert task.answer_span(problem, "x 1 y 3") == (2, 3), "the verdict's answer is 1, which stands there"
    with pytest.raises(ElicitError, match="problems were asked for, but only"):
        task.problems("test", 101)


def test_a_task_is_described_so_that_it_can_be_made_again(folder: Path) -> None:
    task = load_reference("mine.py:Parity")(high=25)
    description = task_to_dict(task)
    assert description == {"task": f"{folder}/mine.py:Parity", "high": 25}
    assert build_task(description, where="test").problems("test") == task.problems("test")


def test_a_task_under_prompt_conditions(folder: Path) -> None:
    description = {"task": "mine.py:Parity", "prompts": {"direct": "Even? {question}", "chat": False}}
    task = build_task(description, where="test")
    assert task.problems("test", 1)[0].prompt.startswith("Question: Even? Q:")


@pytest.mark.parametrize("name", ["family.py:Doubled", "family.py:DEFAULT"])
def test_a_family(folder: Path, name: str) -> None:
    """It speaks English and an organism's dialect like our own."""
    spoken = build_task({"task": name}, {}, where="test")
    english = build_task({"task": name}, where="test")
    problem = spoken.problems("test", 1)[0]
    assert problem.prompt.startswith("Q:")
    assert "Question:" in english.problems("test", 1)[0].prompt
    assert spoken.verify(problem, spoken.worked(problem) or "").trace_valid
    again = task_to_dict(spoken)
    assert again["task"] == f"{folder}/family.py:Doubled"
    assert build_task(again, {}, where="test").problems("test", 3) == spoken.problems("test", 3)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"task": "mine.py:Parity", "hihg": 3}, "unknown option of task 'Parity' 'hihg'. Did you mean 'high'?"),
        ({"task": "mine.py:Parity", "high": "many"}, "task 'Parity': high is 'many'; expected int"),
        ({"task": "mine.py:dataclass"}, "mine.py:dataclass is not a task: it lacks problems"),
        ({"task": "subprocess:run", "args": ["touch", "broken"]}, "subprocess:run is not a task: it lacks"),
        ({"task": "mine.py:Pairity"}, "unknown name in mine.py 'Pairity'. Did you mean 'Parity'?"),
        ({"task": "absent.py:Parity"}, "the file absent.py does not exist"),
        ({"task": "family.py:DEFAULT", "digits": 2}, "is an object and takes no options; leave out digits"),
        ({"task": "needy.py:Needy"}, "task 'Needy': option size is missing"),
        ({"task": "needy.py:Needy", "size": 0}, "task 'Needy' cannot be made: ValueError: no size"),
        (
            {"task": "jsonl", "path": "p.jsonl", "read": "mine.py:Parity"},
            "is not an answer reader: it lacks explain_unusable_target, gold",
        ),
        ({"task": "jsonl", "path": "p.jsonl", "read": "lastdigit"}, "unknown reader of task 'jsonl' 'lastdigit'"),
        (
            {"task": "jsonl", "path": "p.jsonl", "read": "reading.py:LastDigit", "format": "gsm8k"},
            "read is for format: text without answer_pattern",
        ),
        (
            {"task": "jsonl", "path": "bad.jsonl", "read": "reading.py:LastDigit"},
            "line 2: 'answer' is not read as an answer by its reader",
        ),
    ],
)
def test_refused_in_one_line(folder: Path, description: dict[str, object], words: str) -> None:
    (folder / "needy.py").write_text(
        f"{TASK}\nclass Needy(Parity):\n    def __init__(self, size):\n        raise ValueError('no size')\n"
    )
    (folder / "p.jsonl").write_text('{"prompt": "1", "answer": "1"}\n')
    (folder / "bad.jsonl").write_text('{"prompt": "1", "answer": "1"}\n{"prompt": "2", "answer": "two"}\n')
    with pytest.raises(ElicitError) as raised:
        build_task(description, where="here")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (folder / "broken").exists(), "nothing but a task is ever called"


def test_what_cannot_be_made_again_is_refused() -> None:
    class Local(elicit.tasks.TaskBase):
        name = "local"

        def problems(self, split, n=None, seed=0):  # type: ignore[no-untyped-def]
            return []

        def verify(self, problem, completion):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    with pytest.raises(ElicitError, match=r"Put it into a file of its own, such as my_file\.py"):
        task_to_dict(Local())


def test_a_spec_that_makes_another_task_is_refused(folder: Path) -> None:
    (folder / "wrong.py").write_text(
        f"{TASK}\nclass Wrong(Parity):\n    def spec(self):\n        return {{'task': 'mine.py:Parity', 'high': 30}}\n"
    )
    with pytest.raises(ElicitError, match=r"Wrong\.spec\(\) makes another task than this one"):
        task_to_dict(load_reference("wrong.py:Wrong")())


def test_a_reader_of_a_file(folder: Path) -> None:
    lines = [{"prompt": f"{k}+{k}", "answer": f"it ends in {2 * k % 10}", "id": str(k)} for k in range(30)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = build_task({"task": "jsonl", "path": "sums.jsonl", "read": "reading.py:LastDigit"}, where="test")
    problem = next(problem for problem in task.problems("train") if problem.id == "7")
    assert problem.answer == "4", "canonical"
    assert task.verify(problem, "5, no, 14.").correct
    assert task.verify(problem, "I see no digit").answer is None
    assert task.answer_span(problem, "14.") == (1, 2)
    assert task_to_dict(task)["read"] == f"{folder}/reading.py:LastDigit"


def test_names_of_installed_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "elicit.tasks/outside_parity": "outside_tasks.mine:Parity",
        "elicit.readers/digit": "outside_tasks.reading:LastDigit",
    }
    install_package(tmp_path, "outside_tasks", {"mine": TASK, "reading": READER}, points)
    assert "outside_parity" not in elicit.tasks.names()
    monkeypatch.syspath_prepend(tmp_path)
    assert "outside_parity" in elicit.tasks.names()
    task = elicit.tasks.get("outside_parity", high=20)
    assert task.name == "parity"
    assert task_to_dict(task) == {"task": "outside_tasks.mine:Parity", "high": 20}
    (tmp_path / "p.jsonl").write_text('{"prompt": "1", "answer": "1"}\n')
    elicit.tasks.get("jsonl", path=str(tmp_path / "p.jsonl"), read="digit")
    with pytest.raises(ElicitError, match="Did you mean 'outside_parity'"):
        elicit.tasks.get("outside_party")
