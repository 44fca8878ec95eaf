"""What a run says of a feature beside its controls: replication, sufficiency and necessity, one sentence each.

1. Replication (`twin_feature`): the feature of a second SAE nearest to an arm's. It *does the same* if its gain is not
   shown to fall short of that arm's.
2. Sufficiency (`clamp_feature`): the feature at its own cued value in the plain prompt. It is *enough* if its gain is
   not shown to fall short of that arm's.
3. Necessity (`ablate_feature` and `mean_ablation` named after the ceiling): the fall of the ceiling, paired. Where
   nothing falls, no necessity is shown, and no redundancy proven.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from elicit.report.figures import Arm, Panel, dig, number
from elicit.report.written import interval, percent, plain

EVIDENCE = ("twin_feature", "clamp_feature", "ablate_feature", "mean_ablation")
_DONE = {"ablate_feature": "Taking {} out", "mean_ablation": "Giving {} the values of the plain prompt"}
_RANDOM = {
    "random_feature": "as many matched random features instead",
    "random_vector": "a random vector of the same length",
    "covariance_vector": "a vector of the same length from the residuals' covariance",
}
_NOTABLE = 0.10


def support(panel: Panel, boosted: Arm) -> Iterator[str]:
    """Replication and sufficiency of one arm's feature."""
    for arm in panel.arms:
        if arm.parent != boosted.name or arm.versus("vs_base").figure.value is None:
            continue
        gain, behind = _points(arm, "vs_base"), arm.versus("vs_parent").figure
        short = behind.high is not None and behind.high < 0
        if arm.data.get("method") == "twin_feature":
            cosine = plain(number(dig(_first(arm), "cosine")), 2)
            does = "does less" if short else "does the same"
            yield f"The nearest feature of a second SAE (cosine {cosine}) {does} ({gain})."
        elif arm.data.get("method") == "clamp_feature":
            many = _count(arm) > 1
            subject = f"the {_count(arm)} best features together" if many else "the feature"
            value = "their natural values" if many else "its natural value"
            enough = f"{'are' if many else 'is'} {'not ' if short else ''}enough"
            yield f"At {value} under the cue, in the plain prompt, {subject} {enough} ({gain})."


def necessity(panel: Panel) -> Iterator[str]:
    """What the ceiling loses with features taken out."""
    for arm in panel.arms:
        method = str(arm.data.get("method"))
        ceiling = next((one for one in panel.arms if one.name == arm.parent), None)
        if method not in _DONE or ceiling is None or (ceiling.versus("vs_base").figure.value or 0.0) < _NOTABLE:
            continue  # where the ceiling shows no ability, nothing can be needed for it
        fall = arm.versus("vs_parent").figure
        if fall.value is None:
            continue
        what = "the feature" if _count(arm) == 1 else f"{_count(arm)} features together"
        verdict = "is not shown to matter there"
        if fall.high is not None and fall.high < 0:
            verdict = "lowers its accuracy" if fall.value <= -_NOTABLE else "lowers its accuracy a little"
        done = _DONE[method].format(what)
        yield f"{done} under {arm.parent} {verdict}: {_points(arm, 'vs_parent')}{_instead(panel, arm)}."


def _instead(panel: Panel, arm: Arm) -> str:
    """What is left with something random in the place of the features."""
    parts = []
    for one in panel.arms:
        method = str(one.data.get("method"))
        if one.parent == arm.name and method in _RANDOM and one.accuracy.value is not None:
            parts.append(
                f"{percent(one.accuracy.value)} % {interval(one.accuracy)}".strip() + f" with {_RANDOM[method]}"
            )
    return f" ({', '.join(parts)})" if parts else ""


def _count(arm: Arm) -> int:
    features = arm.data.get("features")
    return len(features) if isinstance(features, list) else 0


def _first(arm: Arm) -> Mapping[str, Any]:
    features = arm.data.get("features")
    return features[0] if isinstance(features, list) and features and isinstance(features[0], Mapping) else {}


def _points(arm: Arm, key: Any) -> str:
    figure = arm.versus(key).figure
    return f"{percent(figure.value, signed=True)} points {interval(figure)}".strip()
