"""Exact lower bounds of pass@k, from the probability that an arm writes a problem's worked solution. No torch.

An arm's cell has log p of the worked solution of every sampled problem (`evaluation.worked_traces`). k independent
samples hold it with probability 1 - (1 - p)^k, whatever was drawn: so a problem that the base did not solve in K
samples need not be one that it cannot solve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from elicit import statistics
from elicit.comparison.reader import ArmData
from elicit.comparison.summary.samples import KS


def average_trace_probabilities(data: ArmData) -> dict[str, float]:
    """Probability that one sample is the worked solution, by problem: the mean over an arm's seeds.

    Problems without a solution to score are left out; empty for runs from before these were measured.
    """
    tables = [metrics["worked_logprobs"] for metrics in data.metrics if metrics.get("worked_logprobs")]
    values: dict[str, list[float]] = {}
    for table in tables:
        for problem, logprob in table.items():
            if logprob is not None:
                values.setdefault(problem, []).append(math.exp(min(0.0, logprob)))
    return {problem: sum(known) / len(known) for problem, known in values.items()}


def summarise_trace_probabilities(probabilities: Mapping[str, float]) -> dict[str, Any] | None:
    """Lower bounds of pass@k for every k of the curves, each with an interval over problems; None without any."""
    if not probabilities:
        return None
    p = np.array(list(probabilities.values()))
    return {str(k): statistics.estimate_mean(probability_within(p, k)).to_json() for k in KS}


def probability_within(p: np.ndarray, draws: int) -> np.ndarray:
    """1 - (1 - p)^draws, also for tiny p."""
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(draws * np.log1p(-p)))


def settle_expansion(
    expansion: Mapping[str, Any], base: Mapping[str, float], problems: Sequence[str]
) -> dict[str, Any]:
    """What the base's exact probabilities say of the problems that only an arm solved.

    Args:
        expansion: as `compute_expansion` has it.
        base: the base's probability of the worked solution, by problem.
        problems: those on which both were sampled.

    Returns:
        `base_trace_probability`: problem -> p, null where nothing was scored. `expected_draws`: problem -> 1 / p, the
        draws after which the base has written the worked solution on average. `expected_misses`: how many of the scored
        problems the base fails to solve in as many samples as it had, at most, on average over draws.
    """
    known = np.array([base[problem] for problem in problems if problem in base])
    probabilities = {problem: base.get(problem) for problem in expansion["arm_ids"]}
    return {
        "base_trace_probability": probabilities,
        "expected_draws": {problem: 1 / p if p else None for problem, p in probabilities.items()},
        "expected_misses": float((1 - probability_within(known, int(expansion["k"]))).sum()) if known.size else None,
        "scored": int(known.size),
    }
