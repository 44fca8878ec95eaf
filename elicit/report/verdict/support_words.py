"""Sentences about what supports a feature: a second SAE's, its natural value, its rank among all others."""

from __future__ import annotations

from elicit.report.data.number_format import format_interval, format_number, format_percent
from elicit.report.verdict.arm_facts import FeatureRank, Replication, Sufficiency
from elicit.report.verdict.phrases import brief_points


def write_support(facts: Replication | Sufficiency | FeatureRank) -> str:
    """The sentence of one supporting arm."""
    if isinstance(facts, Replication):
        return _write_replication(facts)
    return _write_sufficiency(facts) if isinstance(facts, Sufficiency) else _write_feature_rank(facts)


def _write_replication(facts: Replication) -> str:
    does = "does less" if facts.falls_short else "does the same"
    return (
        f"The nearest feature of a second SAE (cosine {format_number(facts.cosine, 2)}) {does} "
        f"({brief_points(facts.gain)})."
    )


def _write_sufficiency(facts: Sufficiency) -> str:
    subject, value, verb = "the feature", "its natural value", "is"
    if facts.features > 1:
        subject, value, verb = f"the {facts.features} best features together", "their natural values", "are"
    enough = "not enough" if facts.falls_short else "enough"
    return f"At {value} under the cue, in the plain prompt, {subject} {verb} {enough} ({brief_points(facts.gain)})."


def _write_feature_rank(facts: FeatureRank) -> str:
    return (
        f"Of the {facts.features} other live features at the same setting, {write_rank(facts)}; the best of them "
        f"(cosine {format_number(facts.cosine, 2)}) on test: {brief_points(facts.gain)}."
    )


def write_rank(facts: FeatureRank) -> str:
    """`12 do at least as well on 16 select problems (2.4 % [1.4, 4.2])`."""
    return (
        f"{facts.as_good} {'does' if facts.as_good == 1 else 'do'} at least as well on {facts.problems} select "
        f"problems ({format_percent(facts.share.value)} % {format_interval(facts.share)})"
    )
