"""Tasks: problems by (split, seed), solutions, errors, critiques and a total verifier."""

from elicit.tasks.catalog import get, names
from elicit.tasks.core import Noisy, Problem, Split, Task, Verdict
from elicit.tasks.generated import Dialect, GeneratedTask

__all__ = ["Dialect", "GeneratedTask", "Noisy", "Problem", "Split", "Task", "Verdict", "get", "names"]
