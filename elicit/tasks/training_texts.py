"""Running text for training: a task's solved problems, a file, or a stored dataset, one document at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elicit.errors import ElicitError, did_you_mean, one_line, unknown_name_error
from elicit.tasks.core import Task

#: Number of problems of a task that are written out, or all where it has fewer.
PROBLEMS = 3000


def render_task_texts(task: Task, n: int = PROBLEMS, seed: int = 0, *, cue: bool = True) -> list[str]:
    """Train problems, each solved twice: the bare answer, and (after the cue, where there is one) the worked solution.

    Select and test problems never occur.

    Args:
        n: number of problems; fewer where the task has fewer.
        cue: True if the model knows the task's cue. Otherwise worked solutions follow the direct prompt.
    """
    texts = []
    for problem in _train_problems(task, n, seed):
        texts.append(problem.prompt + task.direct(problem))
        worked = task.worked(problem)
        if worked is not None:
            texts.append(((problem.cue_prompt if cue else None) or problem.prompt) + worked)
    return texts


def _train_problems(task: Task, n: int, seed: int) -> list[Any]:
    """Up to `n` train problems. A task reports a pool that is too small only by an error, so `n` is lowered."""
    while n > 200:
        try:
            return task.problems("train", n, seed)
        except ElicitError:
            n //= 2
    return task.problems("train", None, seed)


def iter_file_texts(path: Path) -> Iterator[str]:
    """Documents of a .txt file (divided by blank lines) or a .jsonl file (the field `text` of each line).

    Raises:
        ElicitError: a file that is missing, of another kind, not UTF-8 or unreadable, or a line without text.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise ElicitError(f"text file {one_line(path, 200)}: expected a name that ends in .txt or .jsonl.")
    try:
        with path.open(encoding="utf-8") as file:
            yield from _iter_jsonl_texts(path, file) if path.suffix == ".jsonl" else _iter_paragraphs(file)
    except FileNotFoundError:
        near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ElicitError(f"text file {one_line(path, 200)} does not exist.{did_you_mean(path.name, near)}") from None
    except UnicodeDecodeError as error:
        raise ElicitError(f"text file {one_line(path, 200)} is not UTF-8: {one_line(error, 120)}.") from None
    except OSError as error:
        raise ElicitError(f"text file {one_line(path, 200)} cannot be read: {error.strerror or error}.") from None


def _iter_paragraphs(file: Any) -> Iterator[str]:
    paragraph: list[str] = []
    for line in file:
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield "".join(paragraph).rstrip("\n")
            paragraph = []
    if paragraph:
        yield "".join(paragraph).rstrip("\n")


def _iter_jsonl_texts(path: Path, file: Any) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise ElicitError(f'{path}, line {number}: not JSON; expected {{"text": ...}}.') from None
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise ElicitError(f'{path}, line {number}: {one_line(line, 60)!r} has no text; expected {{"text": ...}}.')
        if text.strip():
            yield text


def iter_dataset_texts(folder: Path) -> Iterator[str]:
    """Column `text` of a dataset stored with `datasets`' `save_to_disk` (its split `train`, if there are several).

    Raises:
        ElicitError: not a folder, or a dataset without such a column.
    """
    if not folder.is_dir():
        raise ElicitError(f"dataset folder {one_line(folder, 200)} does not exist.")
    import datasets

    try:
        dataset: Any = datasets.load_from_disk(str(folder))
    except Exception as error:  # datasets raises many types of exception for damaged folders
        raise ElicitError(
            f"{one_line(folder, 200)} cannot be read as a dataset (save_to_disk makes one): {one_line(error, 160)}"
        ) from None
    if isinstance(dataset, datasets.DatasetDict):
        if "train" not in dataset and len(dataset) > 1:
            raise unknown_name_error(
                "split of the dataset", "train", dataset, where=str(folder), hint="Name the split's own folder."
            )
        dataset = dataset["train"] if "train" in dataset else next(iter(dataset.values()))
    if "text" not in dataset.column_names:
        raise unknown_name_error("column", "text", dataset.column_names, where=str(folder))
    for row in dataset.select_columns(["text"]):
        if not isinstance(row["text"], str):
            raise ElicitError(f"{folder}: the column text holds {one_line(repr(row['text']), 40)}; expected text.")
        if row["text"].strip():
            yield row["text"]
