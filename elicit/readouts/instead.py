"""Another model's logits in place of the base's: a reference that shows what the base may have latently.

Both models read the same prompt tokens, so they need the same tokenizer; the base's forward pass is not run.
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
from elicit.readouts.second import SecondModel
from elicit.sampling import Decoding, Engine, Request
from elicit.sampling.forward import DecodingState, decode_step
from elicit.sampling.prefill import prefill_prompts


@dataclass(frozen=True)
class ReplacementModelEntry:
    """Another model's logits in `readout.json`."""

    second: dict[str, Any]


@dataclass(frozen=True, eq=False)
class ReplacementModel:
    """Readout in which the second model answers alone."""

    second: SecondModel

    kind: ClassVar[str] = "instead"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps([self.kind, self.second.sha256]).encode()).hexdigest()

    def __str__(self) -> str:
        return f"answered by {self.second}"

    @contextmanager
    def open_forward(self, model: BaseModel) -> Iterator[_ReplacementForward]:
        with self.second.open_model(model) as running:
            yield _ReplacementForward(running.engine)

    def to_json(self) -> dict[str, Any]:
        return {"second": self.second.to_json()}

    def save_tensors(self, folder: Path) -> None:
        self.second.save_tensors(folder)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], folder: Path) -> ReplacementModel:
        documents.as_record(data, ReplacementModelEntry, cls.kind)
        return cls(SecondModel.from_json(data["second"], folder))


@dataclass
class _ReplacementForward:
    """The `Forward` of another model."""

    other: Engine

    def prefill(
        self, engine: Engine, requests: list[Request], samples: list[int], decoding: Decoding
    ) -> tuple[DecodingState, torch.Tensor]:
        return prefill_prompts(self.other, requests, samples, decoding)

    def step(
        self, engine: Engine, state: DecodingState, tokens: torch.Tensor, rows: np.ndarray, offset: int
    ) -> torch.Tensor:
        return decode_step(self.other, state, tokens, rows, offset)
