"""Words for arms, controls and figures: what sentences of the verdict are made of."""

from __future__ import annotations

import re

from elicit.report.figures import Arm, Figure, number
from elicit.report.written import interval, p_value, percent

_EDIT = re.compile(r"^\w+ .+ at layer (?P<layer>\d+), (?P<where>[a-z0-9:]+): ")
_CONTROLS = {
    "random_vector": "a random vector of the same norm",
    "covariance_vector": "a random vector from the residuals' covariance",
    "random_feature": "a random feature of matched density and norm",
    "error_vector": "the SAE's unexplained part of the contrast",
    "grpo_random_reward": "a random reward",
    "grpo_format_only": "a reward for the form alone",
    "grpo_wrong_label": "a reward for wrong answers",
    "rl_steering_random_reward": "a random reward",
    "untrained_vector": "the untrained vector it starts from",
    "same_solutions": "SFT on the same problems' solutions for as many tokens",
}
_BLAMED = {"untrained_vector": "the training", "same_solutions": "the critiques"}
_WHERE = {
    "first": "at the first generation step",
    "all": "at all positions",
    "generated": "at every generated position",
    "prompt": "on the prompt",
}


def described(arm: Arm) -> str:
    """An arm's name, with what a steering arm does in words."""
    if arm.name == "sft":
        train = arm.data.get("train")
        labels = number(train.get("labels")) if isinstance(train, dict) else None
        return f"SFT on {labels:.0f} demonstrations" if labels else "SFT"
    found = edit(arm)
    what = "one SAE feature" if arm.data.get("features") else "one vector"
    if arm.data.get("method") == "hybrid_steering":
        what = "a gated vector per category"
    return f"{arm.name} ({what} {found[1]}, layer {found[0]})" if found else arm.name


def edit(arm: Arm) -> tuple[str, str] | None:
    """(layer, place in words) of an arm with a single edit."""
    edits = arm.data.get("steering")
    if not isinstance(edits, list) or len(edits) != 1:
        return None
    match = _EDIT.match(str(edits[0]))
    return (match["layer"], _WHERE.get(match["where"], f"at positions {match['where']}")) if match else None


def control(arm: Arm) -> str:
    """What a control does in words; the last part of its name where its method says too little."""
    method, found = str(arm.data.get("method")), edit(arm)
    if method == "same_vector" and found and arm.family.key == "steering":
        turned = "turned round " if ": -" in str(arm.data["steering"][0]) else ""
        return f"the same vector {turned}{found[1]}"
    return _CONTROLS.get(method, arm.short.lstrip("/").replace("_", " "))


def blamed(arm: Arm) -> str:
    """What is shown not to matter when a control moves as much as its parent."""
    method, short = str(arm.data.get("method")), arm.short.lstrip("/").replace("_", " ")
    if method.startswith("grpo_") or method == "rl_steering_random_reward":
        return "the reward being right"
    if method in _BLAMED:
        return _BLAMED[method]
    if method in ("random_vector", "random_feature", "covariance_vector"):
        return "its direction"
    if method == "same_vector" and arm.family.key == "steering":
        return "its position or sign"
    return short if short.startswith(("random", "wrong")) else f"what {short} changes"


def points(figure: Figure) -> str:
    """`+26.5 points [18.2, 34.9]`."""
    spoken = f"{percent(figure.value, signed=True)} points"
    return f"{spoken} {interval(figure)}" if figure.bounded else f"{spoken}, no interval"


def share(value: float | None) -> str:
    return f"{percent(value)} %"


def probability(p: float | None, name: str = "p") -> str:
    shown = p_value(p)
    return f"{name} {shown if shown.startswith('<') else '= ' + shown}"


def listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + "."
