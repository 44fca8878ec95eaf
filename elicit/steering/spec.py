"""The spec of an edit h -> h at the output of one decoder layer: frozen, serialisable, hashable.

With v the unit direction and c = h . v the coefficient (for an SAE feature: its activation, and v its decoder row),

    add     h + strength * unit * v        unit = the layer's median residual norm
    clamp   h + (strength * unit - c) * v  unit = the feature's median activation under the cue; 1 for a plain vector
    scale   h + (strength - 1) * c * v
    ablate  h - c * v                      strength must be 1

`strength` is dimensionless; `absolute` is what is really added. Layer L means the output of decoder block L, which
TransformerLens calls `blocks.L.hook_resid_post`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float

from elicit.errors import ElicitError, unknown
from elicit.steering.positions import parse

Mode = Literal["add", "clamp", "scale", "ablate"]
MODES: tuple[Mode, ...] = get_args(Mode)

#: Reads a feature's activation from the residual: [batch pos d_model] -> [batch pos].
Reader = Callable[[Float[torch.Tensor, "batch pos d_model"]], Float[torch.Tensor, "batch pos"]]


@dataclass(frozen=True, eq=False)
class Steering:
    """One edit. Equality is by `sha256`."""

    direction: Float[torch.Tensor, " d_model"]
    """The direction, normalised to length 1 when the spec is made (a feature's decoder row keeps its `unit`)."""
    layer: int
    strength: float = 1.0
    """In the mode's own unit."""
    mode: Mode = "add"
    positions: str = "first"
    unit: float = 1.0
    """What strength 1 means, in absolute terms."""
    label: str = "vector"
    """Where the direction comes from, for people."""
    reader: Reader | None = None
    """Reads the coefficient; None reads the projection h . v. For SAE features, whose encoder is not their decoder."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("steering mode", self.mode, MODES)
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
        # A direction that is of unit length already keeps its bits, so that saving and loading keeps the hash.
        object.__setattr__(self, "direction", vector if abs(norm - 1) < 1e-6 else vector / norm)

    @property
    def absolute(self) -> float:
        """The strength in absolute terms: residual length (add), coefficient (clamp), factor (scale, ablate)."""
        return self.strength * self.unit if self.mode in ("add", "clamp") else self.strength

    def delta(self, direction: torch.Tensor, h: Float[torch.Tensor, "batch pos d_model"]) -> torch.Tensor:
        """What the edit adds to `h`: [d_model] (add) or [batch pos d_model]. `direction` is ours on h's device."""
        if self.mode == "add":
            return (direction * self.absolute).to(h.dtype)
        wide = h.float()
        c = self.reader(h).float() if self.reader is not None else wide @ direction
        amount = {"clamp": self.absolute - c, "scale": (self.strength - 1) * c, "ablate": -c}[self.mode]
        return (amount[..., None] * direction).to(h.dtype)

    @property
    def sha256(self) -> str:
        """Hash of everything that decides what the edit does. The label does not."""
        digest = hashlib.sha256(self.direction.numpy().tobytes())
        digest.update(json.dumps([self.layer, self.strength, self.mode, self.positions, self.unit]).encode())
        return digest.hexdigest()

    def __str__(self) -> str:
        unit = {"add": "residual norms", "clamp": "units", "scale": "x", "ablate": "x"}[self.mode]
        return (
            f"{self.mode} {self.label} at layer {self.layer}, {self.positions}: "
            f"{self.strength:g} {unit} (absolute {self.absolute:.4g})"
        )

    __repr__ = __str__


def save(steering: Sequence[Steering], folder: Path) -> None:
    """Write `steering.json` (meaning) and `steering.safetensors` (directions) into an existing folder."""
    from safetensors.torch import save_file

    readers = [edit.label for edit in steering if edit.reader is not None]
    if readers:
        raise ElicitError(f"steering {readers[0]!r} reads an SAE encoder and cannot be saved as a plain vector.")
    save_file({str(i): edit.direction for i, edit in enumerate(steering)}, folder / "steering.safetensors")
    meaning = [
        {
            "layer": edit.layer,
            "strength": edit.strength,
            "mode": edit.mode,
            "positions": edit.positions,
            "unit": edit.unit,
            "absolute": edit.absolute,
            "label": edit.label,
        }
        for edit in steering
    ]
    (folder / "steering.json").write_text(json.dumps(meaning, indent=1) + "\n")


def load(folder: Path) -> tuple[Steering, ...]:
    """Read what `save` wrote; a folder without steering gives none.

    Raises:
        ElicitError: if the two files do not belong together.
    """
    from safetensors.torch import load_file

    meaning_file = folder / "steering.json"
    if not meaning_file.exists():
        return ()
    meaning: list[dict[str, Any]] = json.loads(meaning_file.read_text())
    vectors = load_file(folder / "steering.safetensors")
    if len(vectors) != len(meaning):
        raise ElicitError(f"{folder}: steering.json has {len(meaning)} edits, its vectors are {len(vectors)}.")
    for entry in meaning:
        entry.pop("absolute", None)
    return tuple(Steering(direction=vectors[str(i)], **entry) for i, entry in enumerate(meaning))
