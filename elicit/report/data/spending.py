"""All that an arm spent, from the budgets of a summary: labels and tokens, those of the arms behind it included."""

from __future__ import annotations

from typing import NamedTuple

from elicit.report.data.summary_view import Arm, ModelPanel, get_nested, read_finite_number


class Spending(NamedTuple):
    """Means over an arm's seeds; None where nothing of the kind was spent, or it is not known."""

    labels: float | None
    """Problems whose right answer was read, in training and in tuning."""
    tokens: float | None
    """Trained on and generated, in the fit and in the answers to the run's test problems."""


def read_spending(panel: ModelPanel, arm: Arm) -> Spending:
    """What an arm spent in this run."""

    def add(*keys: str) -> float | None:
        parts = [read_finite_number(get_nested(arm.data, "budget", key)) for key in keys]
        known = [part for part in parts if part is not None]
        return sum(known) if known else None

    fit, answer = add("train_tokens", "fit_generated_tokens", "inherited_tokens"), add("answer_tokens")
    return Spending(add("labels", "inherited_labels"), None if answer is None else (fit or 0.0) + answer * panel.n)


def divide_spending(spent: float | None, reference: float | None) -> float | None:
    """The ratio of two spendings; None unless both are above 0."""
    return spent / reference if spent and reference else None
