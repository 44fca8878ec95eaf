"""A training's trail: what it had made of a policy after so many steps.

On disk each step is a folder, `000010`, as a policy's own: `adapter_config.json` and `adapter_model.safetensors`, or
`weights.safetensors`, or `steering.json` and `steering.safetensors`. Reading is lazy: a step is read when it is asked
for, and nobody here holds on to what was read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from elicit import steering, weights
from elicit.errors import ElicitError
from elicit.steering import Gated, Steering

T = TypeVar("T")


class Change(NamedTuple):
    """What training changes in a policy."""

    weights: weights.Weights | None = None
    steering: tuple[Steering | Gated, ...] = ()


class Trail(NamedTuple):
    """Where a training ended, and what was kept on the way."""

    end: Change
    """A policy with other weights or steering than these (a control with a random vector) is not of this trail."""
    kept: Mapping[int, Change]
    """Steps before the last, and what training had made by then."""

    def leads_to(self, found: Change) -> bool:
        """Whether it ends in these very objects."""
        same = len(found.steering) == len(self.end.steering)
        edits = zip(found.steering, self.end.steering, strict=False)
        return found.weights is self.end.weights and same and all(one is other for one, other in edits)


@dataclass(frozen=True, eq=False)
class Lazy(Mapping[int, T], Generic[T]):
    """Steps, in order, and what there is at each: read whenever it is asked for."""

    steps: tuple[int, ...]
    read: Callable[[int], T]

    def __getitem__(self, step: int) -> T:
        if step not in self.steps:
            raise KeyError(step)
        return self.read(step)

    def __iter__(self) -> Iterator[int]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __contains__(self, step: object) -> bool:
        return step in self.steps

    def __repr__(self) -> str:
        return f"Lazy(steps {', '.join(map(str, self.steps)) or 'none'})"


def folder_of(root: Path, step: int) -> Path:
    """Where a step is kept: names sort as numbers do."""
    return root / f"{step:06d}"


def kept_at(root: Path, step: int) -> Change:
    """What was kept under a folder after a step.

    Raises:
        ElicitError: where it is not there any more.
    """
    place = folder_of(root, step)
    if not place.is_dir():
        raise ElicitError(
            f"the checkpoint of step {step} was kept in {place}, which is gone. Save the policy before its scratch "
            "folder is removed, and load what was saved."
        )
    return Change(weights.load(place), steering.load(place))


def save(change: Change, folder: Path) -> None:
    """Write a change into an existing folder."""
    if change.steering:
        steering.save(change.steering, folder)
    if change.weights is not None:
        change.weights.save(folder)


def unknown_step(step: int, kept: Iterable[int], end: int | None, given: Any) -> ElicitError:
    """The error for a step that nothing was kept of."""
    known = ["0 (untrained)", *map(str, kept)] + ([f"{end} (its end)"] if end else [])
    return ElicitError(
        f"{given!r} has no checkpoint of step {step}. It has: {', '.join(known)}. To keep others, train with "
        f"checkpoints: [{step}]."
    )
