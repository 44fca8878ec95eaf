"""A run directory or a committed archive, cell by cell, as the exporters need it. Imports no torch.

What a model was asked stands in `prompts.json`. Runs from before there was one have only the prompt's hash in their
rows: the prompt is then rebuilt, and given out only where the hash agrees, so that no export shows a prompt that nobody
was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from elicit.comparison import archive
from elicit.comparison.reader import read_arms, read_run_spec
from elicit.comparison.running.cell_runner import read_cell_status
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.comparison.storage import prompts
from elicit.comparison.storage.typed_files import read_manifest
from elicit.comparison.summary.summarise import summarise_run
from elicit.errors import ElicitError, unknown_name_error
from elicit.methods.outside import shorten_reference
from elicit.report.data.run_reader import rebuild_problems
from elicit.schema import Row
from elicit.tasks import Problem


class RowPrompt(NamedTuple):
    """What stands in front of a completion."""

    prompt: str
    opening: str
    """Text that was forced upon the model as the beginning of its completion, "" for none."""
    exact: bool
    """Whether this is what the model saw, by its hash; False: the problem's own text, or nothing."""


@dataclass(frozen=True)
class RunSource:
    """A run."""

    run: Path
    name: str
    spec: Spec
    limit: int | None
    manifest: Mapping[str, Any]
    _problems: dict[tuple[str, str], Mapping[str, Problem]] = field(default_factory=dict)

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """The run's figures, from its rows: `summary.json` may be of an earlier moment, or damaged."""
        return summarise_run(self.run)

    def load_problems(self, model: str, label: str) -> Mapping[str, Problem]:
        """The test problems of one task as the model was given them; empty where they cannot be rebuilt."""
        if (model, label) not in self._problems:
            problems = rebuild_problems(self.spec, self.limit, self.run, model, label)
            self._problems[model, label] = {} if isinstance(problems, str) else problems
        return self._problems[model, label]

    def check_arms(self, arms: Sequence[str] | None) -> None:
        """Raises ElicitError for an arm that the spec does not have."""
        for arm in arms or ():
            if arm not in self.spec.arms:
                raise unknown_name_error("arm", arm, self.spec.arms, where="--arms")

    def iter_statuses(self) -> Iterator[tuple[Cell, Mapping[str, Any]]]:
        """Every cell and its status, finished or not, without its rows."""
        for cell in list_cells(self.spec):
            yield cell, read_cell_status(cell, self.run)

    def iter_finished_cells(self, arms: Sequence[str] | None = None) -> Iterator[FinishedCell]:
        """The finished cells of all arms, or of some.

        Raises:
            ElicitError: an arm that the spec does not have.
        """
        self.check_arms(arms)
        for model in self.spec.models:
            for arm, data in read_arms(self.spec, self.run, model).items():
                if arms is not None and arm not in arms:
                    continue
                done = [i for i, status in enumerate(data.statuses) if status["state"] == "done"]
                for position, i in enumerate(done):
                    rows = {label: seeds[position] for label, seeds in data.rows.items()}
                    yield FinishedCell(self, data.cells[i], data.statuses[i], rows)


@dataclass(frozen=True)
class FinishedCell:
    """One finished cell."""

    source: RunSource
    cell: Cell
    status: Mapping[str, Any]
    rows: Mapping[str, list[Row]]
    """Task label -> rows."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The arm as the spec has it: its method and options."""
        return self.source.spec.arms[self.cell.arm]

    @property
    def method(self) -> str:
        return shorten_reference(str(self.options["method"]))

    @property
    def target(self) -> str:
        """The label of the task that the model's arms are compared on."""
        return self.source.spec.for_model(self.cell.model).task_label

    @property
    def record(self) -> Mapping[str, Any]:
        """What the fit found and cost."""
        return self.status.get("record") or {}

    @property
    def model_facts(self) -> Mapping[str, Any]:
        """Hashes, dtype and device of the model it ran on."""
        return self.status.get("model") or self.source.manifest.get("models", {}).get(self.cell.model) or {}

    @property
    def folder(self) -> Path:
        return self.cell.folder_in(self.source.run)

    @cached_property
    def _prompts(self) -> prompts.Prompts:
        return prompts.read_prompt_file(self.folder)

    def find_problem(self, row: Row) -> Problem | None:
        """The row's problem; None where the model, or the task's file, is gone."""
        return self.source.load_problems(self.cell.model, row.task).get(row.problem)

    def find_prompt(self, row: Row) -> RowPrompt:
        """The prompt of a row, or the best that is known of it."""
        if row.prompt_hash in self._prompts:
            prompt, opening = self._prompts[row.prompt_hash]
            return RowPrompt(prompt, opening, True)
        problem = self.find_problem(row)
        if problem is None:
            return RowPrompt("", "", False)
        candidates = [(problem.prompt, ""), (problem.cue_prompt or "", ""), (problem.prompt, problem.opening or "")]
        for prompt, opening in candidates:
            if prompts.hash_prompt(prompt + opening) == row.prompt_hash:
                return RowPrompt(prompt, opening, True)
        return RowPrompt(problem.prompt, "", False)


@contextmanager
def open_run_source(path: str | Path) -> Iterator[RunSource]:
    """A run directory, or an archive, which is unpacked for as long as the block runs.

    Raises:
        ElicitError: neither of the two, or one that cannot be read.
    """
    run_path = Path(path)
    if not run_path.is_dir():
        raise ElicitError(f"{run_path} is no folder. Name a run directory or an archive. See: elicit ls runs")
    with archive.open_run_directory(run_path) as run:
        spec, limit = read_run_spec(run)
        yield RunSource(run, run_path.resolve().name, spec, limit, read_manifest(run))


def select_answers(rows: Sequence[Row]) -> list[Row]:
    """The policy's own answers: what accuracies are made of."""
    return [row for row in rows if row.sample == 0]


def select_samples(rows: Sequence[Row]) -> list[Row]:
    """Samples at temperature 1: what pass@k is made of."""
    return [row for row in rows if row.sample > 0]
