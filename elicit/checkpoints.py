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
from elicit.steering import GatedEdit, Steering

T = TypeVar("T")


class PolicyDelta(NamedTuple):
    """What training changes in a policy."""

    weights: weights.Weights | None = None
    steering: tuple[Steering | GatedEdit, ...] = ()


class CheckpointHistory(NamedTuple):
    """Where a training ended, and what was kept on the way."""

    end: PolicyDelta
    """A policy with other weights or steering than these (a control with a random vector) is not of this trail."""
    checkpoints: Mapping[int, PolicyDelta]
    """Steps before the last, and what training had made by then."""

    def ends_in(self, delta: PolicyDelta) -> bool:
        """Whether it ends in these very objects."""
        same = len(delta.steering) == len(self.end.steering)
        edits = zip(delta.steering, self.end.steering, strict=False)
        return delta.weights is self.end.weights and same and all(edit is other for edit, other in edits)


@dataclass(frozen=True, eq=False)
class LazyCheckpoints(Mapping[int, T], Generic[T]):
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


def step_folder(root: Path, step: int) -> Path:
    """Where a step is kept: names sort as numbers do."""
    return root / f"{step:06d}"


def load_checkpoint(root: Path, step: int) -> PolicyDelta:
    """What was kept under a folder after a step.

    Raises:
        ElicitError: where it is not there any more.
    """
    folder = step_folder(root, step)
    if not folder.is_dir():
        raise ElicitError(
            f"the checkpoint of step {step} was kept in {folder}, which is gone. Save the policy before its scratch "
            "folder is removed, and load what was saved."
        )
    return PolicyDelta(weights.load_weights(folder), steering.load_edits(folder))


def save_delta(change: PolicyDelta, folder: Path) -> None:
    """Write a change into an existing folder."""
    if change.steering:
        steering.save_edits(change.steering, folder)
    if change.weights is not None:
        change.weights.save(folder)


def unknown_step_error(step: int, steps: Iterable[int], end: int | None, policy: Any) -> ElicitError:
    """The error for a step that nothing was kept of."""
    known = ["0 (untrained)", *map(str, steps)] + ([f"{end} (its end)"] if end else [])
    return ElicitError(
        f"{policy!r} has no checkpoint of step {step}. It has: {', '.join(known)}. To keep others, train with "
        f"checkpoints: [{step}]."
    )
