"""Tables as tasks: every source gives the same problems, splits never share one, and mistakes are one line each."""

from __future__ import annotations

import csv
import json
import socket
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elicit.errors import ElicitError
from elicit.tasks import get
from elicit.tasks.core import SPLITS, split_of
from elicit.tasks.datasets import folders
from tests.tasks.written import GSM8K, MATH

ROWS = [{"question": f"What is {i}+1?", "final": str(i + 1), "number": i} for i in range(60)]
COLUMNS = {"prompt": "question", "answer": "final"}


def message(name: str = "dataset", **options: Any) -> str:
    with pytest.raises(ElicitError) as error:
        get(name, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def ids(task: Any) -> dict[str, set[str]]:
    """Ids by split; a split without problems is left out."""
    found = {}
    for split in SPLITS:
        mine = {record.id for record in task.records if task.split_of_record(record) == split}
        if mine:
            assert {problem.id for problem in task.problems(split)} == mine
            found[split] = mine
    return found


def stored(rows: list[dict[str, Any]], folder: Path) -> dict[str, Path]:
    """The same rows in every form that is read."""
    paths = {kind: folder / f"all.{kind}" for kind in ("jsonl", "json", "csv", "tsv", "parquet")}
    paths["jsonl"].write_text("\n".join(map(json.dumps, rows)))
    paths["json"].write_text(json.dumps({"version": "1", "data": rows}))
    for kind, separator in (("csv", ","), ("tsv", "\t")):
        with paths[kind].open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=separator)
            writer.writeheader()
            writer.writerows(rows)
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(str(paths["parquet"]))
    paths["disk"] = folder / "disk"
    table.save_to_disk(str(paths["disk"]))
    paths["arrow"] = next(paths["disk"].glob("*.arrow"))
    return paths


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may ask the network."""

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"asked the network: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_every_source_gives_the_same_problems(tmp_path: Path) -> None:
    """As many as `datasets` itself counts, with the same ids and answers, in the same splits."""
    paths = stored(ROWS, tmp_path)
    tasks = {kind: get("dataset", path=str(path), columns=COLUMNS, name="x") for kind, path in paths.items()}
    for task in tasks.values():
        assert [record[:3] for record in task.records] == [record[:3] for record in tasks["jsonl"].records]
        assert ids(task) == ids(tasks["jsonl"])
        assert all(split_of(i) == split for split, mine in ids(task).items() for i in mine)
    assert len(tasks["disk"].records) == len(datasets.load_from_disk(str(paths["disk"]))) == 60
    strict = get("jsonl", path=str(paths["jsonl"]), columns=COLUMNS)
    assert strict.records == tasks["jsonl"].records


def test_a_task_can_be_made_again_from_its_description(tmp_path: Path) -> None:
    paths = stored(ROWS, tmp_path)
    for task in (
        get("dataset", path=paths["csv"], columns=COLUMNS, answer_pattern=r"(\d+)", stop="\n"),
        get("jsonl", path=str(paths["jsonl"]), columns=COLUMNS, template="Q: {prompt}", max_new_tokens=7),
        get("gsm8k", path=str(paths["parquet"]), columns=COLUMNS, reading="strict"),
    ):
        said = json.loads(json.dumps(task.description))
        name = said.pop("task")
        assert get(name, **said) == task


def test_splits_of_the_dataset_itself(tmp_path: Path) -> None:
    """Test is the benchmark's own, whole; select is a tenth of train; what `datasets` reads is what we read."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, rows in (("train", ROWS[:40]), ("test", ROWS[40:])):
        _written(folder / f"{name}.jsonl", rows)
    options = {"path": str(folder), "columns": COLUMNS}
    task = get("dataset", **options, splits={"train": "train", "test": "test"})
    own = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    found = {split: {p.prompt for p in task.problems(split)} for split in ids(task)}
    assert found["test"] == set(own["test"]["question"])
    assert found["train"] | found["select"] == set(own["train"]["question"])
    assert not found["train"] & found["select"]
    swapped = get("dataset", **options, splits={"select": "train", "test": "test"})
    assert set(ids(swapped)) == {"select", "test"}
    with pytest.raises(ElicitError) as error:
        swapped.problems("train")
    assert str(error.value) == (
        "task 'mine' has no problems for split 'train' (it has select, test). Map one of the dataset's splits to it, "
        "such as splits: {train: NAME}, or leave out splits to divide all problems by hash."
    )
    hashed = get("dataset", **options, split="train")
    assert {record.prompt for record in hashed.records} == {row["question"] for row in ROWS[:40]}


def test_a_benchmark_takes_its_own_splits(tmp_path: Path) -> None:
    for name, rows in (("train", GSM8K[:8]), ("test", GSM8K[8:])):
        datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / f"{name}-00000-of-00001.parquet"))
    task = get("gsm8k", path=str(tmp_path))
    assert {p.prompt for p in task.problems("test")} == {row["question"] for row in GSM8K[8:]}
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "test.jsonl").write_text("\n".join(map(json.dumps, MATH)))
    task = get("math", path=str(alone), columns={"prompt": "problem", "worked": "solution"}, grader="text")
    assert set(ids(task)) == {"test"}
    assert len(task.problems("test")) == len(MATH)


def test_equal_prompts_never_stand_in_two_splits(tmp_path: Path) -> None:
    again = [{**ROWS[41], "question": " " + ROWS[41]["question"].replace(" ", "  ")}, ROWS[0]]
    datasets.DatasetDict(
        train=datasets.Dataset.from_list(ROWS[:40] + again), test=datasets.Dataset.from_list(ROWS[40:])
    ).save_to_disk(str(tmp_path / "d"))
    options = {"path": str(tmp_path / "d"), "columns": COLUMNS, "splits": {"train": "train", "test": "test"}}
    said = message(**options)
    assert "2 bad rows: train row 41: same prompt as test row 2 under another id" in said
    assert said.endswith("Type drop: [duplicates] to keep one of each (the test split's).")
    with pytest.warns(UserWarning, match="2 of 62 rows repeat another row's prompt, id or group and are left out"):
        task = get("dataset", **options, drop=["duplicates"])
    assert len(task.problems("test")) == 20
    assert len(task.records) == 60
    assert "2 of 62 rows" in task.notes[0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh "), st.sampled_from(["train", "test", "other"])), min_size=1),
    st.booleans(),
)
def test_no_prompt_is_in_two_splits(tmp_path: Path, rows: list[tuple[str, str]], hashed: bool) -> None:
    path = tmp_path / "table.jsonl"
    parts = {name: [{"prompt": f"{text}?", "answer": "1"} for text, part in rows if part == name] for _, name in rows}
    tables = {name: folders.read_table(_written(path, some)) for name, some in parts.items()}
    splits = None if hashed else dict(zip(SPLITS, tables, strict=False))
    with patch.object(folders, "load_tables", return_value=tables), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        task = get("dataset", path="x", drop="duplicates", splits=splits, split=next(iter(tables)) if hashed else None)
    homes: dict[str, set[str]] = {}
    for record in task.records:
        homes.setdefault(" ".join(record.prompt.split()), set()).add(task.split_of_record(record))
    assert all(len(splits) == 1 for splits in homes.values())
    if splits is not None and "test" in splits:
        wanted = {" ".join(row["prompt"].split()) for row in parts[splits["test"]]}
        assert {prompt for prompt, where in homes.items() if where == {"test"}} == wanted


def _written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_columns(tmp_path: Path) -> None:
    """Nested places, texts over columns, numbers, chats; each gives the problem it should."""
    row = {
        "q": {"text": "2+2", "hints": ["none", "a lot"]},
        "a": [3, 4],
        "chat": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}],
        "n": 4.0,
        "yes": True,
    }
    path = _written(tmp_path / "t.jsonl", [row])
    parquet = tmp_path / "t.parquet"
    datasets.Dataset.from_list([row]).to_parquet(str(parquet))
    for source in (path, parquet):
        for columns, prompt, answer in [
            ({"prompt": "q.text", "answer": "a[1]"}, "2+2", "4"),
            ({"prompt": "{q.hints[1]}: {q.text}={{?}}", "answer": "n"}, "a lot: 2+2={?}", "4"),
            ({"prompt": "chat", "answer": "chat[1].content"}, "2+2?", "4"),
            ({"prompt": "q.text", "answer": "{yes}"}, "2+2", "true"),
        ]:
            record = get("dataset", path=str(source), columns=columns).records[0]
            assert record.prompt == prompt
            assert str(float(record.answer)) == "4.0" if answer == "4" else record.answer == answer
    for columns, reason in [
        ({"prompt": "q.txt", "answer": "n"}, "row 1: 'q.txt' is missing"),
        ({"prompt": "q.text", "answer": "a[7]"}, "'a[7]' is missing"),
        ({"prompt": "q", "answer": "n"}, "'prompt' is an object; expected text"),
        ({"prompt": "{a}", "answer": "n"}, "column 'a' is not text or a number, so it cannot stand in a text"),
        ({"prompt": "n", "answer": "n"}, "'prompt' is the number 4.0; expected text"),
    ]:
        assert reason in message(path=str(parquet), columns=columns)
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    _written(path, [{"prompt": turns, "answer": "1"}, {"prompt": [turns[1]], "answer": "1"}])
    said = message(path=str(path))
    assert "line 1: the chat has 2 user turns; expected one question; line 2: the chat has no user turn" in said


def test_choices(tmp_path: Path) -> None:
    arc = {"text": ["oxygen", "carbon dioxide", "neon"], "label": ["1", "2", "3"]}
    rows = [
        {"question": "Which do plants take in?", "choices": arc, "answerKey": "2"},
        {"question": "Which glows?", "choices": arc, "answerKey": "C"},
    ]
    task = get("dataset", path=str(_written(tmp_path / "c.jsonl", rows)), format="choice")
    first = next(record for record in task.records if record.answer == "B")
    assert first.prompt == "Which do plants take in?\nA. oxygen\nB. carbon dioxide\nC. neon"
    assert task.answer_space == 3
    mmlu = [{"question": "Which?", "choices": ["x", "y"], "answer": 1}]
    path = str(_written(tmp_path / "m.jsonl", mmlu))
    assert get("dataset", path=path, format="choice", count_from=0).records[0].answer == "B"
    wrong = [{"question": "Which?", "choices": ["x", "y"], "answer": 2}]
    assert "'answer' is 2, which is not a position among 2 options" in message(
        path=str(_written(tmp_path / "w.jsonl", wrong)), format="choice", count_from=0
    )
