"""What an arm costs: training, rollouts, tuning and answers, in tokens, labels and seconds. Imports no torch.

Every figure is a mean over the arm's finished seeds; what an arm has no part in is null, never 0. `seconds` is a cell's
whole time (fitting, answers, samples, other tasks, side effects, checkpoints), `fit_seconds` that of fitting alone.
Tokens count the same whether they are trained on or generated; `train_flops` tells what training took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elicit.comparison.reader import ArmData
from elicit.method import Method
from elicit.schema import number


def budget(data: ArmData, answer_tokens: float | None) -> dict[str, Any]:
    """The cost of one arm by itself.

    Args:
        answer_tokens: generated tokens per test problem, rejected and outvoted ones included.
    """
    records = data.records

    def spent(part: str, key: str) -> list[float | None]:
        return [number((record.get(part) or {}).get(key)) for record in records]

    return {
        "train_tokens": _mean(spent("train", "tokens")),
        "train_flops": _mean(spent("train", "flops")),
        "fit_generated_tokens": _mean(_sum(spent("train", "generated_tokens"), spent("tuning", "generated_tokens"))),
        "labels": _mean(_sum(spent("train", "labels"), spent("tuning", "labels"))),
        "teacher_tokens": _mean(spent("train", "teacher_tokens")),
        "inherited_tokens": None,
        "inherited_labels": None,
        "fit_seconds": _mean([status.get("fit_seconds") for status in data.finished]),
        "seconds": _mean([status.get("seconds") for status in data.finished]),
        "answer_tokens": answer_tokens,
    }


def fit_tokens(entry: Mapping[str, Any]) -> float | None:
    """Training and generated tokens of a fit, given a budget; None if it had none."""
    parts = [entry[key] for key in ("train_tokens", "fit_generated_tokens") if entry[key] is not None]
    return sum(parts) if any(parts) else None


def inherited(
    arm: str, methods: Mapping[str, Method], budgets: Mapping[str, Mapping[str, Any]]
) -> dict[str, float | None]:
    """Fit tokens and labels of all arms that this one was made from (`needs`, and what those need); None for none."""
    behind: dict[str, None] = {}
    pending = list(methods[arm].needs)
    while pending:
        needed = pending.pop()
        if needed not in behind:
            behind[needed] = None
            pending += methods[needed].needs
    return {
        "inherited_tokens": _total([fit_tokens(budgets[needed]) for needed in behind]),
        "inherited_labels": _total([budgets[needed]["labels"] for needed in behind]),
    }


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _sum(*parts: Sequence[float | None]) -> list[float | None]:
    """Seed by seed; None only where no part is known."""
    found: list[float | None] = []
    for values in zip(*parts, strict=True):
        known = [value for value in values if value is not None]
        found.append(sum(known) if known else None)
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None
