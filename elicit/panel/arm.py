"""A setting of the panel as an arm of a comparison, with its controls: the YAML that `elicit run` takes."""

from __future__ import annotations

from typing import Any

import yaml

from elicit.errors import ElicitError
from elicit.panel.setting import Setting
from elicit.tasks import Task
from elicit.tasks.to_dict import task_to_dict

#: Test problems of the spec: small enough to try, and the user's to change.
_TEST = 200


def describe_arm(setting: Setting, sae: str, model: str, task: Task | None) -> str:
    """The spec, as YAML.

    Beside the feature stand random features and random vectors of the same length, the opposite sign, and the same
    vector at all positions; and the frame without which a gain means nothing: base, eliciting prompt, SFT.

    Raises:
        ElicitError: the panel shows bare prompts instead of a task, nothing is steered, or the mode is clamp, whose
            strength counts in other units there.
    """
    if task is None:
        raise ElicitError(
            "panel: prompts alone cannot be graded. Make the panel with a task: SteeringPanel(m, s, task)"
        )
    if setting.mode == "clamp":
        raise ElicitError(
            "panel: an arm's clamp counts in activations, the panel's in residual norms. Set mode=add, scale or ablate."
        )
    if setting.strength == 0 and setting.mode == "add":
        raise ElicitError("panel: the strength is 0, which is the base. Set one: panel.set(strength=2)")
    own: dict[str, Any] = {"method": "feature", "sae": sae, "features": [setting.feature], "mode": setting.mode}
    own |= {"positions": setting.positions} | ({} if setting.mode == "ablate" else {"strength": setting.strength})
    name = f"feature_{setting.feature}"
    controls: dict[str, dict[str, Any]] = {"random_vector": {"method": "random_vector", "parent": name}}
    if setting.mode == "add":
        same = {"method": "same_vector", "parent": name}
        controls["random_feature"] = {"method": "random_feature", "parent": name}
        controls["wrong_sign"] = {**same, "positions": setting.positions, "factor": -1.0}
        if setting.positions != "all":
            controls["all_positions"] = {**same, "positions": "all"}
    frame = {"base": {"method": "base"}, "cue_prompt": {"method": "cue_prompt"}, "sft": {"method": "sft"}}
    arms = frame | {name: own} | {f"{name}/{control}": options for control, options in controls.items()}
    spec = {"models": [model], "task": task_to_dict(task), "arms": arms, "seeds": 3, "test": _TEST}
    return yaml.safe_dump(spec, sort_keys=False, default_flow_style=None, width=120)
