"""What `model.steer` is given, as edits that hooks apply: a bare direction with options, or specs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Float

from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.steering.hooks import AnyEdit, Edit, to_hook_edit
from elicit.steering.residuals import Norms
from elicit.steering.spec import Mode, Steering, vector_edit

Given = AnyEdit | Edit | Sequence[AnyEdit | Edit] | Float[torch.Tensor, " d_model"]


class VectorOptions(NamedTuple):
    """Options that belong to a bare direction."""

    layer: int | None
    strength: float
    mode: Mode
    positions: str
    unit: float | None
    coefficient: float | None


class SteeredModel(Protocol):
    """The facts of a model that edits are checked against."""

    hf: Any
    name: str

    @property
    def n_layers(self) -> int: ...

    @property
    def d_model(self) -> int: ...

    @property
    def residual_norms(self) -> Norms: ...


def resolve_edits(model: SteeredModel, edit: Given, options: VectorOptions) -> list[Edit]:
    """Edits of specs, or of a direction [d_model] with options.

    Raises:
        ElicitError: a direction without its layer, contradicting options, or an edit of another width.
    """
    if isinstance(edit, torch.Tensor):
        edit = _build_vector_edit(model, edit, options)
    elif options.coefficient is not None:
        raise ElicitError("steer: a coefficient belongs to a direction [d_model]; a spec has its own strength.")
    edits = [edit] if isinstance(edit, AnyEdit | Edit) else list(edit)
    for item in edits:
        if not isinstance(item, Edit) and item.d_model != model.d_model:
            raise ElicitError(
                f"steer: {item.label!r} has {item.d_model} entries, but d_model of {model.name} is {model.d_model}."
            )
    return [item if isinstance(item, Edit) else to_hook_edit(item) for item in edits]


def _build_vector_edit(model: SteeredModel, direction: torch.Tensor, options: VectorOptions) -> Steering:
    layer, strength, mode, positions, unit, coefficient = options
    if layer is None:
        raise ElicitError(f"steer: a direction needs its layer. Type: layer=0 ... {model.n_layers - 1}")
    architectures.check_layer(model.hf, layer)
    size = unit if unit is not None else (model.residual_norms.medians[layer] if mode == "add" else 1.0)
    if coefficient is None:
        return Steering(direction, layer, strength, mode, positions, size)
    if (mode, strength, unit) != ("add", 1.0, None):
        raise ElicitError("steer: a coefficient stands alone. Leave out strength, unit and mode.")
    return vector_edit(direction, layer, coefficient, unit=size, positions=positions)
