"""The methods by name: the built-in table, older names of theirs, and methods from outside.

A new built-in method is one new file and one line here; nothing else knows its name. One from outside is named in a
spec by an entry point of an installed package (group `elicit.methods`), or as `my_file.py:MyMethod` or
`my_package.module:MyMethod`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from collections.abc import Collection, Mapping
from types import FunctionType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.method import Method, Traits
from elicit.methods.grid_search import SEARCH, GridSearch, list_combinations
from elicit.methods.outside import GROUP, find_method_reference, load_method_class, reference_object, shorten_reference
from elicit.plugins import MissingCodeError, list_entry_points

#: Largest whole number in a config: of problems, steps, samples or tokens. A larger run would never end.
MAX_WHOLE_NUMBER = 1_000_000

#: name -> (module, class)
METHODS: dict[str, tuple[str, str]] = {
    "base": ("elicit.methods.baselines.base", "Base"),
    "cue_prompt": ("elicit.methods.baselines.cue_prompt", "CuePrompt"),
    "best_prompt": ("elicit.methods.baselines.best_prompt", "BestPrompt"),
    "forbid_first": ("elicit.methods.baselines.forbid_first", "ForbidFirst"),
    "named_prompt": ("elicit.methods.baselines.named_prompt", "NamedPrompt"),
    "reference_model": ("elicit.methods.baselines.reference_model", "ReferenceModel"),
    "sft": ("elicit.methods.finetuning.sft", "SFT"),
    "critique": ("elicit.methods.finetuning.critique", "Critique"),
    "same_solutions": ("elicit.methods.controls.same_solutions", "SameSolutions"),
    "grpo": ("elicit.methods.finetuning.grpo", "GRPO"),
    "rl_steering": ("elicit.methods.steering.rl_steering", "RlSteering"),
    "untrained_vector": ("elicit.methods.controls.untrained_vector", "UntrainedVector"),
    "mean_steering": ("elicit.methods.steering.mean_steering", "MeanSteering"),
    "sae_steering": ("elicit.methods.steering.sae_steering", "SaeSteering"),
    "vector": ("elicit.methods.steering.vector", "Vector"),
    "edit": ("elicit.methods.steering.edit", "FunctionSteering"),
    "feature": ("elicit.methods.steering.feature", "FeatureSteering"),
    "random_feature": ("elicit.methods.controls.random_feature", "RandomFeature"),
    "twin_feature": ("elicit.methods.ablations.twin_feature", "TwinFeature"),
    "feature_sweep": ("elicit.methods.ablations.feature_sweep", "FeatureSweep"),
    "ablate_feature": ("elicit.methods.ablations.ablate_feature", "AblateFeature"),
    "mean_ablation": ("elicit.methods.ablations.mean_ablation", "MeanAblation"),
    "clamp_feature": ("elicit.methods.ablations.clamp_feature", "ClampFeature"),
    "error_vector": ("elicit.methods.controls.error_vector", "ErrorVector"),
    "covariance_vector": ("elicit.methods.controls.covariance_vector", "CovarianceVector"),
    "same_vector": ("elicit.methods.controls.same_vector", "SameVector"),
    "random_vector": ("elicit.methods.controls.random_vector", "RandomVector"),
    "searched_random_vector": ("elicit.methods.controls.searched_random_vector", "SearchedRandomVector"),
    "searched_random_feature": ("elicit.methods.controls.searched_random_feature", "SearchedRandomFeature"),
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


#: Older names: method and options. Specs and runs that use them stay as they are.
ALIASES: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo_random_reward": ("grpo", {"reward": "random"}),
    "grpo_format_only": ("grpo", {"reward": "format_only"}),
    "grpo_wrong_label": ("grpo", {"reward": "wrong_label"}),
    "rl_steering_random_reward": ("rl_steering", {"reward": "random"}),
}


def is_built_in(name: str) -> bool:
    """The method is part of this package, by its name or an older one."""
    return name in METHODS or name in ALIASES


def load_config_class(name: str, *, where: str = "") -> type[Method]:
    """The config class of a method: built in, of an entry point, or behind a reference to code.

    Raises:
        ElicitError: an unknown name; code that is not there, cannot be imported or is not a method.
    """
    if name in ALIASES:
        name = ALIASES[name][0]
    if name in METHODS:
        module, class_name = METHODS[name]
        built_in: type[Method] = getattr(importlib.import_module(module), class_name)
        return built_in
    reference = find_method_reference(name)
    if reference is None:
        if name.endswith(".py"):
            raise ElicitError(
                f"{where + ': ' if where else ''}method {name!r} is a file. Name its class too: {name}:MyMethod"
            )
        known = [*METHODS, *list_entry_points(GROUP)]
        hint = "See: elicit ls methods. If a package brings it, install that package; a file's is my_file.py:MyMethod."
        raise unknown_name_error("method", name, known, where=where, hint=hint)
    try:
        return load_method_class(reference)
    except MissingCodeError as error:
        raise MissingCodeError(f"{where}: {error}" if where else str(error)) from None
    except ElicitError as error:
        raise ElicitError(f"{where}: {error}" if where else str(error)) from error


def list_providers(parts: Collection[str]) -> list[str]:
    """The built-in methods whose policies have one of some parts (`Traits.provides`)."""
    return [name for name in METHODS if set(parts) & set(load_config_class(name).traits.provides)]


def list_floors() -> dict[str, str]:
    """The built-in methods that are floors (`Traits.floor`), with their words."""
    floors = {name: load_config_class(name).traits.floor for name in METHODS}
    return {name: label for name, label in floors.items() if label}


def list_options(method_class: type[Method]) -> tuple[dataclasses.Field[Any], ...]:
    """The options of a method: the fields of its config."""
    return dataclasses.fields(method_class)  # type: ignore[arg-type]  # every method is a dataclass


def get_built_in_traits(name: str) -> Traits | None:
    """The traits of a built-in method by name, options left as they are; None for any other name."""
    if name in ALIASES:
        return configure_method(name, {}).traits
    return load_config_class(name).traits if name in METHODS else None


def name_config(method: Method) -> str:
    """The name that a spec has for a config's class: the built-in one, else `module:Class`.

    Raises:
        ElicitError: a class that cannot be imported again, which a run that is resumed would have to.
    """
    method_class = type(method)
    for name, target in METHODS.items():
        if target == (method_class.__module__, method_class.__qualname__):
            return name
    return reference_object(method_class)


def describe_config(method: Method) -> dict[str, Any]:
    """A config as a spec says it: its method, and the options that are not at their default.

    Classes and functions among the options become references.

    Raises:
        ElicitError: a class or a function that cannot be imported again.
    """
    if isinstance(method, GridSearch):
        fixed = describe_config(method.candidates[0])
        searched = {name: _to_plain_value(values) for name, values in method.searched.items()}
        return {**{name: value for name, value in fixed.items() if name not in searched}, SEARCH: searched}
    options: dict[str, Any] = {"method": name_config(method)}
    for field in list_options(type(method)):
        value = getattr(method, field.name)
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if value != default:
            options[field.name] = _to_plain_value(value)
    return options


def _to_plain_value(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_to_plain_value(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _to_plain_value(item) for key, item in value.items()}
    return reference_object(value) if isinstance(value, type | FunctionType) else value


@functools.cache
def _get_config_adapter(method_class: type) -> TypeAdapter[Any]:
    return TypeAdapter(method_class)


def _configure_search(name: str, options: Mapping[str, Any], where: str) -> GridSearch:
    prefix = f"{where}: " if where else ""
    combinations = list_combinations(options[SEARCH], prefix)
    fixed = {option: value for option, value in options.items() if option != SEARCH}
    for option in combinations[0]:
        if option in fixed:
            raise ElicitError(f"{prefix}{option} is given and searched too. Leave one of them out.")
    configs = tuple(configure_method(name, {**fixed, **values}, where=where) for values in combinations)
    try:
        return GridSearch(configs, tuple(combinations))
    except ElicitError as error:
        raise ElicitError(f"{prefix}{error}") from None


def _check_alias_options(name: str, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options that an older name stands for. Raises ElicitError where they are given too."""
    method, implied = ALIASES.get(name, (name, {}))
    for option in implied:
        if option in options:
            raise ElicitError(
                f"{where}: method {name!r} fixes {option}. Type: method: {method}, {option}: {options[option]}"
            )
    return implied


def configure_method(name: str, options: Mapping[str, Any], *, where: str = "") -> Method:
    """A method's config from plain data (YAML), checked. With `search` among the options: a search over others.

    Raises:
        ElicitError: unknown method or field, or a value of the wrong type or range.
    """
    method_class = load_config_class(name, where=where)
    if SEARCH in options and SEARCH not in {field.name for field in list_options(method_class)}:
        return _configure_search(name, options, where)
    options = {**options, **_check_alias_options(name, options, where)}
    name = shorten_reference(name)
    fields = {field.name for field in list_options(method_class)}
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
