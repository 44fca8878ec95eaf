"""The table of methods. A new method is one new file and one line here; nothing else knows its name."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.method import Method

#: Largest whole number in a config: of problems, steps, samples or tokens. A larger run would never end.
MAX_WHOLE_NUMBER = 1_000_000

#: name -> (module, class)
METHODS: dict[str, tuple[str, str]] = {
    "base": ("elicit.methods.baselines.base", "Base"),
    "cue_prompt": ("elicit.methods.baselines.cue_prompt", "CuePrompt"),
    "best_prompt": ("elicit.methods.baselines.best_prompt", "BestPrompt"),
    "named_prompt": ("elicit.methods.baselines.named_prompt", "NamedPrompt"),
    "reference_model": ("elicit.methods.baselines.reference_model", "ReferenceModel"),
    "sft": ("elicit.methods.finetuning.sft", "SFT"),
    "critique": ("elicit.methods.finetuning.critique", "Critique"),
    "same_solutions": ("elicit.methods.controls.same_solutions", "SameSolutions"),
    "grpo": ("elicit.methods.finetuning.grpo", "GRPO"),
    "grpo_random_reward": ("elicit.methods.controls.grpo_random_reward", "GrpoRandomReward"),
    "grpo_format_only": ("elicit.methods.controls.grpo_format_only", "GrpoFormatOnly"),
    "grpo_wrong_label": ("elicit.methods.controls.grpo_wrong_label", "GrpoWrongLabel"),
    "rl_steering": ("elicit.methods.steering.rl_steering", "RlSteering"),
    "rl_steering_random_reward": ("elicit.methods.controls.rl_steering_random_reward", "RlSteeringRandomReward"),
    "untrained_vector": ("elicit.methods.controls.untrained_vector", "UntrainedVector"),
    "mean_steering": ("elicit.methods.steering.mean_steering", "MeanSteering"),
    "sae_steering": ("elicit.methods.steering.sae_steering", "SaeSteering"),
    "random_feature": ("elicit.methods.controls.random_feature", "RandomFeature"),
    "twin_feature": ("elicit.methods.ablations.twin_feature", "TwinFeature"),
    "ablate_feature": ("elicit.methods.ablations.ablate_feature", "AblateFeature"),
    "mean_ablation": ("elicit.methods.ablations.mean_ablation", "MeanAblation"),
    "clamp_feature": ("elicit.methods.ablations.clamp_feature", "ClampFeature"),
    "error_vector": ("elicit.methods.controls.error_vector", "ErrorVector"),
    "covariance_vector": ("elicit.methods.controls.covariance_vector", "CovarianceVector"),
    "same_vector": ("elicit.methods.controls.same_vector", "SameVector"),
    "random_vector": ("elicit.methods.controls.random_vector", "RandomVector"),
    "self_consistency": ("elicit.methods.decoding.self_consistency", "SelfConsistency"),
    "cot_decoding": ("elicit.methods.decoding.cot_decoding", "CotDecoding"),
    "power_sampling": ("elicit.methods.decoding.power_sampling", "PowerSampling"),
    "best_of_n": ("elicit.methods.decoding.best_of_n", "BestOfN"),
    "budget_forcing": ("elicit.methods.decoding.budget_forcing", "BudgetForcing"),
    "few_shot": ("elicit.methods.baselines.few_shot", "FewShot"),
    "think_prompt": ("elicit.methods.baselines.think_prompt", "ThinkPrompt"),
    "min_p": ("elicit.methods.decoding.min_p", "MinP"),
    "contrastive_decoding": ("elicit.methods.decoding.contrastive_decoding", "ContrastiveDecoding"),
    "dola": ("elicit.methods.decoding.dola", "Dola"),
    "hybrid_steering": ("elicit.methods.steering.hybrid_steering", "HybridSteering"),
    "adapter": ("elicit.methods.finetuning.adapter", "PeftAdapter"),
    "hybrid_control": ("elicit.methods.controls.hybrid_control", "HybridControl"),
}


def load_config_class(name: str, *, where: str = "") -> type:
    """The config class of a method. Raises ElicitError for an unknown name."""
    if name not in METHODS:
        raise unknown_name_error("method", name, METHODS, where=where, hint="See: elicit ls methods")
    module, class_name = METHODS[name]
    method_class: type = getattr(importlib.import_module(module), class_name)
    return method_class


@functools.cache
def _get_config_adapter(method_class: type) -> TypeAdapter[Any]:
    return TypeAdapter(method_class)


def configure_method(name: str, options: Mapping[str, Any], *, where: str = "") -> Method:
    """A method's config from plain data (YAML), checked.

    Raises:
        ElicitError: unknown method or field, or a value of the wrong type or range.
    """
    method_class = load_config_class(name, where=where)
    fields = {field.name for field in dataclasses.fields(method_class)}
    for option in options:
        if option not in fields:
            raise unknown_name_error(f"field of method {name!r}", option, fields, where=where)
    prefix = f"{where}: " if where else ""
    try:
        method: Method = _get_config_adapter(method_class).validate_python(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"]) or name
        input_text = one_line(repr(first["input"]), 60)
        raise ElicitError(
            f"{prefix}method {name!r}, field {location!r}: {input_text}: {one_line(first['msg'])}."
        ) from None
    except ElicitError as error:
        raise ElicitError(f"{prefix}{error}") from None
    for field in fields:
        value = getattr(method, field)
        for number in value if isinstance(value, tuple) else [value]:
            if isinstance(number, int) and abs(number) > MAX_WHOLE_NUMBER:
                raise ElicitError(
                    f"{prefix}method {name!r}, field {field!r}: {number} is more than {MAX_WHOLE_NUMBER:,}, which is "
                    "taken for a "
                    "mistake. Type a smaller number."
                )
        if any(isinstance(n, float) and not math.isfinite(n) for n in (value if isinstance(value, tuple) else [value])):
            raise ElicitError(f"{prefix}method {name!r}, field {field!r}: {value} is not a number to work with.")
    return method
