"""The spec of an edit h -> h at the output of one decoder layer: frozen, serialisable, hashable.

With v the unit direction and c = h . v the coefficient (for an SAE feature: its activation, and v its decoder row),

    add     h + strength * unit * v        unit = the layer's median residual norm
    clamp   h + (strength * unit - c) * v  unit = the feature's median activation under the cue; 1 for a plain vector
    scale   h + (strength - 1) * c * v
    ablate  h - c * v                      strength must be 1

`strength` is dimensionless; `absolute` is the actual size. Layer L means the output of decoder block L, which
TransformerLens calls `blocks.L.hook_resid_post`.

For a feature, `feature_edit` builds the spec. Its coefficient is measured in residual length, f_i |D_i|: clamping f_i
to a value with the SAE's error kept is the rank-one edit above: h + (c - f_i |D_i|) D_i / |D_i|.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import torch
from jaxtyping import Float

from elicit.errors import ElicitError, unknown_name_error
from elicit.steering.positions import parse

if TYPE_CHECKING:
    from saes.sae import Feature

Mode = Literal["add", "clamp", "scale", "ablate"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, eq=False)
class Steering:
    """One edit. Equality is by `sha256`."""

    direction: Float[torch.Tensor, " d_model"]
    """The direction, normalised to length 1 when the spec is built (a feature's decoder row keeps its `unit`)."""
    layer: int
    strength: float = 1.0
    """Strength in the mode's own unit."""
    mode: Mode = "add"
    positions: str = "first"
    unit: float = 1.0
    """Absolute size of strength 1."""
    label: str = "vector"
    """Origin of the direction, for display."""
    feature: Feature | None = None
    """Feature whose encoder gives the coefficient c; None: the projection h . v."""

    gated: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown_name_error("steering mode", self.mode, MODES)
        parse(self.positions)
        vector = torch.as_tensor(self.direction).detach().to("cpu", torch.float32)
        norm = float(vector.norm())
        if vector.ndim != 1 or not math.isfinite(norm) or norm == 0:
            raise ElicitError(
                f"steering {self.label!r}: a direction needs shape [d_model] and a finite length above 0; "
                f"this one has shape {list(vector.shape)} and length {norm}."
            )
        if not (math.isfinite(self.strength) and math.isfinite(self.unit)):
            raise ElicitError(f"steering {self.label!r}: strength {self.strength} x unit {self.unit} is not finite.")
        if self.mode == "ablate" and self.strength != 1:
            raise ElicitError(f"steering {self.label!r}: ablate takes the whole direction out; its strength is 1.")
        if self.feature is not None and self.reads and not self.feature.sae.linear:
            raise ElicitError(
                f"steering {self.label!r}: SAE {self.feature.sae.name!r} normalises every token by itself, so its "
                f"features cannot be edited with mode {self.mode}. Use mode add, which needs the direction alone."
            )
        # A direction of unit length keeps its bits, so that saving and loading preserve the hash.
        object.__setattr__(self, "direction", vector if abs(norm - 1) < 1e-6 else vector / norm)

    @property
    def absolute(self) -> float:
        """The strength in absolute terms: residual length (add), coefficient (clamp), factor (scale, ablate)."""
        return self.strength * self.unit if self.mode in ("add", "clamp") else self.strength

    @property
    def d_model(self) -> int:
        return len(self.direction)

    @property
    def reads(self) -> bool:
        """True if the added vector depends on the residual."""
        return self.mode != "add"

    def delta(self, direction: torch.Tensor, h: Float[torch.Tensor, "*batch d_model"]) -> torch.Tensor:
        """The vector added to `h`: [d_model] (add) or [*batch d_model]. `direction` is this edit's, on h's device."""
        if not self.reads:
            return (direction * self.absolute).to(h.dtype)
        c = self.feature.coefficient(h).to(h.device) if self.feature is not None else h.float() @ direction
        amount = {"clamp": self.absolute - c, "scale": (self.strength - 1) * c, "ablate": -c}[self.mode]
        return (amount[..., None] * direction).to(h.dtype)

    @property
    def sha256(self) -> str:
        """Hash of everything that determines the edit's effect, so not of the label."""
        digest = hashlib.sha256(self.direction.numpy().tobytes())
        digest.update(json.dumps([self.layer, self.strength, self.mode, self.positions, self.unit]).encode())
        if self.feature is not None and self.reads:
            digest.update(f"{self.feature.sae.sha256}/{self.feature.index}".encode())
        return digest.hexdigest()

    def __str__(self) -> str:
        unit = {"add": "residual norms", "clamp": "units", "scale": "x", "ablate": "x"}[self.mode]
        return (
            f"{self.mode} {self.label} at layer {self.layer}, {self.positions}: "
            f"{self.strength:g} {unit} (absolute {self.absolute:.4g})"
        )

    __repr__ = __str__


def feature_edit(
    feature: Feature, strength: float, *, unit: float, mode: Mode = "add", positions: str = "first"
) -> Steering:
    """Build the edit of one SAE feature at its SAE's layer.

    Args:
        unit: absolute size of strength 1, in residual length: the layer's median residual norm (add), or the feature's
            median activation under the cue times its decoder norm (clamp). Not used by scale and ablate.
    """
    return Steering(
        feature.direction, feature.sae.layer, strength, mode, positions, unit, f"feature {feature.label}", feature
    )


def vector_edit(
    vector: Float[torch.Tensor, " d_model"],
    layer: int,
    coefficient: float,
    *,
    unit: float,
    positions: str = "first",
    label: str = "vector",
) -> Steering:
    """Build the edit that adds `coefficient` times a vector at its own length, as published vectors are applied.

    Args:
        unit: the layer's median residual norm, in which the strength is then told.
    """
    return Steering(vector, layer, coefficient * float(vector.norm()) / unit, "add", positions, unit, label)
