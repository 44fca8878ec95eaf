"""Tasks: problems by (split, seed), solutions, errors, critiques and a total verifier."""

from elicit.tasks.asking import AskedTask, Asking
from elicit.tasks.catalog import get, names
from elicit.tasks.core import Noisy, Problem, Split, Task, Verdict
from elicit.tasks.dialect import Dialect
from elicit.tasks.english import English
from elicit.tasks.generated import GeneratedTask

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
