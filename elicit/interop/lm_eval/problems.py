"""Problems of the lab inside lm-eval's documents.

A document of a task file of ours carries, beside its prompt and answer, where it comes from. From that the task and the
problem are made again: so that the answer is judged by the task's own verifier, and so that a policy which needs more
than the prompt (a cue prompt, a forced opening, a reader of answers to vote on, the identity of its random numbers)
finds it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from elicit.comparison.spec import build_task
from elicit.errors import ElicitError
from elicit.tasks import Problem, Task
from elicit.tasks.sequential import draw_sequentially

#: The column of a document that says where it comes from.
ORIGIN = "elicit"


class TaskOrigin(NamedTuple):
    """The origin of a task file's problems, and the settings for answering them."""

    description: Mapping[str, Any]
    """The task, as in a spec."""
    dialect: Mapping[str, Any] | None
    """The organism's; None is plain English."""
    split: str
    n: int
    seed: int
    label: str
    """The task's name in a run: part of every random number's identity."""
    generation: Mapping[str, Any]
    """What the task file says of generation: for models that have no decoding of their own."""
    pool: bool = False
    """True if generated problems come from a pool (`elicit.tasks.pool`). Older files lack this: theirs were drawn one
    after another."""

    def to_json(self) -> str:
        """As it stands in a document."""
        return json.dumps(self._asdict(), sort_keys=True)


class LabDocument(NamedTuple):
    """A document of ours."""

    problem: Problem
    """With the prompts that stand in the document: as the model it was written for is asked."""
    task: Task
    origin: TaskOrigin


def build_document(problem: Problem, origin: TaskOrigin) -> dict[str, Any]:
    """One line of a task file."""
    return {
        "id": problem.id,
        "prompt": problem.prompt,
        "answer": problem.answer,
        "cue_prompt": problem.cue_prompt,
        "opening": problem.opening,
        "group": problem.group,
        ORIGIN: origin.to_json(),
    }


def restore_document(doc: Any) -> LabDocument | None:
    """The problem of a document; None if it is none of ours.

    Raises:
        ElicitError: a document whose task now gives other problems.
    """
    if not isinstance(doc, Mapping) or not isinstance(doc.get(ORIGIN), str):
        return None
    origin, task, problems = _rebuild_task(doc[ORIGIN])
    problem = problems.get(doc["id"])
    if problem is None or problem.answer != doc["answer"]:
        raise ElicitError(
            f"lm-eval: problem {doc['id']} is not one that task {origin.label!r} gives now: its parameters, its file "
            "or the lab have changed since the task file was written. Write it anew: elicit lm-eval task"
        )
    prompts = {name: doc[name] for name in ("prompt", "cue_prompt", "opening")}
    return LabDocument(dataclasses.replace(problem, **prompts), task, origin)


@lru_cache(maxsize=8)
def _rebuild_task(text: str) -> tuple[TaskOrigin, Task, dict[str, Problem]]:
    origin = TaskOrigin(**json.loads(text))
    description = dict(origin.description)
    if "prompts" in description:
        # Prompts come from the document, chat markup included; a template would need the model.
        description["prompts"] = {"chat": False}
    task = build_task(description, origin.dialect, where="lm-eval")
    task = task if origin.pool else draw_sequentially(task)
    problems = task.problems(origin.split, origin.n, origin.seed)  # type: ignore[arg-type]
    return origin, task, {problem.id: problem for problem in problems}
