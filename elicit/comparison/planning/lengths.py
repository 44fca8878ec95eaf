"""Estimate the lengths of a task's prompts and completions in a model's tokens, before anything is run.

Prompts and solutions are the task's own, counted with the model's tokenizer where its files are here. How long a model
thinks in its own words cannot be known in advance. Organisms write as the task does; other models took about four times
as many tokens as the task's own solution (Qwen2.5-Coder-0.5B on sums: 120 to 160 for 35), up to the limit. Asked for
the bare answer, one model gives 5 tokens (Qwen2.5-Coder-0.5B) and another 50 (SmolLM2-135M), so the estimate is the
geometric mean of the bare answer's length and the length of a worked solution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elicit.comparison.spec import Spec, build_task
from elicit.errors import ElicitError
from elicit.loading import catalog, converted, hub, size
from elicit.loading.catalog import ModelSource
from elicit.loading.tokenizer_bounds import check_tokenizer
from elicit.method import TokenLengths
from elicit.tasks import Problem, Split, Task
from elicit.tasks.prompts import AskedTask

#: Tokens of a worked solution in a model's own words, per token of the task's solution.
_WORDY = 4.0
#: Tokens around a message in a chat template, a system message included.
_CHAT = 24
#: Characters per token where no tokenizer can be read: text with numbers in it.
CHARACTERS = 3.0
_PROBLEMS = 16


def estimate_lengths(
    spec: Spec, description: Mapping[str, Any], source: ModelSource, folder: Path | None
) -> TokenLengths:
    """Estimate the lengths of a task's prompts and completions.

    Args:
        folder: the model's files, for its tokenizer; None where they are not here.
    """
    dialect = ((catalog.read_card(folder) if folder is not None else None) or {}).get("dialect")
    task = build_task(description, dialect, where="task")
    # A chat template's tokens are added: rendering one takes the model's whole tokenizer.
    task = task.without_chat_template() if isinstance(task, AskedTask) else task
    count = _make_token_counter(folder)
    shape = size.read_model_shape(source)
    problems = _load_example_problems(task)
    chat = _CHAT if isinstance(task, AskedTask) and folder is not None and _has_chat_template(folder) else 0
    limit = task.max_new_tokens
    bare = _mean_tokens([count(problem.prompt) for problem in problems]) + chat
    cue = _mean_tokens([count(problem.cue_prompt or problem.prompt) for problem in problems]) + chat
    direct = 1 + _mean_tokens([count(task.direct(problem) or "") for problem in problems])
    worked = 1 + _mean_tokens([count(task.worked(problem) or task.direct(problem)) for problem in problems])
    thought = min(limit, worked if dialect is not None else _WORDY * worked)
    plain = min(limit, direct if dialect is not None else math.sqrt(direct * thought))
    plain = thought if _asks_for_working(task) else plain
    return TokenLengths(bare, cue, plain, min(worked, limit), thought, limit, shape.layers if shape else 24)


def _load_example_problems(task: Task) -> list[Problem]:
    """A few problems from any split that has them: a small file may have empty splits."""
    attempts: tuple[tuple[Split, int | None], ...] = (
        ("train", _PROBLEMS),
        ("train", None),
        ("select", None),
        ("test", None),
    )
    for split, n in attempts:
        try:
            return task.problems(split, n)[:_PROBLEMS]
        except ElicitError:
            continue
    return []


def find_model_folder(source: ModelSource) -> Path | None:
    """Folder of a model's config and tokenizer (a .gguf file has one once it is converted); None if it is not here."""
    if source.path is None:
        return hub.find_cached_config(source.name)
    return converted.find_converted_folder(source.path) if source.kind == "gguf" else source.path


def _mean_tokens(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _asks_for_working(task: Task) -> bool:
    """True if the plain condition shows working, or is a bare question, which chat models answer at length."""
    if not isinstance(task, AskedTask):
        return False
    asking = task.asking
    if asking.shots:
        return asking.shown == "worked"
    return asking.direct.strip() == "{question}"


def _make_token_counter(folder: Path | None) -> Callable[[str], int]:
    path = None if folder is None else folder / "tokenizer.json"
    if path is None or not path.is_file():
        return lambda text: round(len(text) / CHARACTERS)
    from tokenizers import Tokenizer

    check_tokenizer(path, path.parent.name)
    tokenizer = Tokenizer.from_file(str(path))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    path = folder / "tokenizer_config.json"
    return path.is_file() and '"chat_template"' in path.read_text(encoding="utf-8", errors="replace")
