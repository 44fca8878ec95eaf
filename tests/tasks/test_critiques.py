"""Critiques: programs' are right by the verifier, files are read strictly, test problems are never trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from elicit.errors import ElicitError
from elicit.organisms import tokenizer
from elicit.tasks import Problem, Task, get
from elicit.tasks.generated.critiques import read_critiques, write_critiques

FAMILIES = ["addition", "mod_chain", "permutation", "assign", "countdown", "general_points", "transforms"]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("form", ["remark", "worked"])
def test_programs_are_right(name: str, form: Any) -> None:
    """The verdict is what the verifier says of candidate and trace; a worked critique holds a valid solution."""
    task, known = get(name), set(tokenizer.build_character_tokenizer().get_vocab())
    rows = write_critiques(task, task.problems("train", 40), 3, form)
    assert len(rows) == 120 == len({(one.problem.id, one.candidate) for one in rows})
    for one in rows:
        verdict = task.verify(one.problem, one.candidate)
        right = verdict.correct and verdict.trace_valid is not False
        assert one.correct == right
        assert one.critique.endswith("verdict: right" if right else "verdict: wrong")
        assert set(one.critique.removeprefix("<think>")) <= known
        if form == "worked":
            solution, remark = one.critique.split("\n")
            assert task.verify(one.problem, solution).trace_valid
            assert "=" not in remark or remark.startswith("step")
    assert {one.correct for one in rows} == {True, False}


@pytest.mark.slow
def test_many_candidates_of_one_problem() -> None:
    task = get("addition")
    rows = write_critiques(task, task.problems("train", 1), 100)
    assert len({one.candidate for one in rows}) == 100
    assert len({one.problem.id for one in rows}) == 1
    with pytest.raises(ElicitError, match=r"5000 different candidate solutions were asked for, but it has \d+\. Ask"):
        write_critiques(get("mod_chain", steps=(1, 1)), get("mod_chain", steps=(1, 1)).problems("train", 1), 5000)


# --- files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def task(tmp_path: Path) -> Task:
    lines = [{"id": str(i), "prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(60)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return get("jsonl", path=str(tmp_path / "sums.jsonl"), template="Q: {prompt} ")


def _write(tmp_path: Path, *lines: Any) -> str:
    path = tmp_path / "critiques.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(path)


def _line(problem: Problem, **changes: Any) -> dict[str, Any]:
    return {"id": problem.id, "candidate": "so 7", "critique": "No. verdict: wrong"} | changes


def test_lines_find_their_problems(tmp_path: Path, task: Task) -> None:
    """By id, by the prompt of the task's file and by the prompt as it is shown; sorted by split."""
    one, two, three = task.problems("train", 3)
    chosen, shown = task.problems("select")[0], task.problems("test")[0]
    raw = f"{two.id}+1="
    path = _write(
        tmp_path,
        _line(one),
        _line(one, candidate="so 8", correct=False),
        "",
        {"prompt": raw, "candidate": "c", "critique": "k", "correct": True},
        {"prompt": three.prompt, "candidate": "c", "critique": "k"},
        _line(chosen),
        _line(shown),
    )
    filed = read_critiques(path, task)
    assert [(row.problem.id, row.candidate, row.correct) for row in filed.train] == [
        (one.id, "so 7", None),
        (one.id, "so 8", False),
        (two.id, "c", True),
        (three.id, "c", None),
    ]
    assert [row.problem.id for row in filed.select] == [chosen.id]
    assert filed.test == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", r"line 1: not JSON"),
        ({"id": "1", "candidate": "x"}, r"line 1: 'critique' is missing"),
        ({"id": "1", "candidate": " ", "critique": "x"}, r"line 1: 'candidate' is empty"),
        ({"candidate": "x", "critique": "x"}, r"line 1: expected 'id' or 'prompt', and not both"),
        ({"id": "1", "prompt": "1+1=", "candidate": "x", "critique": "x"}, r"line 1: expected 'id' or 'prompt'"),
        (
            {"id": "599", "candidate": "x", "critique": "x"},
            r"line 1: the task has no problem of id '599'\. Did you mean",
        ),
        (
            {"prompt": "5+1 =", "candidate": "x", "critique": "x"},
            r"no problem of prompt '5\+1 ='\. Did you mean '5\+1='",
        ),
        ({"id": "1", "candidate": "x", "critique": "x", "correct": 1}, r"line 1: 'correct' is neither true nor false"),
        ({"id": "1", "candidat": "x", "critique": "x"}, r"unknown field 'candidat'\. Did you mean 'candidate'\?"),
    ],
)
def test_bad_lines_are_listed(tmp_path: Path, task: Task, line: Any, said: str) -> None:
    with pytest.raises(ElicitError, match=said) as caught:
        read_critiques(_write(tmp_path, line), task)
    assert str(caught.value).endswith('A line is {"id": "...", "candidate": "...", "critique": "..."}')


def test_files_without_use(tmp_path: Path, task: Task) -> None:
    path = _write(tmp_path, _line(task.problems("test")[0]))
    with pytest.raises(
        ElicitError, match=r"has no line about a train problem of task 'sums' \(0 about select, 1 about"
    ):
        read_critiques(path, task)
    with pytest.raises(ElicitError, match=r"critique file .*critique\.jsonl' does not exist\. Did you mean 'critiques"):
        read_critiques(path.replace("critiques", "critique"), task)
    with pytest.raises(ElicitError, match=r"critique file .* is a directory; give a JSONL file in it"):
        read_critiques(tmp_path, task)
