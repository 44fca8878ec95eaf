"""Hybrid steering with an oracle gate (2510.07364): the base is steered where the tuned model disagrees.

1. Base and tuned model read the text so far, each with its own cache.
2. Where their most probable next tokens differ, a gate reads category c from the tuned model's residual there.
3. The base's cache is cropped by that one position, and the position is run again with h + strength * unit * v_c after
   one layer. The resulting logits are used; the edited keys and values stay in the cache.

Rows without a disagreement keep the logits of the first run. Both runs of a position cost time; cost is reported in
tokens of the base only.

With `scatter` this is the control for positions: a position is steered with that probability, whether or not the models
disagree. Random numbers depend on (seed, prompt, position). Without a second model the gate reads the base.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import nn

from elicit import documents, seeds
from elicit.errors import ElicitError
from elicit.model import BaseModel
from elicit.readouts.logits import mask_token_ids
from elicit.readouts.second import SecondModel
from elicit.readouts.watching import Residuals, capture_residuals, index_prompts_by_row
from elicit.sampling import Decoding, Engine, Request
from elicit.sampling.forward import DecodingState, decode_step
from elicit.sampling.prefill import prefill_prompts
from elicit.steering import Gate
from elicit.steering.gated import unit_rows
from elicit.tensors import read_tensors, require_tensor

_TENSORS = "hybrid.safetensors"


@dataclass(frozen=True)
class HybridReadoutEntry:
    """A hybrid in `readout.json`, without its tensors."""

    gate_layer: int
    layer: int
    strength: float
    unit: float
    scatter: float | None
    seed: int
    second: dict[str, Any] | None


@dataclass(frozen=True, eq=False)
class HybridReadout:
    """One direction per category of a tuned model's states. Equality is by `sha256`."""

    second: SecondModel | None
    """The tuned model; None reads the base, which needs `scatter`."""
    gate: Gate
    """Classifies residuals after layer `gate_layer`: class c selects direction c."""
    gate_layer: int
    directions: Float[torch.Tensor, "category d_model"]
    """Unit vectors, or zero for categories that are not steered."""
    layer: int
    strength: float = 1.0
    """Strength in units of `unit`."""
    unit: float = 1.0
    """Absolute size of strength 1: the layer's median residual norm."""
    scatter: float | None = None
    """Probability of steering a position, in place of disagreement."""
    seed: int = 0
    """Seed of the scattered positions."""

    kind: ClassVar[str] = "hybrid"

    def __post_init__(self) -> None:
        if self.second is None and self.scatter is None:
            raise ElicitError("hybrid: disagreement needs a second model. Give `scatter` instead.")
        if self.scatter is not None and not 0 <= self.scatter <= 1:
            raise ElicitError(f"hybrid: scatter is {self.scatter}; expected a probability.")
        directions = torch.as_tensor(self.directions)
        if directions.ndim != 2 or len(directions) != self.gate.classes or not bool(torch.isfinite(directions).all()):
            raise ElicitError(
                f"hybrid: a gate of {self.gate.classes} classes needs as many finite directions; these are "
                f"{list(directions.shape)}."
            )
        object.__setattr__(self, "directions", unit_rows(directions))

    @property
    def absolute(self) -> float:
        """Length of the added vector."""
        return self.strength * self.unit

    @property
    def sha256(self) -> str:
        options = {name: value for name, value in self.to_json().items() if name != "second"}
        parts = [self.kind, options, self.gate.sha256, None if self.second is None else self.second.sha256]
        digest = hashlib.sha256(json.dumps(parts).encode())
        digest.update(self.directions.numpy().tobytes())
        return digest.hexdigest()

    def __str__(self) -> str:
        where = "where both models disagree" if self.scatter is None else f"at {self.scatter:.1%} of positions"
        who = f"; tuned: {self.second}" if self.second is not None else ""
        return (
            f"hybrid of {len(self.directions)} categories at layer {self.layer}: {self.strength:g} residual norms "
            f"(absolute {self.absolute:.4g}) {where}{who}"
        )

    @contextmanager
    def open_forward(self, model: BaseModel) -> Iterator[_HybridForward]:
        """Raise ElicitError for a layer that the model does not have, or directions of another width."""
        for layer in (self.layer, self.gate_layer):
            if not 0 <= layer < model.n_layers:
                raise ElicitError(f"hybrid: layer {layer} does not exist. Layers are 0 to {model.n_layers - 1}.")
        if self.directions.shape[1] != model.d_model:
            raise ElicitError(
                f"hybrid: its directions have {self.directions.shape[1]} entries, but d_model of {model.name} is "
                f"{model.d_model}."
            )
        with ExitStack() as stack:
            engine, layers = None, model.layers
            if self.second is not None:
                engine, layers = stack.enter_context(self.second.open_model(model))
            residuals = stack.enter_context(capture_residuals(layers, [self.gate_layer + 1]))
            addition = stack.enter_context(_register_addition(model.layers[self.layer]))
            table = (self.directions * self.absolute).to(model.device)
            yield _HybridForward(self, engine, residuals, addition, table)

    def to_json(self) -> dict[str, Any]:
        return {
            "gate_layer": self.gate_layer,
            "layer": self.layer,
            "strength": self.strength,
            "unit": self.unit,
            "scatter": self.scatter,
            "seed": self.seed,
            "second": None if self.second is None else self.second.to_json(),
        }

    def save_tensors(self, folder: Path) -> None:
        from safetensors.torch import save_file

        tensors = {"directions": self.directions, "gate_weight": self.gate.weight, "gate_bias": self.gate.bias}
        save_file(tensors, folder / _TENSORS)
        if self.second is not None:
            self.second.save_tensors(folder)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], folder: Path) -> HybridReadout:
        documents.as_record(data, HybridReadoutEntry, cls.kind)
        path = folder / _TENSORS
        tensors = read_tensors(path)
        weight, bias, directions = (
            require_tensor(tensors, name, path) for name in ("gate_weight", "gate_bias", "directions")
        )
        options = dict(data)
        second_data = options.pop("second")
        second = None if second_data is None else SecondModel.from_json(second_data, folder)
        return cls(second, Gate(weight, bias), directions=directions, **options)


@dataclass
class _Addition:
    """The vectors that the hook adds at the last position of the pass in progress; None adds nothing."""

    rows: Float[torch.Tensor, "rows d_model"] | None = None


@contextmanager
def _register_addition(layer: nn.Module) -> Iterator[_Addition]:
    addition = _Addition()

    def add_rows(module: nn.Module, args: Any, output: Any) -> Any:
        if addition.rows is None:
            return None
        h = output[0] if isinstance(output, tuple) else output
        edited = h + addition.rows[:, None].to(h)  # the pass has one position
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    handle = layer.register_forward_hook(add_rows)
    try:
        yield addition
    finally:
        handle.remove()


@dataclass
class _HybridState:
    """State of a batch: both models' states, and the positions that the control steers."""

    base: DecodingState
    second: DecodingState | None
    scattered_mask: Bool[np.ndarray, "rows offset"] | None

    @property
    def firing_counts(self) -> np.ndarray:
        return self.base.firing_counts

    def keep(self, order: np.ndarray) -> None:
        self.base.keep(order)
        if self.second is not None:
            self.second.keep(order)


@dataclass
class _HybridForward:
    """The `Forward` of a hybrid."""

    spec: HybridReadout
    second: Engine | None
    residuals: Residuals
    addition: _Addition
    table: Float[torch.Tensor, "category d_model"]

    def prefill(
        self, engine: Engine, requests: list[Request], samples: list[int], decoding: Decoding
    ) -> tuple[_HybridState, torch.Tensor]:
        base_state, base_logits = prefill_prompts(engine, requests, samples, decoding, whole=True)
        second_state, second_logits = (
            prefill_prompts(self.second, requests, samples, decoding) if self.second is not None else (None, None)
        )
        order = index_prompts_by_row(samples).to(base_logits.device)
        gate_residuals = self.residuals[self.spec.gate_layer + 1].to(base_logits.device)[order]
        batch = _HybridState(
            base_state, second_state, self._draw_scattered_mask(requests, order, decoding.max_new_tokens)
        )
        last = torch.tensor([request.ids[-1] for request in requests], device=base_logits.device)[order]
        return batch, self._steer_logits(
            engine, batch, last, np.arange(len(order)), 0, base_logits, second_logits, gate_residuals
        )

    def step(
        self, engine: Engine, state: _HybridState, tokens: torch.Tensor, rows: np.ndarray, offset: int
    ) -> torch.Tensor:
        base_logits = decode_step(engine, state.base, tokens, rows, offset)
        second_logits = None
        if self.second is not None:
            assert state.second is not None
            second_logits = decode_step(self.second, state.second, tokens, rows, offset)
        gate_residuals = self.residuals[self.spec.gate_layer + 1].to(base_logits.device)
        return self._steer_logits(engine, state, tokens, rows, offset, base_logits, second_logits, gate_residuals)

    def _steer_logits(
        self,
        engine: Engine,
        batch: _HybridState,
        tokens: torch.Tensor,
        rows: np.ndarray,
        offset: int,
        base_logits: torch.Tensor,
        second_logits: torch.Tensor | None,
        gate_residuals: torch.Tensor,
    ) -> torch.Tensor:
        """Run steered rows a second time with the edit, and return the logits to use."""
        category = self.spec.gate.decide_class(gate_residuals)
        if batch.scattered_mask is not None:
            fire = torch.from_numpy(batch.scattered_mask[rows, offset]).to(base_logits.device)
        else:
            assert second_logits is not None
            banned = engine.banned_ids
            fire = mask_token_ids(base_logits, banned).argmax(-1) != mask_token_ids(second_logits, banned).argmax(-1)
        delta = self.table[category] * fire[:, None]
        fire = (delta != 0).any(-1)
        if not bool(fire.any()):
            return base_logits
        counts_before = batch.base.firing_counts.copy()
        batch.base.cache.crop(-1)
        self.addition.rows = delta
        try:
            steered_logits = decode_step(engine, batch.base, tokens, rows, offset)
        finally:
            self.addition.rows = None
        batch.base.firing_counts[:] = counts_before  # the first run has counted the other edits
        batch.base.firing_counts[rows] += fire.cpu().numpy()
        return torch.where(fire[:, None], steered_logits, base_logits)

    def _draw_scattered_mask(
        self, requests: Sequence[Request], order: torch.Tensor, most: int
    ) -> Bool[np.ndarray, "rows offset"] | None:
        if self.spec.scatter is None:
            return None
        uniforms = [
            seeds.make_generator("scattered", self.spec.seed, list(request.ids)).random(most + 1)
            for request in requests
        ]
        scattered: np.ndarray = np.stack(uniforms)[order.cpu().numpy()] < self.spec.scatter
        return scattered
