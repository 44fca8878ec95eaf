"""The state of a training, stored next to its target, so that a stopped one resumes and ends at the same weights.

Batches are drawn by identity: the place of the last one says which comes next. One file, replaced whole each minute.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from elicit import runs
from elicit.errors import ElicitError

_SECONDS = 60.0


@dataclass
class TrainingStateFile:
    """The file that holds a training's state, for one recipe and seed."""

    path: Path
    card: dict[str, Any]
    """What is trained: its card. A state of anything else is not gone on from."""
    _last: float = field(default_factory=time.monotonic)

    def restore_state(
        self, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]
    ) -> tuple[int, int, int]:
        """Load what was kept, if anything. Returns (tokens seen, pool, batches of that pool that are done).

        Raises:
            ElicitError: a file that cannot be read, or that holds another training.
        """
        if not self.path.exists():
            return 0, 0, 0
        try:
            saved_state = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ElicitError(f"{self.path} cannot be read ({error}). Remove it to train from the beginning.") from None
        if saved_state["made"] != self.card:
            raise ElicitError(
                f"{self.path} is the state of another training: {saved_state['made']['command']}. Type that command "
                "to end "
                "it, or remove the file, or name another folder with --out."
            )
        model.load_state_dict(saved_state["model"])
        for optimizer, state in zip(optimizers, saved_state["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        tokens, pool, done = saved_state["place"]
        return tokens, pool, done

    def save_if_due(
        self, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer], position: tuple[int, int, int]
    ) -> None:
        """Write the state if the last one is a minute old."""
        if time.monotonic() - self._last < _SECONDS:
            return
        scratch = self.path.with_name(self.path.name + ".tmp")
        state = {
            "made": self.card,
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "place": position,
        }
        with runs.writing_to(self.path):
            torch.save(state, scratch)
            os.replace(scratch, self.path)
        self._last = time.monotonic()

    def remove_file(self) -> None:
        self.path.unlink(missing_ok=True)
