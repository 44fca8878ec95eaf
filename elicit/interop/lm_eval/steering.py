"""Steering as lm-eval's model `steered` has it (lm_eval/models/hf_steered.py, 0.4.13), and back: only where both agree.

Theirs edits the output of a named module at *every* position, one edit a module, d being its direction:

    add     h + coefficient * vector
    clamp   h + (coefficient - (h - bias) . d) d       bias: an SAE's b_dec, or none; d = vector / |vector|

Ours, at positions `all`, is the same for add; for clamp and ablate of a plain direction, whose coefficient is h . d.
Clamping a *feature* is another edit: the lab reads its activation off the encoder, lm-eval projects on the decoder row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import torch

from elicit import runs
from elicit.errors import ElicitError
from elicit.policy import Policy, Prompting
from elicit.steering import FunctionEdit, GatedEdit, Steering
from elicit.vectors.lm_eval import check_suffix, find_hookpoints


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
        if isinstance(edit, FunctionEdit):
            raise _mismatch_error(edit, "it is a Python function, which no steering file can hold")
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


def write_pt(policy: Policy, path: str | Path) -> Path:
    """A policy's steering as the `.pt` file that lm-eval's `steered` takes: tensors, numbers and names, no code.

        lm_eval --model steered --model_args pretrained=FOLDER,steer_path=steer.pt --device cpu

    Raises:
        ElicitError: steering that means something else there, or a file that cannot be written.
    """
    target = check_suffix(path, ".pt")
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


def is_parallel(left: torch.Tensor, right: torch.Tensor) -> bool:
    """True if two directions are the same up to rounding."""
    a, b = left.double(), right.double()
    return bool((a / a.norm() - b / b.norm()).norm() < 1e-5)


def find_parallel_row(direction: torch.Tensor, rows: torch.Tensor) -> int | None:
    """The first of `rows` that points the same way; None without one."""
    near = (rows @ direction.to(rows.device)).div(rows.norm(dim=1).clamp_min(1e-30)).argsort(descending=True)[:1]
    return int(near[0]) if len(near) and is_parallel(direction, rows[near[0]].cpu()) else None
