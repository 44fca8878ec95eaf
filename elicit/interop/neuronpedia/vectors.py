"""A steering vector as the body of Neuronpedia's request `POST /api/vector/new`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.steering import Steering


def build_vector_request(edit: Steering, *, model_id: str, n_layers: int, label: str | None = None) -> dict[str, Any]:
    """The request's body, as plain data: `neuronpedia.NPVector.new` takes the same values.

    Neuronpedia's client knows one place, `hook_resid_pre`. The residual after block l is the one before block l + 1. It
    steers at every token and has no field for positions; where this edit has others, the label says so.

    Args:
        edit: a vector that is added; strength 1 on Neuronpedia adds the direction at length 1.
        model_id: the model's id on Neuronpedia, such as gpt2-small.
        n_layers: how many layers the model has.
        label: the vector's name there; by default the edit's own.

    Raises:
        ElicitError: an edit that is not an addition, or one after the last block, where no block follows.
    """
    if edit.mode != "add":
        raise ElicitError(f"neuronpedia: vectors there are added, and this edit has mode {edit.mode}.")
    if edit.layer + 1 >= n_layers:
        raise ElicitError(
            f"neuronpedia: vectors are added before a block, and none follows layer {edit.layer} of {n_layers}."
        )
    note = "" if edit.positions == "all" else f" (found at positions {edit.positions})"
    return {
        "modelId": model_id,
        "layerNumber": edit.layer + 1,
        "hookType": "hook_resid_pre",
        "vector": [float(value) for value in edit.direction],
        "vectorDefaultSteerStrength": float(edit.strength * edit.unit),
        "vectorLabel": f"{label or edit.label}{note}",
    }
