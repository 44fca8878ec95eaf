"""The figures of one arm by itself, as they stand in `summary.json`. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from elicit import statistics
from elicit.comparison.reader import ArmData
from elicit.comparison.spec import Spec
from elicit.comparison.summary import samples, score_tables
from elicit.comparison.summary.budgets import budget
from elicit.comparison.summary.samples import Drawn
from elicit.comparison.summary.trace_coverage import Seen
from elicit.method import Method
from elicit.schema import Row, number
from elicit.tasks.answers.thoughts import answer_start, has_block


def entry(
    spec: Spec,
    arm: str,
    method: Method,
    data: ArmData,
    scores: np.ndarray | None,
    order: Sequence[str],
    drawn: Drawn | None,
    seen: Seen,
) -> dict[str, Any]:
    """Everything about an arm that needs no other arm. Figures are those of its finished seeds."""
    rows = data.rows[spec.task_label]
    record = data.record

    def rate(value: Callable[[Row], float]) -> dict[str, Any] | None:
        return score_tables.level(score_tables.per_problem(rows, order, value))

    tokens = score_tables.mean(score_tables.per_problem(rows, order, lambda row: float(row.tokens)))
    seconds = [status["seconds"] for status in data.finished if status.get("seconds")]
    return {
        "method": spec.arms[arm]["method"],
        "verifier": method.traits.verifier,
        **_state(data),
        **_accuracy(scores),
        "seeds": len(rows),
        "trace_rate": rate(lambda row: float(row.has_trace)) if seen.form else None,
        "valid_trace_rate": rate(lambda row: float(bool(row.trace_valid))) if seen.steps else None,
        "finished_rate": score_tables.level(score_tables.per_problem(rows, order, lambda row: float(row.finished))),
        "cut_in_thought": _cut_in_thought(data, rows, order),
        "tokens_per_problem": tokens,
        "search": _search(rows, order),
        "firings_per_problem": _mean([float(row.firings) for seed in rows for row in seed if row.sample == 0]),
        "pass_at_k": samples.pass_at_k(drawn, valid_only=False),
        "pass_at_k_valid_trace": samples.pass_at_k(drawn, valid_only=True),
        "majority_at_k": samples.majority_at_k(drawn),
        "kl": mean_kl(data.metrics),
        "neutral_perplexity": _mean([metrics.get("neutral_perplexity") for metrics in data.metrics]),
        "repetition": score_tables.text_mean(rows, order, statistics.repetition),
        "compressed": score_tables.text_mean(rows, order, statistics.compressed),
        "off_target": {
            task: score_tables.level(score_tables.scores(data.rows[task], score_tables.ids(data.rows[task])))
            for task in spec.off_target
        },
        "train": record.get("train"),
        "tuning": record.get("tuning"),
        "budget": budget(data, None if tokens is None else tokens["value"]),
        "edges": record.get("edges") or None,
        "steering": record.get("steering"),
        "features": record.get("features"),
        "seconds": sum(seconds) if seconds else None,
    }


def _state(data: ArmData) -> dict[str, Any]:
    return {
        "status": data.state,
        "error": next((status["error"] for status in data.statuses if status.get("error")), None),
        "failed_seeds": data.failures,
    }


def _accuracy(scores: np.ndarray | None) -> dict[str, Any]:
    if scores is None:
        return {"n": 0, "accuracy": None, "ci": None, "seed_accuracies": None}
    found = statistics.level(scores)
    return {
        "n": found.n,
        "accuracy": number(found.value),
        "ci": None if found.ci is None else list(found.ci),
        "seed_accuracies": [number(float(row)) for row in np.nanmean(scores, axis=1)],
    }


def _cut_in_thought(data: ArmData, rows: score_tables.Seeds, order: Sequence[str]) -> dict[str, Any] | None:
    """Share of answers that break off inside a block of thinking; None where no answer has one.

    An organism's marks are its own: only models that are known to be asked in English are looked at.
    """
    english = any((status.get("model") or {}).get("dialect", "unknown") is None for status in data.finished)
    if not english or not any(has_block(row.completion) for seed in rows for row in seed if row.sample == 0):
        return None
    return score_tables.level(
        score_tables.per_problem(rows, order, lambda row: float(answer_start(row.completion) is None))
    )


def _search(rows: score_tables.Seeds, order: Sequence[str]) -> dict[str, Any] | None:
    """What a search told of itself (acceptance rate, branches, ...): means over problems; None for other arms."""
    names = sorted({name for seed in rows for row in seed if row.sample == 0 for name in row.notes})

    def of(name: str) -> dict[str, Any] | None:
        return score_tables.mean(score_tables.per_problem(rows, order, lambda row: row.notes.get(name, math.nan)))

    return {name: of(name) for name in names} or None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def mean_kl(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """KL of the arm, averaged over its seeds; the interval is the first seed's when there is one, else over seeds."""
    found = [entry["kl"] for entry in metrics if entry.get("kl")]
    if not found:
        return None
    if len(found) == 1:
        return dict(found[0])
    return {
        text: {
            way: statistics.mean(np.array([kl[text][way]["value"] for kl in found])).to_json()
            for way in ("base_arm", "arm_base")
        }
        for text in ("task", "neutral")
    }
