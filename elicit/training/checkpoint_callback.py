"""Checkpoints for users: copies of the trained weights or vectors after chosen steps of a training.

Each is a folder under `snapshots` of the scratch folder, written elsewhere and renamed into place with a seal inside
(`resume`); without a scratch folder, under a temporary one that exists as long as its result is referenced. Copies do
not stay in memory. A copy is taken at the end of its step, before the trainer may write its own checkpoint of that
step. So a training resumes only from a step before which no copy is missing, and takes the later copies again.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from elicit import runs
from elicit.checkpoints import LazyCheckpoints, PolicyDelta, load_checkpoint, save_delta, step_folder
from elicit.training.resume import is_sealed_for, seal_folder
from elicit.training.world import get_world


class SnapshotCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Saves a copy of the trained values after each of some steps."""

    def __init__(
        self,
        steps: Collection[int],
        copy_change: Callable[[], PolicyDelta],
        *,
        identity: str,
        scratch: Path | None = None,
    ) -> None:
        """
        Args:
            steps: steps after which to keep a copy.
            copy_change: copies the change by training so far; called at the end of a step.
            identity: hash of the training. Copies of another training, or of steps not requested, are removed.
            scratch: the training's scratch folder, which outlives an interruption.
        """
        self._steps, self._made, self._identity = frozenset(steps), copy_change, identity
        self._place = _SnapshotFolder(scratch, temporary=scratch is None and bool(steps))
        self._root = self._place.root
        whole = {
            step_folder(self._root, step)
            for step in self._steps
            if is_sealed_for(step_folder(self._root, step), identity)
        }
        world = get_world()
        world.wait_for_all()
        for folder in self._root.glob("*") if steps and world.is_main else ():
            if folder not in whole:
                shutil.rmtree(folder)
        world.wait_for_all()

    @property
    def first_missing(self) -> int | None:
        """The first step without a copy; None if all exist."""
        return min((step for step in self._steps if not step_folder(self._root, step).is_dir()), default=None)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step not in self._steps:
            return
        delta = self._made()
        if get_world().is_main:
            with runs.fresh_folder(step_folder(self._root, state.global_step)) as new:
                save_delta(delta, new)
                seal_folder(new, self._identity)
        get_world().wait_for_all()

    def collect_checkpoints(self, end: int) -> Mapping[int, PolicyDelta]:
        """The copies from before the last step, whose result is the policy itself."""
        snapshot_folder = self._place  # not self: the reader must keep the temporary folder alive, but not the model
        steps = tuple(sorted(step for step in self._steps if step < end))
        return LazyCheckpoints(steps, lambda step: load_checkpoint(snapshot_folder.root, step))


class _SnapshotFolder:
    """A folder for copies. A temporary one is removed when it is no longer referenced, or when the process ends."""

    def __init__(self, scratch: Path | None, *, temporary: bool) -> None:
        if temporary:
            self.root = Path(tempfile.mkdtemp(prefix="elicit-snapshots-"))
            weakref.finalize(self, shutil.rmtree, self.root, ignore_errors=True)
        else:
            self.root = (scratch or Path()) / "snapshots"
