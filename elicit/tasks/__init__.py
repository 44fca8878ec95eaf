"""Tasks: problems by (split, seed), solutions, errors, critiques and a total verifier."""

from elicit.tasks.catalog import get, names
from elicit.tasks.core import Noisy, Problem, Split, Task, Verdict
from elicit.tasks.generated.dialect import Dialect
from elicit.tasks.generated.english import English
from elicit.tasks.generated.task import GeneratedTask
from elicit.tasks.prompts import AskedTask, Asking

__all__ = [
    "AskedTask",
    "Asking",
    "Dialect",
    "English",
    "GeneratedTask",
    "Noisy",
    "Problem",
    "Split",
    "Task",
    "Verdict",
    "get",
    "names",
]
