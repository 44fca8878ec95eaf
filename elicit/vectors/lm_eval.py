"""Reading of lm-eval's steering files, `steer.pt`, as edits of the lab (lm_eval/models/hf_steered.py, 0.4.13).

Theirs edits the output of a named module at *every* position, one edit a module, d being its direction:

    add     h + coefficient * vector
    clamp   h + (coefficient - (h - bias) . d) d       bias: an SAE's b_dec, or none; d = vector / |vector|
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.model import BaseModel
from elicit.steering import Steering, vector_edit
from elicit.vectors.tensors import read_torch_data

ACTIONS = ("add", "clamp")


def find_hookpoints(model: BaseModel) -> dict[str, int]:
    """Module names of the decoder layers, as lm-eval resolves them, and their numbers."""
    numbers = {id(layer): number for number, layer in enumerate(model.layers)}
    return {name: numbers[id(part)] for name, part in model.hf.base_model.named_modules() if id(part) in numbers}


def edit_from_lm_eval(
    model: BaseModel,
    hookpoint: str,
    action: str,
    vector: torch.Tensor,
    coefficient: float,
    *,
    bias: torch.Tensor | None = None,
    label: str,
    where: str,
) -> Steering:
    """One of lm-eval's edits in our terms: at all positions; strength of add in the layer's median residual norms.

    Raises:
        ElicitError: a module that is no decoder layer, an unknown action, or a vector that does not fit.
    """
    layers = find_hookpoints(model)
    if hookpoint not in layers:
        raise unknown_name_error(
            "hookpoint", hookpoint, layers, where=where, hint=f"The lab steers the layers of {model.name}."
        )
    if action not in ACTIONS:
        raise unknown_name_error("action", action, ACTIONS, where=where)
    if vector.shape != (model.d_model,):
        raise ElicitError(f"{where}: a vector of shape {list(vector.shape)}; {model.name} needs [{model.d_model}].")
    if not math.isfinite(coefficient):
        raise ElicitError(f"{where}: the coefficient is {coefficient}.")
    layer, vector = layers[hookpoint], vector.detach().float().cpu()
    if action == "add":
        if coefficient == 0:
            raise ElicitError(f"{where}: the coefficient is 0, which steers nothing.")
        unit = model.residual_norms.medians[layer]
        return vector_edit(vector, layer, coefficient, unit=unit, positions="all", label=label)
    plain = Steering(vector, layer, 1.0, "clamp", "all", 1.0, label)
    shift = 0.0 if bias is None else float(bias.detach().float().cpu() @ plain.direction)
    return Steering(vector, layer, coefficient + shift, "clamp", "all", 1.0, label)


def read_pt(path: str | Path, model: BaseModel) -> tuple[Steering, ...]:
    """Steering from such a file. It is read as data: a pickle that would run code is refused.

    Raises:
        ElicitError: a file that is none, or an edit that the lab does not have.
    """
    source = check_suffix(path, ".pt")
    config = read_torch_data(source)
    if not isinstance(config, Mapping) or not config:
        raise ElicitError(f"{source} holds no steering: expected {{hookpoint: {{action, steering_vector, ...}}}}.")
    return tuple(_read_entry(str(hookpoint), entry, model, str(source)) for hookpoint, entry in config.items())


def _read_entry(hookpoint: str, entry: Any, model: BaseModel, source: str) -> Steering:
    where = f"{source}, {one_line(hookpoint, 60)}"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("steering_vector"), torch.Tensor):
        raise ElicitError(f"{where}: no steering_vector; expected a tensor [{model.d_model}].")
    if entry.get("head_index") is not None:
        raise ElicitError(f"{where}: it edits attention head {entry['head_index']}; the lab steers whole residuals.")
    action, bias = str(entry.get("action")), entry.get("bias")
    if action == "add" and bias is not None:
        raise ElicitError(f"{where}: a bias with action add, which lm-eval refuses too.")
    coefficient = entry.get("steering_coefficient", 1.0)
    if not isinstance(coefficient, int | float):
        raise ElicitError(f"{where}: steering_coefficient is {one_line(repr(coefficient), 40)}; expected a number.")
    return edit_from_lm_eval(
        model,
        hookpoint,
        action,
        entry["steering_vector"],
        float(coefficient),
        bias=bias,
        label=f"{Path(source).name} {hookpoint}",
        where=where,
    )


def check_suffix(path: str | Path, suffix: str) -> Path:
    if Path(path).suffix != suffix:
        raise ElicitError(f"{path}: lm-eval tells steering files by their ending. Type a name that ends in {suffix}.")
    return Path(path)
