# ruff: noqa: E501 - messages stand on the line of what brings them about
"""What is said of a dataset that cannot be used: one line, with what exists and what to type."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from elicit.tasks import get
from tests.tasks.test_datasets import COLUMNS, ROWS, _written, message, offline, stored
from tests.tasks.written import GSM8K

__all__ = ["offline"]  # a fixture that serves here too


def test_mistakes_are_one_line_that_says_what_exists(tmp_path: Path) -> None:
    paths = stored(ROWS, tmp_path)
    parquet, disk = str(paths["parquet"]), str(paths["disk"])
    for options, reason in [
        ({"path": parquet}, "no column 'prompt'. Columns: question, final, number. Type: columns: {prompt: question, answer:"),
        ({"path": parquet, "columns": {"prompt": "qestion", "answer": "final"}}, "no column 'qestion'. Did you mean 'question'?"),
        ({"path": parquet, "columns": {"promt": "question"}}, "unknown field 'promt'. Did you mean 'prompt'? Known: prompt,"),
        ({"path": parquet, "columns": {"prompt": "a{b"}}, "expected a column (question), a place in one"),
        ({"path": parquet, "columns": 3}, "columns is 3; expected a mapping such as {prompt: question}."),
        ({"path": parquet, "columns": COLUMNS, "splits": {"test": "tst"}}, "unknown split 'tst'. Known: all."),
        ({"path": parquet, "columns": COLUMNS, "splits": {"tests": "all"}}, "unknown split 'tests'. Did you mean 'test'?"),
        ({"path": parquet, "columns": COLUMNS, "split": "x", "splits": {"test": "all"}}, "not both."),
        ({"path": parquet, "columns": COLUMNS, "splits": {"test": "all", "train": "all"}}, "'all' serves two splits"),
        ({"path": parquet, "config": "main"}, "is a file; config is for hub ids. Leave it out."),
        ({"path": disk, "config": "main"}, "was stored by save_to_disk and has no configs. Leave out config."),
        ({"path": parquet, "format": "gsm"}, "unknown format of task 'dataset' 'gsm'. Did you mean 'gsm8k'?"),
        ({"path": parquet, "format": "gsm8k", "reading": "lose"}, "unknown reading of task 'dataset' 'lose'. Known: flexible, last, strict."),
        ({"path": parquet, "reading": "strict"}, "format text is read in one way; leave out reading."),
        ({"path": parquet, "format": "gsm8k", "answer_pattern": "(x)"}, "answer_pattern is for format: text; gsm8k has a reader"),
        ({"path": parquet, "grader": "text"}, "grader is for format: math; leave it out."),
        ({"path": parquet, "drop": "all"}, "unknown rows to drop in task 'dataset' 'all'. Known: duplicates, unusable."),
        ({"path": parquet, "download": "yes"}, "download is 'yes'; expected true or false."),
        ({"path": parquet, "colums": {}}, "unknown parameter of task 'dataset' 'colums'. Did you mean 'columns'?"),
        ({}, "task 'dataset': path is missing; give a file, a folder or a hub id (org/name)."),
        ({"path": str(tmp_path / "all.parqet")}, "does not exist. Did you mean 'all.parquet'?"),
        ({"path": "nobody/nothing"}, "is not a file or folder here, and the hub's nobody/nothing is not in the local cache. "
         "Type download: true to fetch it."),
        ({"path": "nobody/nothing", "revision": "v1"}, "the hub's nobody/nothing at revision 'v1' is not in the local cache."),
        ({"path": str(tmp_path / "x.txt")}, "does not exist."),
    ]:  # fmt: skip
        said = message(**options)
        assert reason in said, said
        assert len(said) < 700
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "is empty; expected data files such as train.parquet" in message(path=str(empty))
    (tmp_path / "half.parquet").write_bytes(paths["parquet"].read_bytes()[:500])
    (tmp_path / "x.txt").write_text("?")
    assert "cannot be read:" in message(path=str(tmp_path / "half.parquet"))
    assert "files that end in '.txt' are not read. Known: .arrow, .csv, .json," in message(path=str(tmp_path / "x.txt"))
    datasets.Dataset.from_dict({"prompt": [], "answer": []}).to_parquet(str(tmp_path / "none.parquet"))
    assert "is empty; expected one problem a row." in message(path=str(tmp_path / "none.parquet"))
    both = tmp_path / "both"
    datasets.DatasetDict(
        train=datasets.Dataset.from_list(ROWS[:30]), test=datasets.Dataset.from_list(ROWS[30:])
    ).save_to_disk(str(both))
    assert message(path=str(both), columns=COLUMNS).endswith(
        "has the splits train, test. Type splits: {train: train, test: test} to use them as they are, or split: train "
        "to divide one by hash."
    )


def test_unusable_rows(tmp_path: Path) -> None:
    rows = [*GSM8K, {"question": "Why?", "answer": "because"}, {"question": None, "answer": "#### 3"}]
    path = str(_written(tmp_path / "g.jsonl", rows))
    said = message("gsm8k", path=path)
    assert "2 bad rows: line 13: 'answer' holds no number; line 14: 'prompt' is missing" in said
    with pytest.warns(UserWarning, match="2 of 14 rows cannot be used and are left out"):
        task = get("gsm8k", path=path, drop=["unusable", "duplicates"])
    assert len(task.records) == len(GSM8K)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("Couldn't reach 'a/b' on the Hub (ConnectError)"), "cannot be reached: Couldn't reach 'a/b'"),
        (datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub or cannot be accessed."),
         "does not exist on the hub, or is closed to you."),
        (datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub. Visit the dataset page"),
         "is gated: ask for access at https://huggingface.co/datasets/a/b, then type: hf auth login"),
        (ValueError("Config name is missing.\nPlease pick one among the available configs: ['main', 'socratic']\nExample"),
         "has several configs. Configs: main, socratic. Type: config: main"),
        (ValueError("BuilderConfig 'mian' not found. Available: ['main', 'socratic']"),
         "has no config 'mian'. Did you mean 'main'? Configs: main, socratic."),
    ],
)  # fmt: skip
def test_what_the_hub_says(monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str) -> None:
    """The errors are those of `datasets` 5.2, word for word."""

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    assert reason in message(path="a/b", download=True)


def test_configs_of_a_folder_are_found_as_datasets_finds_them(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/t.jsonl\n"
        "- config_name: other\n  data_files: other/t.jsonl\n---\n"
    )
    for name in ("main", "other"):
        (tmp_path / name).mkdir()
        _written(tmp_path / name / "t.jsonl", ROWS[:20] if name == "main" else ROWS)
    task = get("dataset", path=str(tmp_path), columns=COLUMNS, config="main")
    assert len(task.records) == 20
    assert "has several configs. Configs: main, other. Type: config: main" in message(
        path=str(tmp_path), columns=COLUMNS
    )
    assert "has no config 'mian'. Did you mean 'main'?" in message(path=str(tmp_path), columns=COLUMNS, config="mian")
