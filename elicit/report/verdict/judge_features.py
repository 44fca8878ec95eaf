"""Facts about a feature next to its controls: replication, sufficiency and necessity.

1. Replication: the feature of a second SAE nearest to an arm's. It does the same if its gain is not
   shown to fall short of that arm's.
2. Sufficiency: the feature at its own cued value in the plain prompt. It is enough if its gain is
   not shown to fall short of that arm's.
3. Rank: the share of all other live features that do at least as well as the arm's at the same setting, on select.
4. Necessity (an arm named after the ceiling that takes features out): the fall of the ceiling, paired. Where
   nothing falls, no necessity is shown, and no redundancy proven.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from elicit.report.data.summary_view import Arm, ModelPanel, get_nested, read_finite_number
from elicit.report.verdict.arm_facts import FeatureRank, Necessity, Replication, Substitute, Sufficiency
from elicit.report.verdict.kinds import FallKind

_NOTABLE = 0.10


def judge_support(panel: ModelPanel, boosted: Arm) -> Iterator[Replication | Sufficiency | FeatureRank]:
    """Replication, sufficiency and rank of one arm's feature."""
    for arm in panel.arms:
        gain, behind = arm.read_difference("vs_base").estimate, arm.read_difference("vs_parent").estimate
        if arm.parent != boosted.name or gain.value is None:
            continue
        falls_short = behind.high is not None and behind.high < 0
        if arm.traits.evidence == "replication":
            yield Replication(read_finite_number(get_nested(_first_feature(arm), "cosine")), gain, falls_short)
        elif arm.traits.evidence == "sufficiency":
            yield Sufficiency(_count_features(arm), gain, falls_short)
        elif arm.traits.evidence == "rank" and isinstance(arm.data.get("rank"), Mapping):
            yield _read_rank(arm)


def _read_rank(arm: Arm) -> FeatureRank:
    share = arm.read_estimate("rank", "share")
    return FeatureRank(
        features=share.n or 0,
        as_good=round(read_finite_number(get_nested(arm.data, "rank", "as_good")) or 0),
        problems=round(read_finite_number(get_nested(arm.data, "rank", "problems")) or 0),
        share=share,
        best=arm.read_estimate("rank", "best"),
        cosine=read_finite_number(get_nested(_first_feature(arm), "cosine")),
        gain=arm.read_difference("vs_base").estimate,
    )


def judge_necessity(panel: ModelPanel) -> Iterator[Necessity]:
    """The loss of the ceiling with features taken out."""
    for arm in panel.arms:
        ceiling = next((other for other in panel.arms if other.name == arm.parent), None)
        if (
            arm.traits.evidence != "necessity"
            or ceiling is None
            or (ceiling.read_difference("vs_base").estimate.value or 0.0) < _NOTABLE
        ):
            continue  # where the ceiling shows no ability, nothing can be needed for it
        fall = arm.read_difference("vs_parent").estimate
        if fall.value is None:
            continue
        kind = FallKind.NOT_SHOWN
        if fall.high is not None and fall.high < 0:
            kind = FallKind.LARGE if fall.value <= -_NOTABLE else FallKind.SMALL
        method, substitutes = str(arm.data.get("method")), _list_substitutes(panel, arm)
        yield Necessity(kind, method, _count_features(arm), ceiling.name, fall, substitutes, arm.traits.removal)


def _list_substitutes(panel: ModelPanel, arm: Arm) -> tuple[Substitute, ...]:
    return tuple(
        Substitute(str(other.data.get("method")), other.accuracy, other.traits.substitute)
        for other in panel.arms
        if other.parent == arm.name and other.traits.substitute and other.accuracy.value is not None
    )


def _count_features(arm: Arm) -> int:
    features = arm.data.get("features")
    return len(features) if isinstance(features, list) else 0


def _first_feature(arm: Arm) -> Mapping[str, Any]:
    features = arm.data.get("features")
    return features[0] if isinstance(features, list) and features and isinstance(features[0], Mapping) else {}
