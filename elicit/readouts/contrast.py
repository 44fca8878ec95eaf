"""Contrastive decoding: an expert's logits minus an amateur's, over the tokens the expert finds plausible.

With e and a their logits, tau the amateur's temperature and V = {x: p_e(x) >= alpha max p_e},

    original  (2210.15097)   log softmax(e)(x) - log softmax(a / tau)(x)   for x in V, else -inf
    adjusted  (2309.09117)   (1 + beta) e(x) - beta a(x)                   for x in V, else -inf

Deviations: the first paper uses beam search; here its scores are used token by token. Adding a constant to all logits
of a step does not change the result, so the adjusted form is computed on log-probabilities.

Both models run at every step, each with its own cache; the policy's model is the expert, unless `swapped`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float

from elicit import documents
from elicit.errors import ElicitError
from elicit.model import BaseModel
from elicit.readouts.logits import find_plausible_tokens, mask_token_ids
from elicit.readouts.second import SecondModel
from elicit.readouts.watching import PairedState
from elicit.sampling import Decoding, Engine, Request
from elicit.sampling.forward import decode_step
from elicit.sampling.prefill import prefill_prompts

Formula = Literal["original", "adjusted"]


@dataclass(frozen=True)
class ContrastReadoutEntry:
    """A contrast in `readout.json`."""

    second: dict[str, Any]
    formula: Formula
    alpha: float
    beta: float
    temperature: float
    swapped: bool


@dataclass(frozen=True, eq=False)
class ContrastReadout:
    """Combination of two models' logits. Equality is by `sha256`."""

    second: SecondModel
    formula: Formula = "adjusted"
    alpha: float = 0.1
    """Plausible tokens have at least this fraction of the expert's largest probability; 0 takes all."""
    beta: float = 0.5
    """Weight of the subtraction (adjusted)."""
    temperature: float = 0.5
    """The amateur's temperature (original)."""
    swapped: bool = False
    """True if the second model is the expert and the policy's own the amateur."""

    kind: ClassVar[str] = "contrast"

    def __post_init__(self) -> None:
        check_contrast_options(self.alpha, self.beta, self.temperature)

    @property
    def sha256(self) -> str:
        options = {name: value for name, value in self.to_json().items() if name != "second"}
        return hashlib.sha256(json.dumps([self.kind, options, self.second.sha256]).encode()).hexdigest()

    def __str__(self) -> str:
        role = "expert" if self.swapped else "amateur"
        amount = f"beta {self.beta:g}" if self.formula == "adjusted" else f"temperature {self.temperature:g}"
        return f"contrast ({self.formula}, alpha {self.alpha:g}, {amount}; {role}: {self.second})"

    @contextmanager
    def open_forward(self, model: BaseModel) -> Iterator[_ContrastForward]:
        with self.second.open_model(model) as running:
            yield _ContrastForward(self, running.engine)

    def to_json(self) -> dict[str, Any]:
        return {
            "formula": self.formula,
            "alpha": self.alpha,
            "beta": self.beta,
            "temperature": self.temperature,
            "swapped": self.swapped,
            "second": self.second.to_json(),
        }

    def save_tensors(self, folder: Path) -> None:
        self.second.save_tensors(folder)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], folder: Path) -> ContrastReadout:
        documents.as_record(data, ContrastReadoutEntry, cls.kind)
        fields = {name: value for name, value in data.items() if name != "second"}
        return cls(SecondModel.from_json(data["second"], folder), **fields)

    def combine_logits(
        self, own_logits: Float[torch.Tensor, "rows vocab"], other_logits: Float[torch.Tensor, "rows vocab"]
    ) -> Float[torch.Tensor, "rows vocab"]:
        """Contrast two models' logits. Ids that only one of them has (padding rows) are never plausible."""
        expert, amateur = (other_logits, own_logits) if self.swapped else (own_logits, other_logits)
        shared = min(expert.shape[1], amateur.shape[1])
        expert, amateur = expert[:, :shared].float(), amateur[:, :shared].float()
        e = expert.log_softmax(-1)
        if self.formula == "original":
            scores = e - (amateur / self.temperature).log_softmax(-1)
        else:
            scores = (1 + self.beta) * e - self.beta * amateur.log_softmax(-1)
        whole = own_logits.new_full(own_logits.shape, -torch.inf, dtype=torch.float32)
        whole[:, :shared] = torch.where(find_plausible_tokens(e, self.alpha), scores, -torch.inf)
        return whole


def check_contrast_options(alpha: float, beta: float, temperature: float) -> None:
    """Raise ElicitError for options out of range."""
    for fine, message in (
        (0 <= alpha <= 1, f"alpha is {alpha}; expected 0 to 1"),
        (beta >= 0 and math.isfinite(beta), f"beta is {beta}; expected 0 or more"),
        (temperature > 0, f"temperature is {temperature}; expected above 0"),
    ):
        if not fine:
            raise ElicitError(f"contrast: {message}.")


@dataclass
class _ContrastForward:
    """The `Forward` of a contrast."""

    spec: ContrastReadout
    second: Engine

    def prefill(
        self, engine: Engine, requests: list[Request], samples: list[int], decoding: Decoding
    ) -> tuple[PairedState, torch.Tensor]:
        base_state, base_logits = prefill_prompts(engine, requests, samples, decoding)
        second_state, second_logits = prefill_prompts(self.second, requests, samples, decoding)
        return PairedState(base_state, second_state), self._combine_logits(engine, base_logits, second_logits)

    def step(
        self, engine: Engine, state: PairedState, tokens: torch.Tensor, rows: np.ndarray, offset: int
    ) -> torch.Tensor:
        base_logits = decode_step(engine, state.base, tokens, rows, offset)
        second_logits = decode_step(self.second, state.second, tokens, rows, offset)
        return self._combine_logits(engine, base_logits, second_logits)

    def _combine_logits(self, engine: Engine, base_logits: torch.Tensor, second_logits: torch.Tensor) -> torch.Tensor:
        return self.spec.combine_logits(
            mask_token_ids(base_logits, engine.banned_ids), mask_token_ids(second_logits, engine.banned_ids)
        )
