"""Budget curves: accuracy against all that an arm spent, and fine-tuning at the same spending. Imports no torch.

For specs with `budgets`, whose points are arms.

1. An arm spends labels: problems whose right answer was read, in training, in tuning and for the arms it is made from.
2. It spends tokens: those of its fit (trained on, repeats included, and generated, tuning and thrown-away searches
   included), those of the fits of the arms it is made from, and those it generates for the run's test problems.
3. It spends FLOPs: those of its training, rollouts included, and 2 per parameter and token generated besides, in tuning
   and on the test problems; those of the fits of the arms it is made from. Prompts that are read without training are
   not counted. Null where the parameters are not recorded, or a second model runs along.
4. An arm is compared, on each axis, with the point of the SFT reference's curve whose spending is nearest in ratio.

All are means over an arm's finished seeds. Spending that is none, or not known, is null, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from elicit.comparison.reader import ArmData
from elicit.comparison.spec import Spec
from elicit.comparison.spec.budgets import list_points
from elicit.comparison.summary.budgets import list_needed_arms, sum_fit_tokens
from elicit.comparison.summary.contrasts import compare_paired
from elicit.method import Method, TokenLengths
from elicit.schema import finite_or_none, parent_of

AXES = ("labels", "tokens", "flops")

Entries = Mapping[str, dict[str, Any]]


def add_budget_curves(
    spec: Spec,
    methods: Mapping[str, Method],
    entries: Entries,
    arms: Mapping[str, ArmData],
    scores: Mapping[str, np.ndarray | None],
    problems: int,
) -> dict[str, dict[str, Any]]:
    """Add to every arm what it spent (`budget.spent`) and `vs_sft_at_budget`; return the curves.

    Args:
        entries: arm -> its figures, which are added to in place. Their budgets know what they inherited.
        problems: test problems of the run.

    Returns:
        arm with points -> `points`, their names, and axis -> the curve: points, the arm itself among them, by spending;
            None where no spending is known.
    """
    for arm, figures in entries.items():
        figures["budget"]["spent"] = {
            "labels": _sum_known(figures["budget"]["labels"], figures["budget"]["inherited_labels"]),
            "tokens": _sum_tokens(figures["budget"], problems),
            "flops": _sum_flops(arm, methods, arms, figures["budget"]["answer_tokens"], problems),
        }
    points = {arm: names for arm, names in list_points(spec.budgets).items() if arm in entries}
    reference = spec.reference_arm
    fine_tuned = [name for name in (reference, *points.get(reference, ())) if entries.get(name, {}).get("n")]
    every_point = {name for names in points.values() for name in names}
    for arm, figures in entries.items():
        traits = methods[arm].traits
        is_control = traits.is_control or traits.control_of is not None or parent_of(arm, entries) is not None
        is_compared = not (traits.untouched or traits.verifier or (is_control and arm not in every_point))
        figures["vs_sft_at_budget"] = {
            axis: _compare_at_budget(arm, axis, fine_tuned, entries, scores, methods[arm])
            if is_compared and arm != reference and arm not in points.get(reference, ())
            else None
            for axis in AXES
        }
    return {
        arm: {"points": list(names), **{axis: _build_curve([arm, *names], axis, entries) for axis in AXES}}
        for arm, names in points.items()
    }


def _build_curve(names: Sequence[str], axis: str, entries: Entries) -> list[dict[str, Any]] | None:
    curve = [
        {"arm": name, "spent": spent, **{key: entries[name][key] for key in ("accuracy", "ci", "n")}}
        for name in names
        if name in entries and (spent := entries[name]["budget"]["spent"][axis]) is not None and entries[name]["n"]
    ]
    return sorted(curve, key=lambda point: point["spent"]) or None


def _compare_at_budget(
    arm: str,
    axis: str,
    fine_tuned: Sequence[str],
    entries: Entries,
    scores: Mapping[str, np.ndarray | None],
    method: Method,
) -> dict[str, Any] | None:
    """Compare an arm with the fine-tuned arm nearest in spending. `ratio` is the arm's spending over that arm's."""
    spent = {name: entries[name]["budget"]["spent"][axis] for name in (arm, *fine_tuned)}
    ratios = {name: spent[arm] / spent[name] for name in fine_tuned if spent[name] and spent[arm]}
    if not ratios:
        return None
    nearest = min(ratios, key=lambda name: (abs(math.log(ratios[name])), spent[name]))
    difference = compare_paired(scores[arm], scores[nearest], method, reference_trained=True)
    if difference is None:
        return None
    return {"arm": nearest, "spent": spent[arm], "arm_spent": spent[nearest], "ratio": ratios[nearest], **difference}


def _sum_tokens(budget: Mapping[str, Any], problems: int) -> float | None:
    answers = budget["answer_tokens"]
    if answers is None:
        return None
    return _sum_known(sum_fit_tokens(budget), budget["inherited_tokens"], answers * problems)


def _sum_flops(
    arm: str, methods: Mapping[str, Method], arms: Mapping[str, ArmData], answer_tokens: float | None, problems: int
) -> float | None:
    parameters = _count_parameters(arms[arm])
    if answer_tokens is None or parameters is None:
        return None
    fits = [_sum_fit_flops(methods[name], arms[name], parameters) for name in (arm, *list_needed_arms(arm, methods))]
    known = [fit for fit in fits if fit is not None]
    return None if len(known) < len(fits) else sum(known) + 2 * parameters * answer_tokens * problems


def _sum_fit_flops(method: Method, data: ArmData, parameters: int) -> float | None:
    """FLOPs of a fit, 0 of one that neither trains nor tunes; None where a part of them is not known."""
    if method.traits.models or method.estimate_cost(TokenLengths(1, 1, 1, 1, 1, 1, 1)).answer.passes != 1:
        return None
    totals = []
    for record in data.records:
        train, tuning = record.get("train") or {}, record.get("tuning") or {}
        trained = finite_or_none(train.get("flops"))
        if trained is None and (train.get("tokens") or train.get("generated_tokens") or method.traits.trained):
            return None
        tokens = (tuning.get("generated_tokens") or 0) - (tuning.get("rollout_tokens") or 0)
        totals.append((trained or 0.0) + (tuning.get("flops") or 0.0) + 2 * parameters * tokens)
    return sum(totals) / len(totals) if totals else None


def _count_parameters(data: ArmData) -> int | None:
    """Parameters of the model, as the arm's finished cells recorded them."""
    counts = [(status.get("model") or {}).get("parameters") for status in data.finished]
    return next((count for count in counts if count), None)


def _sum_known(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
