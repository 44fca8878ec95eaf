"""Costs of an arm: training, rollouts, tuning and answers, in tokens, labels and seconds. Imports no torch.

Every figure is a mean over the arm's finished seeds; a cost that does not apply is null, never 0. `seconds` is a cell's
whole time (fitting, answers, samples, other tasks, side effects, checkpoints), `fit_seconds` that of fitting alone.
Trained and generated tokens count the same; `train_flops` is the cost of training. What a search over settings
trained and threw away is counted too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elicit.comparison.reader import ArmData
from elicit.method import Method
from elicit.schema import finite_or_none


def compute_budget(data: ArmData, answer_tokens: float | None) -> dict[str, Any]:
    """Compute the cost of one arm by itself.

    Args:
        answer_tokens: generated tokens per test problem, rejected and outvoted ones included.
    """
    records = data.records

    def collect_costs(part: str, key: str) -> list[float | None]:
        return [finite_or_none((record.get(part) or {}).get(key)) for record in records]

    return {
        "train_tokens": _mean_cost(_sum_by_seed(collect_costs("train", "tokens"), collect_costs("tuning", "tokens"))),
        "train_flops": _mean_cost(_sum_by_seed(collect_costs("train", "flops"), collect_costs("tuning", "flops"))),
        "fit_generated_tokens": _mean_cost(
            _sum_by_seed(collect_costs("train", "generated_tokens"), collect_costs("tuning", "generated_tokens"))
        ),
        "labels": _mean_cost(_sum_by_seed(collect_costs("train", "labels"), collect_costs("tuning", "labels"))),
        "teacher_tokens": _mean_cost(collect_costs("train", "teacher_tokens")),
        "inherited_tokens": None,
        "inherited_labels": None,
        "fit_seconds": _mean_cost([status.get("fit_seconds") for status in data.finished]),
        "seconds": _mean_cost([status.get("seconds") for status in data.finished]),
        "answer_tokens": answer_tokens,
    }


def sum_fit_tokens(entry: Mapping[str, Any]) -> float | None:
    """Sum the trained and generated tokens of a fit, from its budget entry; None if it had none."""
    parts = [entry[key] for key in ("train_tokens", "fit_generated_tokens") if entry[key] is not None]
    return sum(parts) if any(parts) else None


def sum_inherited_costs(
    arm: str, methods: Mapping[str, Method], budgets: Mapping[str, Mapping[str, Any]]
) -> dict[str, float | None]:
    """Sum fit tokens and labels of all arms that this one needs, directly or through others; None if none."""
    ancestors = list_needed_arms(arm, methods)
    return {
        "inherited_tokens": _sum_known([sum_fit_tokens(budgets[needed]) for needed in ancestors]),
        "inherited_labels": _sum_known([budgets[needed]["labels"] for needed in ancestors]),
    }


def list_needed_arms(arm: str, methods: Mapping[str, Method]) -> list[str]:
    """List the arms that one needs, directly or through others."""
    ancestors: dict[str, None] = {}
    pending = list(methods[arm].needs)
    while pending:
        needed = pending.pop()
        if needed not in ancestors:
            ancestors[needed] = None
            pending += methods[needed].needs
    return list(ancestors)


def _sum_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _sum_by_seed(*parts: Sequence[float | None]) -> list[float | None]:
    """Sum parts for each seed; None only where all parts are unknown."""
    totals: list[float | None] = []
    for values in zip(*parts, strict=True):
        known = [value for value in values if value is not None]
        totals.append(sum(known) if known else None)
    return totals


def _mean_cost(values: Sequence[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None
