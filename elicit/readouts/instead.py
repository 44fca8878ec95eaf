"""Another model's logits in the place of the base's: a reference that has learned what the base may have latently.

Both read the same prompts token by token, so they must have one tokenizer; the base's own forward pass is not run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from elicit import documents
from elicit.model import BaseModel
from elicit.readouts.second import Second
from elicit.sampling import Decoding, Engine, Request
from elicit.sampling.forward import State, step
from elicit.sampling.prefill import prefill


@dataclass(frozen=True)
class InsteadEntry:
    """Another model's logits in `readout.json`."""

    second: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Instead:
    """The second model answers alone."""

    second: Second

    kind: ClassVar[str] = "instead"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps([self.kind, self.second.sha256]).encode()).hexdigest()

    def __str__(self) -> str:
        return f"answered by {self.second}"

    @contextmanager
    def opened(self, model: BaseModel) -> Iterator[_Instead]:
        with self.second.opened(model) as running:
            yield _Instead(running.engine)

    def meaning(self) -> dict[str, Any]:
        return {"second": self.second.meaning()}

    def save(self, folder: Path) -> None:
        self.second.save(folder)

    @classmethod
    def read(cls, meaning: Mapping[str, Any], folder: Path) -> Instead:
        documents.as_record(meaning, InsteadEntry, cls.kind)
        return cls(Second.read(meaning["second"], folder))


@dataclass
class _Instead:
    """The `Forward` of another model."""

    other: Engine

    def prefill(
        self, engine: Engine, asked: list[Request], samples: list[int], decoding: Decoding
    ) -> tuple[State, torch.Tensor]:
        return prefill(self.other, asked, samples, decoding)

    def step(self, engine: Engine, state: State, tokens: torch.Tensor, rows: np.ndarray, offset: int) -> torch.Tensor:
        return step(self.other, state, tokens, rows, offset)
