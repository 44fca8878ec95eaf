"""Figures of one arm by itself in `summary.json`. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from elicit import statistics
from elicit.comparison.reader import ArmData
from elicit.comparison.spec import Spec
from elicit.comparison.summary import samples, score_tables
from elicit.comparison.summary.budgets import compute_budget
from elicit.comparison.summary.samples import ArmSamples
from elicit.comparison.summary.trace_coverage import TraceCoverage
from elicit.method import Method, Traits
from elicit.methods.catalog import get_built_in_traits
from elicit.methods.outside import dump_traits, shorten_reference
from elicit.schema import Row, finite_or_none
from elicit.tasks.answers.thoughts import answer_start, has_block


def summarise_arm(
    spec: Spec,
    arm: str,
    method: Method,
    data: ArmData,
    scores: np.ndarray | None,
    order: Sequence[str],
    arm_samples: ArmSamples | None,
    coverage: TraceCoverage,
) -> dict[str, Any]:
    """Summarise one arm without reference to others. Figures are those of its finished seeds."""
    rows = data.rows[spec.task_label]
    record = data.record

    def estimate_rate(value: Callable[[Row], float]) -> dict[str, Any] | None:
        return score_tables.estimate_share(score_tables.tabulate_per_problem(rows, order, value))

    tokens = score_tables.estimate_problem_mean(
        score_tables.tabulate_per_problem(rows, order, lambda row: float(row.tokens))
    )
    seconds = [status["seconds"] for status in data.finished if status.get("seconds")]
    return {
        **_describe_method_of_arm(str(spec.arms[arm]["method"]), method.traits),
        "verifier": method.traits.verifier,
        **_summarise_state(data),
        **_summarise_accuracy(scores),
        "seeds": len(rows),
        "trace_rate": estimate_rate(lambda row: float(row.has_trace)) if coverage.form else None,
        "valid_trace_rate": estimate_rate(lambda row: float(bool(row.trace_valid))) if coverage.steps else None,
        "finished_rate": score_tables.estimate_share(
            score_tables.tabulate_per_problem(rows, order, lambda row: float(row.finished))
        ),
        "cut_in_thought": _rate_cut_in_thought(data, rows, order),
        "tokens_per_problem": tokens,
        "search": _summarise_search_notes(rows, order),
        "firings_per_problem": _mean_of_known([float(row.firings) for seed in rows for row in seed if row.sample == 0]),
        "pass_at_k": samples.summarise_pass_at_k(arm_samples, valid_only=False),
        "pass_at_k_valid_trace": samples.summarise_pass_at_k(arm_samples, valid_only=True),
        "majority_at_k": samples.summarise_majority_at_k(arm_samples),
        "kl": mean_kl(data.metrics),
        "neutral_perplexity": _mean_of_known([metrics.get("neutral_perplexity") for metrics in data.metrics]),
        "repetition": score_tables.estimate_text_mean(rows, order, statistics.repetition_rate),
        "compressed": score_tables.estimate_text_mean(rows, order, statistics.compression_ratio),
        "off_target": {
            task: score_tables.estimate_share(
                score_tables.tabulate_scores(data.rows[task], score_tables.list_problem_ids(data.rows[task]))
            )
            for task in spec.off_target
        },
        "train": record.get("train"),
        "tuning": record.get("tuning"),
        "budget": compute_budget(data, None if tokens is None else tokens["value"]),
        "rank": record.get("rank"),
        "tied": record.get("tied"),
        "edges": record.get("edges") or None,
        "steering": record.get("steering"),
        "directions": record.get("directions"),
        "features": record.get("features"),
        "seconds": sum(seconds) if seconds else None,
    }


#: Traits that a report reads.
_REPORTED = (
    *("family", "provides", "untouched", "is_control", "control_of", "label", "changes"),
    *("baseline_conclusion", "substitute", "evidence", "removal"),
)


def _describe_method_of_arm(name: str, traits: Traits) -> dict[str, Any]:
    """The method's name, and its traits where the name alone does not tell them: from outside, or by an option."""
    built_in = get_built_in_traits(name)
    if built_in is not None and all(getattr(traits, field) == getattr(built_in, field) for field in _REPORTED):
        return {"method": name}
    return {"method": shorten_reference(name), "traits": dump_traits(traits)}


def _summarise_state(data: ArmData) -> dict[str, Any]:
    return {
        "status": data.state,
        "error": next((status["error"] for status in data.statuses if status.get("error")), None),
        "failed_seeds": data.failures,
    }


def _summarise_accuracy(scores: np.ndarray | None) -> dict[str, Any]:
    if scores is None:
        return {"n": 0, "accuracy": None, "ci": None, "seed_accuracies": None}
    estimate = statistics.estimate_accuracy(scores)
    return {
        "n": estimate.n,
        "accuracy": finite_or_none(estimate.value),
        "ci": None if estimate.ci is None else list(estimate.ci),
        "seed_accuracies": [finite_or_none(float(row)) for row in np.nanmean(scores, axis=1)],
    }


def _rate_cut_in_thought(data: ArmData, rows: score_tables.Seeds, order: Sequence[str]) -> dict[str, Any] | None:
    """Share of answers cut off inside a thinking block; None where no answer has one.

    Only for models that are prompted in English: organisms have other marks.
    """
    english = any((status.get("model") or {}).get("dialect", "unknown") is None for status in data.finished)
    if not english or not any(has_block(row.completion) for seed in rows for row in seed if row.sample == 0):
        return None
    return score_tables.estimate_share(
        score_tables.tabulate_per_problem(rows, order, lambda row: float(answer_start(row.completion) is None))
    )


def _summarise_search_notes(rows: score_tables.Seeds, order: Sequence[str]) -> dict[str, Any] | None:
    """Statistics reported by a search (acceptance rate, branches, ...): means over problems; None for other arms."""
    names = sorted({name for seed in rows for row in seed if row.sample == 0 for name in row.notes})

    def mean_note(name: str) -> dict[str, Any] | None:
        return score_tables.estimate_problem_mean(
            score_tables.tabulate_per_problem(rows, order, lambda row: row.notes.get(name, math.nan))
        )

    return {name: mean_note(name) for name in names} or None


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def mean_kl(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """KL of the arm, averaged over its seeds; the interval is over seeds, or the seed's own if there is only one."""
    kl_estimates = [entry["kl"] for entry in metrics if entry.get("kl")]
    if not kl_estimates:
        return None
    if len(kl_estimates) == 1:
        return dict(kl_estimates[0])
    return {
        text: {
            way: statistics.estimate_mean(np.array([kl[text][way]["value"] for kl in kl_estimates])).to_json()
            for way in ("base_arm", "arm_base")
        }
        for text in ("task", "neutral")
    }
