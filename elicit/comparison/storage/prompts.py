"""Prompts of a cell by the hash in its rows: `prompts.json`. Imports no torch.

Rows hold only a prompt's hash, since all samples of a problem and most arms share the text. Rendering it again from the
problem and the policy would need the model's chat template; an archive contains neither template nor policy.
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

#: Hash -> (prompt, forced opening of the completion, "" for none).
Prompts = Mapping[str, Sequence[str]]


def hash_prompt(text: str) -> str:
    """The `prompt_hash` of a row: hash of the prompt followed by the forced opening."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_prompts(policy: Policy, problems: Sequence[Problem], folder: Path) -> None:
    """Write `prompts.json`: the policy's prompts for these problems, of all the cell's tasks."""
    pairs = [policy.prompting.render(problem) for problem in problems]
    write_prompt_file(folder, {hash_prompt(prompt + opening): (prompt, opening) for prompt, opening in pairs})


def write_prompt_file(folder: Path, prompts: Prompts) -> None:
    """Write prompts on one line: there are many, and programs read them."""
    runs.write_text(folder / PROMPTS_FILE, json.dumps(prompts, ensure_ascii=False) + "\n")


def read_prompt_file(folder: Path) -> Prompts:
    """Read the prompts of a cell; empty for a cell of an older run."""
    path = folder / PROMPTS_FILE
    prompts: Prompts = typed_files.read_file(path, file_types.Prompts) if path.exists() else {}
    return prompts
