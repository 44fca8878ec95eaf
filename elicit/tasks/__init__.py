"""Tasks: problems by (split, seed), worked and flawed solutions, critiques, and a verifier that is total."""

from elicit.tasks.answers.base import ReaderBase
from elicit.tasks.answers.reader import ParsedAnswer
from elicit.tasks.base import TaskBase
from elicit.tasks.catalog import get, names
from elicit.tasks.core import Noisy, Problem, Split, Task, Verdict, content_id, split_of
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
    "ParsedAnswer",
    "Problem",
    "ReaderBase",
    "Split",
    "Task",
    "TaskBase",
    "Verdict",
    "content_id",
    "get",
    "names",
    "split_of",
]
