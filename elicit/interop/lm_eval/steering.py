"""Steering as lm-eval's model `steered` has it (lm_eval/models/hf_steered.py, 0.4.13), and back: only where both agree.

Theirs edits the output of a named module at *every* position, one edit a module, d being its direction:

    add     h + coefficient * vector
    clamp   h + (coefficient - (h - bias) . d) d       bias: an SAE's b_dec, or none; d = vector / |vector|

Ours, at positions `all`, is the same for add; for clamp and ablate of a plain direction, whose coefficient is h . d.
Clamping a *feature* is another edit: the lab reads its activation off the encoder, lm-eval projects on the decoder row.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from elicit import runs
from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.model import BaseModel
from elicit.policy import Policy, Prompting
from elicit.steering import GatedEdit, Steering, vector_edit

ACTIONS = ("add", "clamp")


class LmEvalEdit(NamedTuple):
    """One edit in lm-eval's terms, without a bias."""

    hookpoint: str
    """Module name below the model's `base_model`."""
    action: Literal["add", "clamp"]
    edit: Steering
    """The same in ours."""

    @property
    def coefficient(self) -> float:
        """Residual length that is added, or the projection that is clamped to."""
        return 0.0 if self.edit.mode == "ablate" else self.edit.absolute


def find_hookpoints(model: BaseModel) -> dict[str, int]:
    """Module names of the decoder layers, as lm-eval resolves them, and their numbers."""
    numbers = {id(layer): number for number, layer in enumerate(model.layers)}
    return {name: numbers[id(part)] for name, part in model.hf.base_model.named_modules() if id(part) in numbers}


def export_edits(policy: Policy) -> list[LmEvalEdit]:
    """A policy's edits in lm-eval's terms.

    Raises:
        ElicitError: a policy that is more than its steering, or an edit that means something else there.
    """
    _check_steering_only(policy)
    names = {number: name for name, number in find_hookpoints(policy.model).items()}
    edits: dict[int, LmEvalEdit] = {}
    for edit in policy.steering:
        if isinstance(edit, GatedEdit):
            raise _mismatch_error(edit, "a gate switches it on and off, which lm-eval's steering cannot say")
        if edit.positions != "all":
            raise _mismatch_error(
                edit, f"lm-eval steers every position, this one {edit.positions!r}. Fit it with positions: all"
            )
        if edit.mode == "scale":
            raise _mismatch_error(edit, "lm-eval can add and clamp, not scale")
        if edit.feature is not None and edit.reads:
            raise _mismatch_error(
                edit, "it reads the activation off the SAE's encoder, where lm-eval projects on the decoder row"
            )
        if edit.layer in edits:
            raise _mismatch_error(edit, f"layer {edit.layer} has another edit, and lm-eval keeps one a layer")
        edits[edit.layer] = LmEvalEdit(names[edit.layer], "add" if edit.mode == "add" else "clamp", edit)
    return list(edits.values())


def _check_steering_only(policy: Policy) -> None:
    more = [
        (not policy.steering, "has no steering"),
        (policy.weights is not None, "has trained weights beside its steering"),
        (policy.readout is not None, "reads its logits out in another way"),
        (policy.search is not None, "answers by a search"),
        (policy.prompting != Prompting(), "puts text around prompts"),
    ]
    for there, what in more:
        if there:
            raise ElicitError(
                f"lm-eval steering: {policy!r} {what}. lm-eval's model `steered` is a base and its steering."
            )


def _mismatch_error(edit: object, why: str) -> ElicitError:
    return ElicitError(f"lm-eval steering: {edit} means something else there: {why}.")


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


def write_pt(policy: Policy, path: str | Path) -> Path:
    """A policy's steering as the `.pt` file that lm-eval's `steered` takes: tensors, numbers and names, no code.

        lm_eval --model steered --model_args pretrained=FOLDER,steer_path=steer.pt --device cpu

    Raises:
        ElicitError: steering that means something else there, or a file that cannot be written.
    """
    target = _check_suffix(path, ".pt")
    config = {
        edit.hookpoint: {
            "action": edit.action,
            "steering_vector": edit.edit.direction.clone(),
            "steering_coefficient": edit.coefficient,
            "bias": None,
            "head_index": None,
        }
        for edit in export_edits(policy)
    }
    with runs.writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.save(config, target)
    return target


def read_pt(path: str | Path, model: BaseModel) -> tuple[Steering, ...]:
    """Steering from such a file. It is read as data: a pickle that would run code is refused.

    Raises:
        ElicitError: a file that is none, or an edit that the lab does not have.
    """
    source = _check_suffix(path, ".pt")
    try:
        config = torch.load(source, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ElicitError(f"{source} cannot be read as steering: {one_line(error, 160)}") from None
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


def _check_suffix(path: str | Path, suffix: str) -> Path:
    if Path(path).suffix != suffix:
        raise ElicitError(f"{path}: lm-eval tells steering files by their ending. Type a name that ends in {suffix}.")
    return Path(path)


def is_parallel(left: torch.Tensor, right: torch.Tensor) -> bool:
    """True if two directions are the same up to rounding."""
    a, b = left.double(), right.double()
    return bool((a / a.norm() - b / b.norm()).norm() < 1e-5)


def find_parallel_row(direction: torch.Tensor, rows: torch.Tensor) -> int | None:
    """The first of `rows` that points the same way; None without one."""
    near = (rows @ direction.to(rows.device)).div(rows.norm(dim=1).clamp_min(1e-30)).argsort(descending=True)[:1]
    return int(near[0]) if len(near) and is_parallel(direction, rows[near[0]].cpu()) else None
