"""Functions that our task files call from inside lm-eval: reading its problems and judging answers.

lm-eval runs the functions that a task's YAML names before it looks up the model's name. Importing this module therefore
also registers the model `elicit`, and a plain `lm_eval --model elicit --tasks FOLDER/NAME.yaml` finds it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from elicit.errors import ElicitError
from elicit.interop import lm_eval
from elicit.interop.lm_eval.problems import restore_document

lm_eval.register_model()


def problems(path: Path) -> Any:
    """The problems of a task file, as lm-eval takes them: a `DatasetDict` with a test split."""
    from datasets import Dataset, DatasetDict

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return DatasetDict({"test": Dataset.from_list(rows)})


def judge(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """`acc` and `trace` (whether it shows its working) of one completion, by the task's own verifier.

    Raises:
        ElicitError: a document that is not ours.
    """
    document = restore_document(doc)
    if document is None:
        raise ElicitError("lm-eval: this document was not written by `elicit lm-eval task`.")
    text = results[0][0] if isinstance(results[0], list) else results[0]
    verdict = document.task.verify(document.problem, str(text))
    return {"acc": float(verdict.correct), "trace": float(verdict.has_trace)}
