"""Checkpoints of a training run: the weights or vectors after step N.

On disk each step is a folder such as `000010` with the same files as a policy: `adapter_config.json` and
`adapter_model.safetensors`, or `weights.safetensors`, or `steering.json` and `steering.safetensors`. Loading is lazy: a
step is loaded on access and not cached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from elicit import steering, weights
from elicit.errors import ElicitError
from elicit.steering import AnyEdit

T = TypeVar("T")


class PolicyDelta(NamedTuple):
    """The parts of a policy that training changes."""

    weights: weights.Weights | None = None
    steering: tuple[AnyEdit, ...] = ()


class CheckpointHistory(NamedTuple):
    """The end of a training and its earlier checkpoints."""

    end: PolicyDelta
    """The final result. A policy with other weights or steering (a control with a random vector) does not match."""
    checkpoints: Mapping[int, PolicyDelta]
    """Step -> change after that step, for steps before the last."""

    def ends_in(self, delta: PolicyDelta) -> bool:
        """True if the training ended in these very objects."""
        same = len(delta.steering) == len(self.end.steering)
        edits = zip(delta.steering, self.end.steering, strict=False)
        return delta.weights is self.end.weights and same and all(edit is other for edit, other in edits)


@dataclass(frozen=True, eq=False)
class LazyCheckpoints(Mapping[int, T], Generic[T]):
    """Mapping from steps, in order, to values that are loaded on every access."""

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
    """Folder of a step; names sort like numbers."""
    return root / f"{step:06d}"


def load_checkpoint(root: Path, step: int) -> PolicyDelta:
    """Load the checkpoint of a step from a folder.

    Raises:
        ElicitError: it no longer exists.
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
    """Build the error for a step without a checkpoint."""
    known = ["0 (untrained)", *map(str, steps)] + ([f"{end} (its end)"] if end else [])
    return ElicitError(
        f"{policy!r} lacks a checkpoint of step {step}. It has: {', '.join(known)}. To keep others, train with "
        f"checkpoints: [{step}]."
    )
