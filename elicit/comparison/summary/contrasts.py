"""One arm against another in a summary: paired differences, shares of the gap, Holm's correction. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from elicit import statistics
from elicit.method import Method
from elicit.schema import parent_of


def gap(
    scores: np.ndarray | None,
    base: np.ndarray | None,
    ceiling: np.ndarray | None,
    top: Mapping[str, Any] | None,
    method: Method,
) -> dict[str, Any]:
    withheld = {"gap_recovered": None, "gap_ci": None, "gap_ceiling": None, "gap_note": None}
    if scores is None or base is None or ceiling is None or top is None or method.traits.ceiling is not None:
        return withheld
    found = statistics.gap_recovered(scores, base, ceiling, 0, ceiling_name=str(top["kind"]))
    return {**withheld, **found.to_json(), "gap_note": found.reason or None}


def against(
    scores: np.ndarray | None, reference: np.ndarray | None, method: Method, *, reference_trained: bool
) -> dict[str, Any] | None:
    if scores is None or reference is None:
        return None
    found = statistics.difference(
        scores, reference, arm_trained=method.traits.trained, reference_trained=reference_trained
    )
    return {**found.to_json(), "note": found.note or None}


def against_parent(
    arm: str, scores: Mapping[str, np.ndarray | None], methods: Mapping[str, Method]
) -> dict[str, Any] | None:
    """A control against the arm it is named after: paired over the same problems."""
    parent = parent_of(arm, scores)
    if parent is None:
        return None
    found = against(scores[arm], scores[parent], methods[arm], reference_trained=methods[parent].traits.trained)
    return None if found is None else {"arm": parent, **found}


def leak(models: Mapping[str, Any], model: str, label: str, arm: str) -> dict[str, Any] | None:
    """What the same arm gains over the base of a model that was never taught the skill: teaching, not elicitation.

    Only for capable models; of several incapable ones, the largest difference in absolute value.
    """
    if models[model]["capable"] is not True:
        return None
    found = []
    for other, entry in models.items():
        figures = entry["tasks"].get(label, {}).get("arms", {}).get(arm) if entry["capable"] is False else None
        if figures is not None and figures["vs_base"] is not None:
            found.append({"model": other, **figures["vs_base"]})
    return max(found, key=lambda one: abs(one["difference"]), default=None)


def adjust(differences: Iterable[dict[str, Any] | None]) -> None:
    """Holm's correction over the arms."""
    tested = [one for one in differences if one is not None and one["p"] is not None]
    for one, p in zip(tested, statistics.holm([one["p"] for one in tested]), strict=True):
        one["p_holm"] = float(p)
