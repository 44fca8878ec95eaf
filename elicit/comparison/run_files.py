"""Files of a run that was opened: what is read first, and the test problems that its rows answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elicit.comparison.cell_state import load_test_problems
from elicit.comparison.problems import load_run_task
from elicit.comparison.reader import dialect_of
from elicit.comparison.spec import Spec
from elicit.errors import ElicitError
from elicit.tasks import Problem


@dataclass(frozen=True, eq=False)
class RunFiles:
    """A run directory, or an unpacked archive, without its cells."""

    path: Path
    """The folder that was named."""
    folder: Path
    """The run directory: `path` itself, or where an archive was unpacked to."""
    spec: Spec
    limit: int | None
    """Test problems that the run was cut to; None for all of the spec."""
    manifest: Mapping[str, Any]
    """Command, commit, packages, machine, hashes and versions; empty for a run without one."""
    _problems: dict[tuple[str, str], Mapping[str, Problem]] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def is_archive(self) -> bool:
        """Archives keep no policies and no panels."""
        return self.folder != self.path

    def problems(self, model: str, task: str | None = None) -> Mapping[str, Problem]:
        """The test problems of a task by their ids, as the model was given them.

        Args:
            task: a label of the spec; None for the target task.

        Raises:
            ElicitError: they cannot be made again: a model or a file that the task needs is gone.
        """
        model_spec = self.spec.for_model(model)
        label = model_spec.task_label if task is None else task
        if (model, label) not in self._problems:
            dialect = dialect_of(self.spec, self.folder, model)
            bound = load_run_task(self.spec, self.folder, model, label, dialect)
            every = load_test_problems(bound, model_spec, self.limit)
            self._problems[model, label] = {problem.id: problem for problem in every}
        return self._problems[model, label]

    def find_problems(self, model: str, task: str | None = None) -> Mapping[str, Problem]:
        """The same; empty where they cannot be made again, which is tried once."""
        label = self.spec.for_model(model).task_label if task is None else task
        try:
            return self.problems(model, label)
        except ElicitError:
            self._problems[model, label] = {}
            return {}
