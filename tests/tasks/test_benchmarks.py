"""Benchmarks that come with the lab: each is one file, and each is the same task as ever."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from elicit.tasks import benchmarks, get, loaders, names
from elicit.tasks.core import SPLITS
from elicit.tasks.datasets import formats
from elicit.tasks.datasets.benchmark import find_benchmark, list_benchmarks
from elicit.tasks.datasets.stored_problems import dump_problems, restore_task
from tests.tasks.written import GSM8K, MATH

MATH_500 = [
    {**row, "answer": row["solution"].partition("\\boxed{")[2].rpartition("}")[0], "unique_id": f"test/{i}.json"}
    for i, row in enumerate(MATH)
]
#: Case -> (task, where its problems lie, options).
CASES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "gsm8k, a file": ("gsm8k", "gsm8k.jsonl", {}),
    "gsm8k, a folder with splits": ("gsm8k", "gsm8k", {}),
    "gsm8k, from the hub's cache": ("gsm8k", None, {}),
    "gsm8k, with options": (
        "gsm8k",
        "gsm8k",
        {"reading": "strict", "template": "Q: {prompt}\nA:", "max_new_tokens": 32, "stop": "\n\n", "name": "words"},
    ),
    "gsm8k, other columns": ("gsm8k", "mapped.jsonl", {"columns": {"prompt": "q", "answer": "a"}, "drop": "unusable"}),
    "gsm8k, one split": ("gsm8k", "gsm8k", {"split": "train"}),
    "math, a file": ("math", "math.jsonl", {"grader": "text"}),
    "math, from the hub's cache": ("math", None, {"grader": "text"}),
    "math, with options": (
        "math",
        "math.jsonl",
        {"reading": "strict", "grader": "text", "columns": {"prompt": "problem", "worked": "solution"}},
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Problems in GSM8K's and MATH's forms, as files and as the hub leaves them in its cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    cached = tmp_path / "hub" / "datasets--openai--gsm8k"
    _write_table(tmp_path / "gsm8k.jsonl", [*GSM8K, GSM8K[0]])
    _write_table(tmp_path / "mapped.jsonl", [{"q": row["question"], "a": row["answer"]} for row in GSM8K] + [{"q": ""}])
    _write_table(tmp_path / "math.jsonl", MATH)
    for folder in (tmp_path / "gsm8k", cached / "snapshots" / "0" / "main"):
        _write_table(folder / "train.jsonl", [*GSM8K[:9], GSM8K[10]])
        _write_table(folder / "test.jsonl", GSM8K[9:])
    config = (
        "configs:\n- config_name: main\n  data_files:\n  - {split: train, path: main/train.jsonl}\n"
        "  - {split: test, path: main/test.jsonl}\n- config_name: socratic\n  data_files: none.jsonl\n"
    )
    (cached / "snapshots" / "0" / "README.md").write_text(f"---\n{config}---\n")
    math = tmp_path / "hub" / "datasets--HuggingFaceH4--MATH-500"
    _write_table(math / "snapshots" / "0" / "test.jsonl", MATH_500)
    for repository in (cached, math):
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0")
    return tmp_path


def _write_table(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)))


def _describe(task: Any, folder: Path) -> dict[str, Any]:
    """Everything that a run takes from a task, the problems as one hash."""
    problems = [
        (split, problem.id, problem.prompt, problem.answer, problem.group, task.worked(problem), task.direct(problem))
        for split in SPLITS
        if any(task.split_of_record(record) == split for record in task.records)
        for problem in task.problems(split)
    ]
    verdicts = [task.verify(task.problems("test")[0], text) for text in ("#### 33", "\\boxed{49}", "The answer is 4.")]
    stops = [list(task.stop), list(task.chat_stop)]
    content = json.dumps([problems, verdicts, stops], ensure_ascii=False)
    return {
        "description": {
            key: value.replace(str(folder), "") if key == "path" else value for key, value in task.description.items()
        },
        "name": task.name,
        "format": repr(task.format),
        "tokens": task.max_new_tokens,
        "notes": len(task.notes),
        "splits": {split: sum(row[0] == split for row in problems) for split in SPLITS},
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
    }


@pytest.mark.filterwarnings("ignore:.*are left out")
@pytest.mark.parametrize("case", CASES)
def test_tasks_are_as_they_were(case: str, folder: Path) -> None:
    name, path, options = CASES[case]
    task = get(name, **options) if path is None else get(name, path=folder / path, **options)
    recorded = json.loads((Path(__file__).parent / "benchmarks.json").read_text())[case]
    described = json.loads(json.dumps(_describe(task, folder)))
    assert described == recorded
    assert list(described["description"]) == list(recorded["description"])
    again = dict(task.description)
    assert get(again.pop("task"), **again) == task


@pytest.mark.parametrize("name", list_benchmarks())
def test_records_are_whole(name: str) -> None:
    benchmark = find_benchmark(name)
    options = dict.fromkeys(("reading", "grader", "answer_pattern", "count_from", "read"))
    form = formats.build_format(name, benchmark.format, **{**options, **benchmark.options, "grader": None})
    assert set(benchmark.options) <= set(options)
    assert set(benchmark.splits) <= set(SPLITS)
    assert "test" in benchmark.splits
    assert all({"prompt", "answer"} <= set(columns) <= set(form.fields) for columns in benchmark.columns)
    assert "{prompt}" in benchmark.template
    assert benchmark.licence
    assert "arXiv:" in benchmark.citation


_ONE_FILE = """
from elicit.tasks.datasets.benchmark import Benchmark

BENCHMARK = Benchmark(
    summary="questions with four options",
    path="nobody/riddles",
    splits={"train": "learn", "test": "exam"},
    columns=({"prompt": "riddle", "choices": "options", "answer": "key"},),
    format="choice",
    options={"count_from": None},
    template="Riddle: {prompt}",
    max_new_tokens=16,
    licence="CC0",
    citation="nobody",
)
"""


def test_a_new_benchmark_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "riddles.py").write_text(_ONE_FILE)
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path / "code")])
    rows = [{"riddle": f"Which is {i}?", "options": ["-1", str(i), "-2"], "key": "B"} for i in range(30)]
    table = datasets.DatasetDict(
        learn=datasets.Dataset.from_list(rows[:20]), exam=datasets.Dataset.from_list(rows[20:])
    )
    table.save_to_disk(str(tmp_path / "riddles"))

    task = get("riddles", path=str(tmp_path / "riddles"))
    assert "riddles" in names()
    assert "count_from=None" in loaders.describe_sources()["riddles"][1]
    assert (task.name, task.max_new_tokens, task.description["task"]) == ("riddles", 16, "riddles")
    assert {problem.prompt for problem in task.problems("test")} == {
        f"Riddle: Which is {i}?\nA. -1\nB. {i}\nC. -2" for i in range(20, 30)
    }
    problem = task.problems("test")[0]
    stored = dump_problems(task, 10)
    assert stored is not None
    for judge in (task, restore_task(task.description, stored)):
        assert judge.prompts("test", 10) == task.prompts("test", 10)
        assert judge.verify(problem, "The answer is B.").correct
        assert not judge.verify(problem, "The answer is A.").correct
