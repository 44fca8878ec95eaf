"""Conditional steering: an edit that acts only where the residual projects far enough onto a condition vector.

The projection is read at the edit's own layer, before the edit, token by token. It is a gate of two classes
(`elicit.steering.gated`), so such an edit is saved, sampled, scored and run in vLLM as any gated one. CAST (2409.05907)
compares a cosine, and decides once for a prompt.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float

from elicit.errors import ElicitError
from elicit.steering.gated import Gate, GatedEdit
from elicit.steering.spec import Steering


def gate_on_projection(edit: Steering, condition: Float[torch.Tensor, " d_model"], threshold: float) -> GatedEdit:
    """The edit where h . condition / |condition| > threshold, at its positions; nothing elsewhere.

    Args:
        edit: an edit of mode add.
        condition: a vector at the edit's layer; its length does not matter.
        threshold: in residual length.

    Raises:
        ElicitError: another mode, or a condition of another shape, without a length, or not finite.
    """
    if edit.mode != "add":
        raise ElicitError(f"gate_on_projection: a gated edit adds a vector; this one is {edit.mode}. Use mode add.")
    vector = torch.as_tensor(condition).detach().to("cpu", torch.float32)
    norm = float(vector.norm())
    if vector.shape != edit.direction.shape or not math.isfinite(norm) or norm == 0 or not math.isfinite(threshold):
        raise ElicitError(
            f"gate_on_projection: expected a condition of shape {list(edit.direction.shape)} with a finite length "
            f"above 0 and a finite threshold; these are {list(vector.shape)}, {norm} and {threshold}."
        )
    gate = Gate(torch.stack([torch.zeros_like(vector), vector / norm]), torch.tensor([0.0, -threshold]))
    return GatedEdit(
        gate, edit.direction[None], edit.layer, edit.strength, edit.positions, edit.unit, f"{edit.label} on a condition"
    )
