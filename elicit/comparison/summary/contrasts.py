"""Comparisons between arms in a summary: paired differences, shares of the gap, Holm's correction. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from elicit import statistics
from elicit.method import Method
from elicit.schema import parent_of


def compute_gap_recovered(
    scores: np.ndarray | None,
    base: np.ndarray | None,
    ceiling: np.ndarray | None,
    top: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The arm's share of the gap to the ceiling `top`; without scores, as for a ceiling itself, none."""
    withheld = {"gap_recovered": None, "gap_ci": None, "gap_ceiling": None, "gap_note": None}
    if scores is None or base is None or ceiling is None or top is None:
        return withheld
    estimate = statistics.gap_recovered(scores, base, ceiling, 0, ceiling_name=str(top["kind"]))
    return {**withheld, **estimate.to_json(), "gap_note": estimate.reason or None}


def compare_paired(
    scores: np.ndarray | None, reference: np.ndarray | None, method: Method, *, reference_trained: bool
) -> dict[str, Any] | None:
    if scores is None or reference is None:
        return None
    difference = statistics.estimate_difference(
        scores, reference, arm_trained=method.traits.trained, reference_trained=reference_trained
    )
    return {**difference.to_json(), "note": difference.note or None}


def compare_to_parent(
    arm: str, scores: Mapping[str, np.ndarray | None], methods: Mapping[str, Method]
) -> dict[str, Any] | None:
    """Compare a control with its parent arm, paired over the same problems."""
    parent = parent_of(arm, scores)
    if parent is None:
        return None
    difference = compare_paired(
        scores[arm], scores[parent], methods[arm], reference_trained=methods[parent].traits.trained
    )
    return None if difference is None else {"arm": parent, **difference}


def compute_leak(models: Mapping[str, Any], model: str, label: str, arm: str) -> dict[str, Any] | None:
    """Leak: the same arm's gain over the base on a model that was never taught the skill. It measures teaching.

    Only for capable models; of several incapable ones, the largest difference in absolute value.
    """
    if models[model]["capable"] is not True:
        return None
    candidates = []
    for other, entry in models.items():
        figures = entry["tasks"].get(label, {}).get("arms", {}).get(arm) if entry["capable"] is False else None
        if figures is not None and figures["vs_base"] is not None:
            candidates.append({"model": other, **figures["vs_base"]})
    return max(candidates, key=lambda candidate: abs(candidate["difference"]), default=None)


def correct_verdict_tests(entries: Mapping[str, dict[str, Any]], base: str | None, reference: str) -> None:
    """Holm's correction over all that one model's verdict speaks of, in place.

    These are every arm against the base, the reference (also at its own spending) and the floors, and its leak; two
    arms are one test, whichever of them it is told of.
    """
    tests: dict[frozenset[str | None], list[dict[str, Any]]] = {}
    for arm, figures in entries.items():
        compared = [(base, figures["vs_base"]), (reference, figures["vs_sft"]), ("", figures["leak"])]
        at_budget = [entry for entry in (figures.get("vs_sft_at_budget") or {}).values() if entry is not None]
        compared += [(str(entry["arm"]), entry) for entry in at_budget]
        for other, difference in (*compared, *(figures.get("vs_floors") or {}).items()):
            if difference is not None and difference["p"] is not None:
                tests.setdefault(frozenset((arm, other)), []).append(difference)
    apply_holm_correction(tests.values())


def apply_holm_correction(tests: Iterable[Sequence[dict[str, Any] | None]]) -> None:
    """Holm's correction over tests, in place: `p_holm`, and their number in `holm_tests`.

    Args:
        tests: for each the differences that tell it; without a p it does not count.
    """
    known = [told for test in tests if (told := [entry for entry in test if entry and entry["p"] is not None])]
    corrected = statistics.holm_correction([told[0]["p"] for told in known])
    for told, p in zip(known, corrected, strict=True):
        for difference in told:
            difference |= {"p_holm": float(p), "holm_tests": len(known)}
