"""Families of mechanism: what a reader compares first. Arms of one family stand together, in one colour and one shape.

A method that is not in the table is placed by what it left behind: edits make it steering, training makes it another
trained arm, neither makes it decoding. So a new method needs no line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from elicit.report.charts import svg


class MechanismFamily(NamedTuple):
    key: str
    name: str
    """As a heading and in the verdict."""
    colour: str
    shape: svg.MarkShape
    trained: bool
    """Its arms train something: weights or a vector."""


#: In reading order. Colour and shape both tell families apart, so that either may be lost in print or to an eye.
FAMILIES: dict[str, MechanismFamily] = {
    found.key: found
    for found in (
        MechanismFamily("frame", "Base and ceilings", svg.GREY, "tick", False),
        MechanismFamily("sft", "Supervised fine-tuning", svg.ORANGE, "square", True),
        MechanismFamily("critique", "Critique fine-tuning", svg.OCHRE, "pentagon", True),
        MechanismFamily("rl", "Reinforcement learning", svg.PURPLE, "up", True),
        MechanismFamily("rl_steering", "RL-trained steering", svg.PURPLE, "down", True),
        MechanismFamily("hybrid", "Hybrid steering", svg.OCHRE, "star", True),
        MechanismFamily("steering", "Steering", svg.BLUE, "circle", False),
        MechanismFamily("decoding", "Decoding and prompting", svg.GREEN, "diamond", False),
        MechanismFamily("other", "Other trained arms", svg.GREY, "square", True),
    )
}

_METHODS_OF_FAMILY = {
    "frame": ("base", "cue_prompt", "best_prompt", "reference_model"),
    "sft": ("sft",),
    "critique": ("critique", "same_solutions"),
    "rl": ("grpo", "grpo_random_reward", "grpo_format_only", "grpo_wrong_label"),
    "rl_steering": ("rl_steering", "rl_steering_random_reward", "untrained_vector"),
    "hybrid": ("hybrid_steering", "hybrid_control"),
    "steering": ("mean_steering", "sae_steering"),
    "decoding": (
        *("self_consistency", "cot_decoding", "power_sampling", "best_of_n", "budget_forcing"),
        *("contrastive_decoding", "dola", "min_p", "few_shot", "think_prompt", "named_prompt"),
    ),
}
_FAMILY_OF_METHOD = {method: family for family, methods in _METHODS_OF_FAMILY.items() for method in methods}
#: Methods that are controls whatever their arm is called.
CONTROL_METHODS = (
    *("grpo_random_reward", "grpo_format_only", "grpo_wrong_label", "rl_steering_random_reward"),
    *("same_solutions", "untrained_vector", "hybrid_control"),
)


def classify_arm(method: str, data: Mapping[str, Any], *, trained: bool, ceiling: bool) -> MechanismFamily:
    """The family of an arm that is nobody's control."""
    if ceiling:
        return FAMILIES["frame"]
    if method in _FAMILY_OF_METHOD:
        return FAMILIES[_FAMILY_OF_METHOD[method]]
    if data.get("steering"):
        return FAMILIES["other" if trained else "steering"]
    return FAMILIES["other" if trained else "decoding"]
