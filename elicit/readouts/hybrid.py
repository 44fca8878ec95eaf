"""Hybrid steering with an oracle gate (2510.07364): the base is steered where the tuned model would say something else.

1. Base and tuned model read the text so far, each with a cache of its own.
2. Where their most probable next tokens differ, a gate reads the category from the tuned model's residual there.
3. The base's cache is taken back by that one position, and the position is run again with the category's direction
   added after one layer. The logits that come out are used; what the edit writes into the cache stays there.

Rows without a disagreement keep the logits of the first run. Both runs of a position cost; the price is told in tokens
of the base only.

With `scatter` this is the control of *where*: a position is steered with that probability instead, whether or not the
models disagree. Random numbers belong to (seed, prompt, position). Without a second model the gate reads the base.
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
from elicit.readouts.contrast import without
from elicit.readouts.second import Second
from elicit.readouts.watching import Residuals, spread, watching
from elicit.sampling import Decoding, Engine, Request
from elicit.sampling.forward import State, step
from elicit.sampling.prefill import prefill
from elicit.steering import Gate
from elicit.steering.gated import unit_rows
from elicit.tensors import known_tensor, read_tensors

_TENSORS = "hybrid.safetensors"


@dataclass(frozen=True)
class HybridEntry:
    """A hybrid in `readout.json`, its tensors aside."""

    gate_layer: int
    layer: int
    strength: float
    unit: float
    scatter: float | None
    seed: int
    second: dict[str, Any] | None


@dataclass(frozen=True, eq=False)
class Hybrid:
    """One direction per category of a tuned model's states. Equality is by `sha256`."""

    second: Second | None
    """The tuned model; None reads the base, which needs `scatter`."""
    gate: Gate
    """Which category a residual after layer `gate_layer` belongs to: class c is direction c."""
    gate_layer: int
    directions: Float[torch.Tensor, "category d_model"]
    """Of length 1, or zero for categories that are not steered."""
    layer: int
    strength: float = 1.0
    """In `unit`s."""
    unit: float = 1.0
    """What strength 1 means: the layer's median residual norm."""
    scatter: float | None = None
    """Probability of steering a position, in the place of disagreement."""
    seed: int = 0
    """Of the scattered positions."""

    kind: ClassVar[str] = "hybrid"

    def __post_init__(self) -> None:
        if self.second is None and self.scatter is None:
            raise ElicitError("hybrid: without a second model there is nobody to disagree with. Give `scatter`.")
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
        """Length of what is added."""
        return self.strength * self.unit

    @property
    def sha256(self) -> str:
        options = {name: value for name, value in self.meaning().items() if name != "second"}
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
    def opened(self, model: BaseModel) -> Iterator[_Steering]:
        """Raises ElicitError for a layer that the model does not have, or directions of another width."""
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
                engine, layers = stack.enter_context(self.second.opened(model))
            residuals = stack.enter_context(watching(layers, [self.gate_layer + 1]))
            addition = stack.enter_context(_adding(model.layers[self.layer]))
            table = (self.directions * self.absolute).to(model.device)
            yield _Steering(self, engine, residuals, addition, table)

    def meaning(self) -> dict[str, Any]:
        return {
            "gate_layer": self.gate_layer,
            "layer": self.layer,
            "strength": self.strength,
            "unit": self.unit,
            "scatter": self.scatter,
            "seed": self.seed,
            "second": None if self.second is None else self.second.meaning(),
        }

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        tensors = {"directions": self.directions, "gate_weight": self.gate.weight, "gate_bias": self.gate.bias}
        save_file(tensors, folder / _TENSORS)
        if self.second is not None:
            self.second.save(folder)

    @classmethod
    def read(cls, meaning: Mapping[str, Any], folder: Path) -> Hybrid:
        documents.as_record(meaning, HybridEntry, cls.kind)
        path = folder / _TENSORS
        tensors = read_tensors(path)
        weight, bias, directions = (
            known_tensor(tensors, name, path) for name in ("gate_weight", "gate_bias", "directions")
        )
        options = dict(meaning)
        beside = options.pop("second")
        second = None if beside is None else Second.read(beside, folder)
        return cls(second, Gate(weight, bias), directions=directions, **options)


@dataclass
class _Addition:
    """What the hook adds at the last position of the pass in progress; None adds nothing."""

    rows: Float[torch.Tensor, "rows d_model"] | None = None


@contextmanager
def _adding(layer: nn.Module) -> Iterator[_Addition]:
    addition = _Addition()

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if addition.rows is None:
            return None
        h = output[0] if isinstance(output, tuple) else output
        edited = h + addition.rows[:, None].to(h)  # the pass has one position
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    handle = layer.register_forward_hook(hook)
    try:
        yield addition
    finally:
        handle.remove()


@dataclass
class _Batch:
    """What a batch carries: both models' states, and where the control steers."""

    own: State
    other: State | None
    scattered: Bool[np.ndarray, "rows offset"] | None

    @property
    def ledger(self) -> np.ndarray:
        return self.own.ledger

    def keep(self, order: np.ndarray) -> None:
        self.own.keep(order)
        if self.other is not None:
            self.other.keep(order)


@dataclass
class _Steering:
    """The `Forward` of a hybrid."""

    spec: Hybrid
    second: Engine | None
    residuals: Residuals
    addition: _Addition
    table: Float[torch.Tensor, "category d_model"]

    def prefill(
        self, engine: Engine, asked: list[Request], samples: list[int], decoding: Decoding
    ) -> tuple[_Batch, torch.Tensor]:
        own, mine = prefill(engine, asked, samples, decoding, whole=True)
        other, theirs = prefill(self.second, asked, samples, decoding) if self.second is not None else (None, None)
        order = spread(samples).to(mine.device)
        read = self.residuals[self.spec.gate_layer + 1].to(mine.device)[order]
        batch = _Batch(own, other, self._scattered(asked, order, decoding.max_new_tokens))
        last = torch.tensor([request.ids[-1] for request in asked], device=mine.device)[order]
        return batch, self._steered(engine, batch, last, np.arange(len(order)), 0, mine, theirs, read)

    def step(self, engine: Engine, state: _Batch, tokens: torch.Tensor, rows: np.ndarray, offset: int) -> torch.Tensor:
        mine = step(engine, state.own, tokens, rows, offset)
        theirs = None
        if self.second is not None:
            assert state.other is not None
            theirs = step(self.second, state.other, tokens, rows, offset)
        read = self.residuals[self.spec.gate_layer + 1].to(mine.device)
        return self._steered(engine, state, tokens, rows, offset, mine, theirs, read)

    def _steered(
        self,
        engine: Engine,
        batch: _Batch,
        tokens: torch.Tensor,
        rows: np.ndarray,
        offset: int,
        mine: torch.Tensor,
        theirs: torch.Tensor | None,
        read: torch.Tensor,
    ) -> torch.Tensor:
        """The logits to use: those of a second run of the position, with the edit, in the rows that are steered."""
        category = self.spec.gate.decide(read)
        if batch.scattered is not None:
            fire = torch.from_numpy(batch.scattered[rows, offset]).to(mine.device)
        else:
            assert theirs is not None
            banned = engine.banned_ids
            fire = without(mine, banned).argmax(-1) != without(theirs, banned).argmax(-1)
        delta = self.table[category] * fire[:, None]
        fire = (delta != 0).any(-1)
        if not bool(fire.any()):
            return mine
        counted = batch.own.ledger.copy()
        batch.own.cache.crop(-1)
        self.addition.rows = delta
        try:
            again = step(engine, batch.own, tokens, rows, offset)
        finally:
            self.addition.rows = None
        batch.own.ledger[:] = counted  # other edits have been counted in the first run
        batch.own.ledger[rows] += fire.cpu().numpy()
        return torch.where(fire[:, None], again, mine)

    def _scattered(
        self, asked: Sequence[Request], order: torch.Tensor, most: int
    ) -> Bool[np.ndarray, "rows offset"] | None:
        if self.spec.scatter is None:
            return None
        drawn = [seeds.generator("scattered", self.spec.seed, list(one.ids)).random(most + 1) for one in asked]
        scattered: np.ndarray = np.stack(drawn)[order.cpu().numpy()] < self.spec.scatter
        return scattered
