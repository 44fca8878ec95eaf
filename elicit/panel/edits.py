"""From the panel's controls to a `Steering`, and the unit that each mode's strength is counted in."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float

from elicit.model import BaseModel
from elicit.panel.setting import Setting
from elicit.steering import Steering, feature_edit
from elicit.tasks import Task
from saes import SAE, Feature

#: Train problems whose texts give the units, as many as `sae_steering` takes.
PROBLEMS = 128


class StrengthUnit(NamedTuple):
    """The meaning of strength 1."""

    size: float
    """In residual length; 1 for a factor."""
    words: str


class StrengthScale(NamedTuple):
    """The scale of strengths: with a task that of `sae_steering`, so that a strength means the same there."""

    norms: tuple[float, ...]
    """Median residual norm after each layer: of worked train problems, or of neutral text where there is no task."""
    cued: Float[torch.Tensor, "layer problem d_model"] | None
    """Residuals at the last token of the cue prompts of train problems, where the task has a cue."""


def measure_scale(model: BaseModel, task: Task | None) -> StrengthScale:
    """Measure a model once."""
    if task is None:
        return StrengthScale(model.residual_norms.medians, None)
    problems = task.problems("train", PROBLEMS)
    norms = model.residual_norms_of([problem.prompt + (task.worked(problem) or "") for problem in problems])
    cues = [problem.cue_prompt for problem in problems if problem.cue_prompt is not None]
    return StrengthScale(norms.medians, model.residuals(cues) if cues else None)


def strength_unit(scale: StrengthScale, feature: Feature, mode: str) -> StrengthUnit:
    """The unit of a mode: the layer's median residual norm (add); the feature's median value under the cue (clamp), or
    the residual norm again where no cue is known or the feature is silent under it.
    """
    layer = feature.sae.layer
    norm = StrengthUnit(scale.norms[layer], "residual norms")
    if mode == "add":
        return norm
    if mode != "clamp":
        return StrengthUnit(1.0, "×")
    if not feature.sae.linear or scale.cued is None:
        return norm
    value = float(feature.coefficient(scale.cued[layer]).median())
    return StrengthUnit(value, "median cued values") if value > 0 else norm


def build_edit(scale: StrengthScale, sae: SAE, setting: Setting) -> Steering:
    """The edit that a setting describes. Ablating takes strength 1 whatever the setting says.

    Raises:
        ElicitError: no such feature, or a mode that the SAE cannot do.
    """
    feature = sae.feature(setting.feature)
    strength = 1.0 if setting.mode == "ablate" else setting.strength
    unit = strength_unit(scale, feature, setting.mode).size
    return feature_edit(feature, strength, unit=unit, mode=setting.mode, positions=setting.positions)
