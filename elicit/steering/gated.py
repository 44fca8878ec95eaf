"""`GatedEdit`: an edit that a gate on the residual switches on and off, token by token.

The gate is an affine classifier of the residual at the edit's own layer, read before the edit. Class 0 means *none*;
class c > 0 adds that category's direction, h + strength * unit * directions[c - 1]. All this takes one forward pass, so
a policy with a gated edit can be sampled from, scored and compared by KL like any other.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int

from elicit.errors import ElicitError
from elicit.steering.positions import parse


@dataclass(frozen=True, eq=False)
class Gate:
    """Affine classifier of residuals: argmax_c (W h + b)_c. Ties go to the smaller class."""

    weight: Float[torch.Tensor, "classes d_model"]
    bias: Float[torch.Tensor, " classes"]

    def __post_init__(self) -> None:
        weight, bias = (
            torch.as_tensor(part).detach().to("cpu", torch.float32).contiguous() for part in (self.weight, self.bias)
        )
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or not len(bias):
            raise ElicitError(
                f"gate: expected weights [classes, d_model] and biases [classes]; these are {list(weight.shape)} and "
                f"{list(bias.shape)}."
            )
        if not (torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise ElicitError("gate: a weight or bias is not finite.")
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)

    @property
    def classes(self) -> int:
        return len(self.bias)

    def decide_class(self, h: Float[torch.Tensor, "*batch d_model"]) -> Int[torch.Tensor, "*batch"]:
        """Classify every residual."""
        return _argmax_class(h, self.weight.to(h.device), self.bias.to(h.device))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.weight.numpy().tobytes() + self.bias.numpy().tobytes()).hexdigest()


def _argmax_class(h: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return (h.float() @ weight.T + bias).argmax(dim=-1)


def unit_rows(rows: Float[torch.Tensor, "category d_model"]) -> Float[torch.Tensor, "category d_model"]:
    """Normalise rows to length 1; zero rows stay zero, and rows of length 1 keep their bits."""
    rows = rows.detach().to("cpu", torch.float32)
    norms = rows.norm(dim=1, keepdim=True)
    scaled = rows / torch.where(norms > 0, norms, 1.0)
    return torch.where((norms - 1).abs() < 1e-6, rows, scaled).contiguous()


@dataclass(frozen=True, eq=False)
class GatedEdit:
    """Edit with one direction per category, added where the gate fires. Equality is by `sha256`."""

    gate: Gate
    directions: Float[torch.Tensor, "category d_model"]
    """A unit vector for each class except the first, or zero for a category that is not steered."""
    layer: int
    strength: float = 1.0
    """Strength in units of `unit`."""
    positions: str = "generated"
    """Positions at which the gate is read."""
    unit: float = 1.0
    """Absolute size of strength 1: the layer's median residual norm."""
    label: str = "categories"

    gated: ClassVar[bool] = True
    TENSORS: ClassVar[tuple[str, ...]] = ("directions", "gate_weight", "gate_bias")

    def __post_init__(self) -> None:
        parse(self.positions)
        directions = torch.as_tensor(self.directions)
        expected = [self.gate.classes - 1, self.gate.weight.shape[1]]
        if list(directions.shape) != expected:
            raise ElicitError(
                f"gated steering {self.label!r}: a gate of {self.gate.classes} classes (the first means none) over "
                f"{expected[1]} dimensions needs directions {expected}; these are {list(directions.shape)}."
            )
        if not (bool(torch.isfinite(directions).all()) and math.isfinite(self.strength * self.unit)):
            raise ElicitError(f"gated steering {self.label!r}: a direction or its strength is not finite.")
        object.__setattr__(self, "directions", unit_rows(directions))

    @property
    def absolute(self) -> float:
        """Length of the added vector where the gate fires."""
        return self.strength * self.unit

    @property
    def d_model(self) -> int:
        return self.directions.shape[1]

    def delta_on(self, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
        """Make a function from residuals [*batch d_model] on a device to the added vectors: zero for class none.

        Gate and directions are moved there once.
        """
        none = self.directions.new_zeros(1, self.d_model)
        table = torch.cat([none, self.directions]).to(device) * self.absolute
        weight, bias = self.gate.weight.to(device), self.gate.bias.to(device)
        return lambda h: table[_argmax_class(h, weight, bias)].to(h.dtype)

    @property
    def sha256(self) -> str:
        """Hash of everything that determines the edit's effect, so not of the label."""
        digest = hashlib.sha256(self.directions.numpy().tobytes())
        digest.update(json.dumps([self.layer, self.strength, "gated", self.positions, self.unit]).encode())
        digest.update(self.gate.sha256.encode())
        return digest.hexdigest()

    def __str__(self) -> str:
        return (
            f"gated add of {len(self.directions)} {self.label} at layer {self.layer}, {self.positions}: "
            f"{self.strength:g} residual norms (absolute {self.absolute:.4g}) where the gate fires"
        )

    __repr__ = __str__

    def to_json(self) -> dict[str, Any]:
        """Everything except tensors, as plain data."""
        return {
            "kind": "gated",
            "layer": self.layer,
            "strength": self.strength,
            "positions": self.positions,
            "unit": self.unit,
            "absolute": self.absolute,
            "label": self.label,
        }

    def to_tensors(self) -> dict[str, torch.Tensor]:
        return {"directions": self.directions, "gate_weight": self.gate.weight, "gate_bias": self.gate.bias}

    @classmethod
    def from_json(cls, meaning: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> GatedEdit:
        """Load from the output of `to_json` and `to_tensors`."""
        fields = {name: value for name, value in meaning.items() if name not in ("kind", "absolute")}
        return cls(Gate(tensors["gate_weight"], tensors["gate_bias"]), tensors["directions"], **fields)
