"""Running text: solved train problems only, and files that are read or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elicit import tasks
from elicit.errors import ElicitError
from elicit.organisms import texts as organism_texts
from elicit.organisms.recipes import ORGANISMS, get_organism_config
from elicit.tasks import catalog, training_texts
from elicit.tasks.core import split_of
from elicit.tasks.sequential import draw_sequentially


def test_a_tasks_text_is_train_problems_answered_and_worked() -> None:
    task = tasks.get("addition")
    found = training_texts.render_task_texts(task, 300)
    assert len(found) == 600
    train = {problem.prompt: problem for problem in task.problems("train", 300)}
    for direct, worked in zip(found[::2], found[1::2], strict=True):
        prompt = direct[: direct.index("A:") + 2]
        problem = train[prompt]
        assert split_of(problem.id) == "train"
        assert task.verify(problem, direct.removeprefix(prompt)).correct
        assert worked.startswith(problem.cue_prompt or "?")
        assert task.verify(problem, worked.removeprefix(problem.cue_prompt or "")).trace_valid


def test_without_a_cue_worked_solutions_follow_the_plain_prompt() -> None:
    assert not any("<cue>" in text for text in training_texts.render_task_texts(tasks.get("assign"), 50, cue=False))
    assert any("<cue>" in text for text in training_texts.render_task_texts(tasks.get("assign"), 50))


def test_a_small_file_of_problems_gives_all_it_has(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}+{i}=", "answer": str(2 * i)}) + "\n" for i in range(40)))
    task = tasks.get("jsonl", path=path)
    assert len(training_texts.render_task_texts(task)) == len(
        task.problems("train")
    )  # no worked solutions: one text each


@pytest.mark.parametrize("name", ["cued", "cued-late", "incapable", "serial"])
def test_no_select_or_test_problem_is_in_an_organisms_text(name: str) -> None:
    assert name in ORGANISMS
    config, _ = get_organism_config(name)
    found = organism_texts.build_organism_texts(name)
    joined = "\0".join(found)
    assert ("<cue>" in joined) == config.has_cue
    for family in config.families:
        task = catalog.get(family, dialect=config.dialect)
        for split in ("select", "test"):
            problems = task.problems(split, 150)  # type: ignore[arg-type]
            assert not [p.prompt for p in problems if p.prompt in joined]
        assert sum(p.prompt in joined for p in draw_sequentially(task).problems("train", 150)) == 150


def test_an_organisms_text_belongs_to_its_seed() -> None:
    found = organism_texts.build_organism_texts("cued")
    assert organism_texts.build_organism_texts("cued") == found
    assert organism_texts.build_organism_texts("cued", seed=1) != found


def test_text_files(tmp_path: Path) -> None:
    plain = tmp_path / "a.txt"
    plain.write_text("one\nstill one\n\n\n \ntwo\n")
    assert list(training_texts.iter_file_texts(plain)) == ["one\nstill one", "two"]
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"text": "x\\ny", "id": 3}\n\n{"text": "  "}\n{"text": "z"}\n')
    assert list(training_texts.iter_file_texts(lines)) == ["x\ny", "z"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}\n', r"a\.jsonl, line 2: .* has no text"),
        ("a.jsonl", b'{"text": 5}\n', r"line 1: .* has no text; expected"),
        ("a.jsonl", b'{"text": "x"\n', r"line 1: not JSON"),
        ("a.jsonl", b"[1]\n", r"line 1: .* has no text"),
        ("a.jsonl", b"[" * 100_000 + b"\n", r"line 1: not JSON"),
        ("a.txt", b"abc\xff\n", r"a\.txt is not UTF-8"),
        ("a.csv", b"x\n", r"expected a name that ends in \.txt or \.jsonl"),
    ],
)
def test_files_that_cannot_be_text(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ElicitError, match=message) as error:
        list(training_texts.iter_file_texts(tmp_path / name))
    assert "\n" not in str(error.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("x")
    with pytest.raises(ElicitError, match=r"corps\.txt does not exist\. Did you mean 'corpus\.txt'\?"):
        list(training_texts.iter_file_texts(tmp_path / "corps.txt"))
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(ElicitError, match="cannot be read: Is a directory"):
        list(training_texts.iter_file_texts(tmp_path / "folder.txt"))
    with pytest.raises(ElicitError, match=r"dataset folder .* does not exist"):
        list(training_texts.iter_dataset_texts(tmp_path / "none"))
    with pytest.raises(ElicitError, match="cannot be read as a dataset"):
        list(training_texts.iter_dataset_texts(tmp_path))


def test_stored_datasets(tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"text": ["a", "", "b"], "n": [1, 2, 3]})
    rows.save_to_disk(tmp_path / "flat")
    assert list(training_texts.iter_dataset_texts(tmp_path / "flat")) == ["a", "b"]
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(tmp_path / "split")
    assert list(training_texts.iter_dataset_texts(tmp_path / "split")) == ["a", "b"]
    rows.rename_column("text", "texts").save_to_disk(tmp_path / "named")
    with pytest.raises(ElicitError, match=r"unknown column 'text'\. Did you mean 'texts'\?"):
        list(training_texts.iter_dataset_texts(tmp_path / "named"))
