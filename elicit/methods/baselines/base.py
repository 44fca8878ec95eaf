"""`base`: the untouched base model, greedy, under the task's own prompt. Every other arm is compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.method import Method, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class Base(Method):
    """The base model as it is. No options."""

    traits: ClassVar[Traits] = Traits(family="frame", untouched=True)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        from elicit.policy import Policy

        return Policy(base, task_decoding(task))
