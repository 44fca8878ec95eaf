"""Values of `--task`: a name, a file of problems, a comparison's spec, or a task written as in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elicit.errors import ElicitError


def parse_task_option(text: str) -> dict[str, Any]:
    """The plain description of a task.

    addition                            by name
    problems.jsonl                      the user's own file
    experiments/real/qwen.yaml          the target task of a comparison
    {task: sums, digits: [1, 2]}        with parameters, as in a spec

    Raises:
        ElicitError: a spec that cannot be read, or fields that are no mapping.
    """
    from elicit.comparison.spec.yaml_loading import check_plain_data, parse_yaml_mapping

    if text.endswith(".jsonl"):
        return {"task": "jsonl", "path": text}
    if text.endswith((".yaml", ".yml")):
        from elicit.comparison.spec import read_spec

        return dict(read_spec(Path(text)).task)
    if not text.lstrip().startswith("{"):
        return {"task": text}
    fields = parse_yaml_mapping(text, "--task")
    check_plain_data(fields, "--task")
    if not all(isinstance(name, str) for name in fields):
        raise ElicitError("--task: fields are names, such as {task: sums, digits: [1, 2]}.")
    return {str(name): value for name, value in fields.items()}
