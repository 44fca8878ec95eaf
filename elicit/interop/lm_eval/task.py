"""Our tasks as task files of lm-eval: the same problems, prompts, limits and verifier.

    FOLDER/NAME.yaml            what lm-eval reads; --tasks takes its path
    FOLDER/NAME.jsonl           the problems, with prompts as this model is asked them, chat markup included
    FOLDER/elicit_problems.py   three lines that lead from lm-eval to the lab

Any model of lm-eval can run them, at greedy decoding with the task's stop strings and length; a policy of the lab
answers as it does in a run. No file holds a path, so a folder may be moved, but judging needs the lab, and a task of
the user's own file needs that file where it was.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elicit import runs
from elicit.comparison.spec import TaskBinder, build_model_task
from elicit.errors import ElicitError, one_line
from elicit.interop.lm_eval.problems import TaskOrigin, build_document
from elicit.tasks.core import check_split

_FUNCTIONS = '''\
"""Leads from lm-eval to elicit. Written by `elicit lm-eval task`."""

from pathlib import Path

from elicit.interop.lm_eval import functions

judge = functions.judge


def problems(file, **_):
    return functions.problems(Path(__file__).with_name(file))
'''

_YAML = """\
# {label}: {n} {split} problems as {model} is asked them. Written by `elicit lm-eval task`.
task: {name}
custom_dataset: !function elicit_problems.problems
dataset_kwargs:
  file: {file}
output_type: generate_until
test_split: test
num_fewshot: 0
doc_to_text: prompt
doc_to_target: answer
target_delimiter: ""
generation_kwargs:
  until: {until}
  max_gen_toks: {tokens}
process_results: !function elicit_problems.judge
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: trace
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


def write_task(
    description: str | Mapping[str, Any],
    folder: str | Path,
    *,
    model: TaskBinder,
    model_name: str | None = None,
    label: str | None = None,
    split: str = "test",
    n: int = 200,
    seed: int = 0,
) -> Path:
    """Write a task for lm-eval.

    Args:
        description: a task as in a spec, `"addition"` or `{"task": "addition", "digits": 2, "prompts": {...}}`.
        folder: made if it is not there; other tasks may stand in it already.
        model: a loaded model (`elicit.load`): it decides the dialect and the chat template.
        label: the task's name in a run, part of every random number's identity. Default: the task's name.
        split, n, seed: which problems. The defaults are those of a comparison.

    Returns:
        The YAML file. Its task is called `elicit_LABEL_HASH`: lm-eval keeps built requests (`--cache_requests`) by the
        name of their task, so the name changes with the problems.

    Raises:
        ElicitError: an unknown task or split, fewer problems than asked for, or a folder that cannot be written.
    """
    plain = {"task": description} if isinstance(description, str) else dict(description)
    task = build_model_task(model, plain, where="lm-eval task")
    problems = task.problems(check_split(split), n, seed)
    label = label if label is not None else task.name
    if not re.fullmatch(r"[A-Za-z0-9_.+#-]{1,100}", label):
        raise ElicitError(f"lm-eval task: {one_line(repr(label), 60)} cannot be a file's name.")
    generation = {"until": list(task.stop), "max_gen_toks": task.max_new_tokens}
    origin = TaskOrigin(plain, model.card.get("dialect"), split, n, seed, label, generation, pool=True)
    lines = "".join(json.dumps(build_document(problem, origin), ensure_ascii=False) + "\n" for problem in problems)
    digest = hashlib.sha256(lines.encode()).hexdigest()[:8]
    task_folder = Path(folder)
    with runs.writing_to(task_folder):
        task_folder.mkdir(parents=True, exist_ok=True)
        runs.write_text(task_folder / "elicit_problems.py", _FUNCTIONS)
        runs.write_text(task_folder / f"{label}.jsonl", lines)
        runs.write_text(
            task_folder / f"{label}.yaml",
            _YAML.format(
                label=label,
                n=len(problems),
                split=split,
                model=one_line(model_name or getattr(model, "name", "this model"), 60),
                name=f"elicit_{label}_{digest}",
                file=json.dumps(f"{label}.jsonl"),
                until=json.dumps(generation["until"]),
                tokens=task.max_new_tokens,
            ),
        )
    return task_folder / f"{label}.yaml"
