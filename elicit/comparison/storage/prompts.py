"""What a cell's policy was asked, by the hash that its rows carry: `prompts.json`. Imports no torch.

Rows hold a prompt's hash alone, since all samples of a problem and most arms share the text. It could be rendered again
from the problem and the policy, but not without the model's chat template and not from an archive, which keeps neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from elicit import runs
from elicit.comparison.storage import file_types, typed_files

if TYPE_CHECKING:
    from elicit.policy import Policy
    from elicit.tasks import Problem

PROMPTS_FILE = "prompts.json"

#: Hash -> (prompt, opening that was forced upon the model, "" for none).
Prompts = Mapping[str, Sequence[str]]


def hash_prompt(text: str) -> str:
    """The `prompt_hash` of a row: of the prompt and of the forced opening behind it."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_prompts(policy: Policy, problems: Sequence[Problem], folder: Path) -> None:
    """Write `prompts.json`: every prompt of these problems, of all the cell's tasks."""
    pairs = [policy.prompting.render(problem) for problem in problems]
    write_prompt_file(folder, {hash_prompt(prompt + opening): (prompt, opening) for prompt, opening in pairs})


def write_prompt_file(folder: Path, prompts: Prompts) -> None:
    """One line: prompts are read by programs, and there are many."""
    runs.write_text(folder / PROMPTS_FILE, json.dumps(prompts, ensure_ascii=False) + "\n")


def read_prompt_file(folder: Path) -> Prompts:
    """What was written; empty for a cell of an older run."""
    path = folder / PROMPTS_FILE
    prompts: Prompts = typed_files.read_file(path, file_types.Prompts) if path.exists() else {}
    return prompts
