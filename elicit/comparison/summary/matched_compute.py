"""Compute-matched baseline: the base's majority vote at the same number of generated tokens. Imports no torch.

1. An arm generates t tokens per problem; one sample of the base (temperature 1) costs u.
2. The baseline is the majority of k samples of the base, where k is the integer nearest to t / u, and at least 1.
3. Its score on a problem is the probability that such a vote is right, averaged over subsets of the base's samples;
   the difference is paired over the problems that both have.
4. Where the base has fewer than k samples, all of them vote: the baseline is then capped, and too weak.

`rival` counts an arm's answers alone: t is the tokens that it generates per problem, those of rejected and outvoted
samples included. `rival_total` counts the fit too: t is then t + F / n, with n the test problems of the run and F the
tokens of the fit, generated (rollouts, pilot, tuning) and trained on (repeats included), and those of the arms that it
is made from. F stands beside it un-amortised, since over more answers than n it weighs less. Tokens of prompts do not
count, on either side; nor does it that a token trained on costs about three times one generated, in FLOPs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from elicit import statistics
from elicit.comparison.summary.budgets import sum_fit_tokens
from elicit.comparison.summary.contrasts import compare_paired
from elicit.comparison.summary.samples import ArmSamples
from elicit.method import Method


def compare_to_rivals(
    scores: np.ndarray | None,
    order: Sequence[str],
    budget: Mapping[str, Any],
    method: Method,
    base: tuple[str, ArmSamples] | None,
) -> dict[str, Any]:
    """`rival` at the tokens of an arm's answers, `rival_total` with those of its fit spread over the test problems."""
    tokens = budget["answer_tokens"]
    if scores is None or base is None or tokens is None:
        return {"rival": None, "rival_total": None}
    known = [part for part in (sum_fit_tokens(budget), budget["inherited_tokens"]) if part is not None]
    rival = _compare_to_vote(scores, order, tokens, method, *base)
    total = _compare_to_vote(scores, order, tokens + sum(known) / len(order), method, *base) if known else None
    if total is not None:
        total |= {"fit_tokens": sum(known), "answers": len(order)}
    return {"rival": rival, "rival_total": total}


def _compare_to_vote(
    scores: np.ndarray, order: Sequence[str], tokens: float, method: Method, name: str, base: ArmSamples
) -> dict[str, Any] | None:
    problem_index = {problem: i for i, problem in enumerate(order)}
    shared = [problem for problem in base.problems if problem in problem_index]
    arm_scores = scores[:, [problem_index[problem] for problem in shared]]
    arm_scores = arm_scores[~np.isnan(arm_scores).all(axis=1)]
    answered = ~np.isnan(arm_scores).any(axis=0)
    if not (len(arm_scores) and answered.any()):
        return None
    per_vote = float(base.tokens.mean())
    matching = max(1, math.floor(tokens / per_vote + 0.5))
    k = min(matching, base.n)
    votes = base.vote_scores(k)[:, base.problem_indices(shared)]
    return {
        "arm": name,
        "k": k,
        "tokens": k * per_vote,
        "accuracy": statistics.estimate_accuracy(votes[:, answered]).to_json(),
        "difference": compare_paired(arm_scores, votes, method, reference_trained=False),
        "capped": k < matching,
        "note": _describe_rival(k, matching, len(shared), len(order)),
    }


def _describe_rival(k: int, matching: int, shared: int, problems: int) -> str:
    sentences = []
    if k < matching:
        sentences.append(f"Capped: {matching:,} votes would match, but the base has {k} samples a problem.")
    elif k == 1:
        sentences.append("One vote: a single sample at temperature 1, no majority.")
    if shared < problems:
        sentences.append(f"On the {shared} of {problems} problems that the base was sampled on.")
    return " ".join(sentences)
