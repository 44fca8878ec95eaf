"""Edits of the residual stream as the lab defines them: h + weight(offset) * delta(h) at the output of a layer.

An edit comes as JSON and tensors, never as code. Offsets count from the last prompt token (0). The algebra is the lab's
(`elicit.steering.spec`, `gated`, `positions`), written here a second time for flat batches of tokens and without the
lab's libraries: the two are compared by test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Delta = Callable[[torch.Tensor], torch.Tensor]


class RequestError(ValueError):
    """A request that cannot be carried out as it stands; the message goes to whoever sent it."""


@dataclass(frozen=True)
class Window:
    """Offsets [low, high) at which an edit acts, with an optional linear decay."""

    low: float
    high: float
    decays: bool = False

    @property
    def touches_prompt(self) -> bool:
        """True if the edit acts before the last prompt token."""
        return self.low < 0

    def weights(self, offsets: np.ndarray) -> np.ndarray:
        """Strength multiplier at every offset, float32; 0 outside."""
        inside = (offsets >= self.low) & (offsets < self.high)
        if not self.decays:
            return inside.astype(np.float32)
        ramp = np.float32(1.0) - offsets.astype(np.float32) / np.float32(self.high)
        return np.where(inside, ramp, np.float32(0.0)).astype(np.float32)


def parse_positions(text: str) -> Window:
    """Parse the lab's forms: all, prompt, generated, first, first:k, decay:k."""
    fixed = {
        "all": Window(-math.inf, math.inf),
        "prompt": Window(-math.inf, 0),
        "generated": Window(0, math.inf),
        "first": Window(0, 1),
    }
    name, _, count = str(text).partition(":")
    if text in fixed:
        return fixed[text]
    if name not in ("first", "decay") or not count.isdigit() or int(count) < 1:
        raise RequestError(f"positions {text!r} are not a form this server knows")
    return Window(0, int(count), decays=name == "decay")


@dataclass(frozen=True, eq=False)
class Edit:
    """One edit at one layer."""

    layer: int
    window: Window
    delta: Delta
    """Residuals [token d_model] -> vectors to add, of the same shape or [d_model]."""
    gates: bool
    """True if delta may be zero, which then does not count as touched."""


def build_edit(entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], device: torch.device) -> Edit:
    """Build an edit from its JSON and its own tensors, moved to `device`.

    Raises:
        RequestError: a field or tensor is missing or not known.
    """
    try:
        window, layer = parse_positions(entry["positions"]), int(entry["layer"])
        tensors = {name: tensor.to(device, torch.float32) for name, tensor in tensors.items()}
        if entry.get("kind") == "gated":
            return Edit(layer, window, _build_gated_delta(entry, tensors), True)
        return Edit(layer, window, _build_delta(entry, tensors), False)
    except (KeyError, TypeError) as error:
        raise RequestError(f"an edit lacks a field or tensor, or one is of the wrong kind: {error}") from None


def _build_delta(entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Delta:
    direction, mode = tensors["direction"], entry["mode"]
    strength, unit = float(entry["strength"]), float(entry["unit"])
    if mode == "add":
        vector = direction * (strength * unit)
        return lambda h: vector.to(h.dtype)
    coefficient = _build_coefficient(entry.get("encoder"), direction, tensors)
    amounts: dict[str, Delta] = {
        "clamp": lambda c: strength * unit - c,
        "scale": lambda c: (strength - 1) * c,
        "ablate": lambda c: -c,
    }
    if mode not in amounts:
        raise RequestError(f"steering mode {mode!r} is not one this server knows")
    amount = amounts[mode]
    return lambda h: (amount(coefficient(h))[..., None] * direction).to(h.dtype)


def _build_coefficient(
    encoder: Mapping[str, Any] | None, direction: torch.Tensor, tensors: Mapping[str, torch.Tensor]
) -> Delta:
    """The coefficient that an edit reads: the projection, or an SAE feature's activation in residual length."""
    if encoder is None:
        return lambda h: h.float() @ direction
    kind, index, norm = encoder["kind"], int(encoder["index"]), float(encoder["norm"])
    weight, bias, centre = tensors["w_enc"], tensors["b_enc"], tensors["b_dec"]

    def hidden(h: torch.Tensor) -> torch.Tensor:
        return (h.float() - centre) @ weight + bias

    if kind == "topk":
        k, norms = int(encoder["k"]), tensors["norms"] if encoder.get("rescaled") else None

        def top(h: torch.Tensor) -> torch.Tensor:
            values, indices = (hidden(h) if norms is None else hidden(h) * norms).topk(k, dim=-1, sorted=False)
            return torch.where(indices == index, values.relu(), 0.0).sum(-1) * norm

        return top
    if kind == "jumprelu":
        threshold = tensors["threshold"]

        def jump(h: torch.Tensor) -> torch.Tensor:
            value = hidden(h)[..., index]
            return value.relu() * (value > threshold[index]) * norm

        return jump
    if kind == "standard":
        return lambda h: hidden(h)[..., index].relu() * norm
    raise RequestError(f"SAEs of kind {kind!r} are not ones this server can read")


def _build_gated_delta(entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Delta:
    """The category's direction where an affine gate on the residual fires; class 0 is none."""
    directions, weight, bias = tensors["directions"], tensors["gate_weight"], tensors["gate_bias"]
    table = torch.cat([directions.new_zeros(1, directions.shape[1]), directions])
    table = table * (float(entry["strength"]) * float(entry["unit"]))
    return lambda h: table[(h.float() @ weight.T + bias).argmax(dim=-1)].to(h.dtype)
