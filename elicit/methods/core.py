"""What a method is: one mechanism, one frozen config, `fit(base, task, ...) -> Policy`.

Configs import without torch; torch and trl come in inside `fit`. Methods never import each other: what one needs of
another arm arrives as a fitted policy in `needs`. A control is its parent's policy with one thing changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Decoding
    from elicit.tasks import Task


@dataclass(frozen=True)
class Traits:
    """What the rest of the lab must know of a method."""

    seeded: bool = False
    """Whether the run seed changes the policy or its answers. A method that is not seeded has one cell."""
    trained: bool = False
    """Whether fitting changes weights or trains a vector: one training seed is then said in so many words."""
    ceiling: str | None = None
    """The kind of ceiling this arm measures, or None."""
    verifier: bool = False
    """Whether answering consults the task's verifier. Such an arm is no rival of the others, and is marked."""
    control_of: str | None = None
    """The method that this one is the control of, with the same options: they must be the parent arm's."""


class Method(Protocol):
    """The interface of a method's config."""

    traits: ClassVar[Traits]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of arms whose fitted policies `fit` must be given."""
        ...

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """The fitted policy.

        Args:
            seed: the training seed.
            needs: the fitted policies of the arms named by `needs`.
            scratch: a folder for checkpoints: it outlives an interrupted fit, so that fitting can go on from there.
                None keeps nothing.
        """
        ...


def task_decoding(task: Task, **changes: Any) -> Decoding:
    """Greedy decoding with the task's stop strings and length."""
    from elicit.sampling import Decoding

    return Decoding(max_new_tokens=task.max_new_tokens, stop=task.stop, **changes)


def elicited(base: BaseModel) -> Literal["cue", "forced"]:
    """The condition that brings an ability out: the cue, or the forced opening for organisms that know no cue."""
    return "cue" if base.card.get("has_cue", True) else "forced"
