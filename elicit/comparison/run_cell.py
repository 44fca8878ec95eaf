"""One cell of a run that was opened: its status, rows, prompts, checkpoints and policy. See `elicit.comparison.run`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from elicit import runs
from elicit.comparison.cell_state import is_done, read_cell_status
from elicit.comparison.run_files import RunFiles
from elicit.comparison.spec import Spec, checkpoints
from elicit.comparison.spec.cells import Cell
from elicit.comparison.storage import prompts
from elicit.comparison.storage.typed_files import read_metrics
from elicit.errors import ElicitError, unknown_name_error
from elicit.methods.outside import shorten_reference
from elicit.schema import Row
from elicit.tasks import Problem

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy

State = Literal["pending", "done", "failed"]


class RowPrompt(NamedTuple):
    """The text in front of a completion."""

    prompt: str
    opening: str
    """Text that was forced upon the model as the beginning of its completion, "" for none."""
    exact: bool
    """Whether this is the text that the model saw, by its hash; False: the problem's own text, or nothing."""


@dataclass(frozen=True, eq=False)
class RunCell:
    """One model x arm x seed of a run."""

    run: RunFiles = field(repr=False)
    identity: Cell

    @property
    def model(self) -> str:
        return self.identity.model

    @property
    def arm(self) -> str:
        return self.identity.arm

    @property
    def seed(self) -> int:
        return self.identity.seed

    @property
    def name(self) -> str:
        """MODEL/ARM/SEED."""
        return self.identity.name

    @property
    def folder(self) -> Path:
        return self.identity.folder_in(self.run.folder)

    @property
    def spec(self) -> Spec:
        """The comparison of this model alone."""
        return self.run.spec.for_model(self.model)

    @property
    def options(self) -> Mapping[str, Any]:
        """The arm as the spec has it: its method and options."""
        return self.run.spec.arms[self.arm]

    @property
    def method(self) -> str:
        return shorten_reference(str(self.options["method"]))

    @property
    def target(self) -> str:
        """The label of the task that the model's arms are compared on."""
        return self.spec.task_label

    @property
    def tasks(self) -> tuple[str, ...]:
        """Labels of all tasks: the target's, then those off target."""
        return (self.target, *self.spec.off_target)

    @cached_property
    def status(self) -> Mapping[str, Any]:
        """`status.json`; `{"state": "pending"}` before the cell ran."""
        return read_cell_status(self.identity, self.run.folder)

    @property
    def state(self) -> State:
        state: State = self.status["state"]
        return state

    @property
    def is_complete(self) -> bool:
        """True if it is done, with everything that the spec asks for by now."""
        return is_done(self.identity, self.run.spec, self.run.folder, self.run.limit)

    @property
    def record(self) -> Mapping[str, Any]:
        """Plain data of what fitting found and cost; empty before it ended."""
        return self.status.get("record") or {}

    @property
    def model_facts(self) -> Mapping[str, Any]:
        """Hashes, dtype and device of the model it ran on."""
        return self.status.get("model") or self.run.manifest.get("models", {}).get(self.model) or {}

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """KL and perplexity; empty before they were measured."""
        return read_metrics(self.folder)

    def rows(self, task: str | None = None) -> list[Row]:
        """The rows of a task, of a cell that goes on those so far: `sample` 0 is the answer, others are at T = 1.

        Args:
            task: a label of the spec; None for the target task.

        Raises:
            ElicitError: an unknown task, or a damaged line.
        """
        label = self.target if task is None else task
        if label not in self.tasks:
            raise unknown_name_error("task", label, self.tasks, where=f"{self.run.path}: {self.name}")
        return runs.read_rows(self.folder / "rows" / f"{label}.jsonl")

    @cached_property
    def prompts(self) -> prompts.Prompts:
        """`prompt_hash` of a row -> (prompt, forced opening); empty for a run from before prompts were kept."""
        return prompts.read_prompt_file(self.folder)

    def find_prompt(self, row: Row) -> RowPrompt:
        """The prompt of a row, or the best that is known of it.

        Runs from before prompts were kept have only the hash: the prompt is then made again from the problem, and is
        `exact` only where the hash agrees.
        """
        if row.prompt_hash in self.prompts:
            prompt, opening = self.prompts[row.prompt_hash]
            return RowPrompt(prompt, opening, True)
        problem = self.find_problem(row)
        if problem is None:
            return RowPrompt("", "", False)
        candidates = [(problem.prompt, ""), (problem.cue_prompt or "", ""), (problem.prompt, problem.opening or "")]
        for prompt, opening in candidates:
            if prompts.hash_prompt(prompt + opening) == row.prompt_hash:
                return RowPrompt(prompt, opening, True)
        return RowPrompt(problem.prompt, "", False)

    def find_problem(self, row: Row) -> Problem | None:
        """The row's problem; None where the model, or the task's file, is gone."""
        return self.run.find_problems(self.model, row.task).get(row.problem)

    @property
    def checkpoints(self) -> Mapping[int, checkpoints.CheckpointResult]:
        """Step -> metrics and rows by task, of the checkpoints that the arm was evaluated at."""
        return checkpoints.read_checkpoints(self.folder, self.tasks)

    def policy(self, model: BaseModel | None = None) -> Policy:
        """The fitted policy, ready to sample and score.

        Args:
            model: the base model it was made of, loaded; None loads it by the name that the policy was saved with.

        Raises:
            ElicitError: an archive, which keeps no policies; a cell that was not fitted; a model with other weights.
        """
        from elicit.model import load
        from elicit.policy import Policy
        from elicit.policy_document import read_document

        folder = self.folder / "policy"
        if self.run.is_archive:
            raise ElicitError(
                f"{self.run.path} is an archive, which keeps no policies. Open the run directory that it was made of."
            )
        if not folder.is_dir():
            raise ElicitError(
                f"{self.run.path}: {self.name} has no policy: it is {self.state}. Run it to its end first."
            )
        return Policy.load(folder, load(read_document(folder).base.name) if model is None else model)
