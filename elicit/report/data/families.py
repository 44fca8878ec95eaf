"""Families of mechanism: what a reader compares first. Arms of one family stand together, in one colour and one shape.

A method says its family (`Traits.family`). One that does not is placed by what it left behind: edits make it steering,
training makes it another trained arm, neither makes it decoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from elicit.method import Traits
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
        MechanismFamily("frame", "Base, ceilings and floors", svg.GREY, "tick", False),
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


#: Steered positions a problem below which a gated arm steers at one token.
ONE_TOKEN = 1.5


def is_single_vector(data: Mapping[str, Any]) -> bool:
    """A hybrid arm with one direction, added at one token of an answer: steering, and no mechanism of its own."""
    firings = data.get("firings_per_problem")
    return data.get("directions") == 1 and isinstance(firings, int | float) and firings < ONE_TOKEN


def classify_arm(traits: Traits, data: Mapping[str, Any], *, trained: bool, ceiling: bool) -> MechanismFamily:
    """The family of an arm that is nobody's control."""
    if ceiling:
        return FAMILIES["frame"]
    if is_single_vector(data):
        return FAMILIES["steering"]
    if traits.family is not None:
        return FAMILIES[traits.family]
    if data.get("steering"):
        return FAMILIES["other" if trained else "steering"]
    return FAMILIES["other" if trained else "decoding"]
