"""The compute-matched rival of an arm: the base's majority vote at the same number of generated tokens. No torch.

1. An arm generates t tokens per problem; one sample of the base (temperature 1) costs u.
2. The rival is the majority of k samples of the base, k being the whole number nearest to t / u, and at least 1.
3. Its score on a problem is the probability that such a vote is right, an average over subsets of the base's samples;
   the difference is paired over the problems that both have.
4. Where the base has fewer than k samples, all of them vote: the rival is then capped, and too weak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from elicit import statistics
from elicit.comparison.summary.budgets import fit_tokens
from elicit.comparison.summary.contrasts import against
from elicit.comparison.summary.samples import Drawn
from elicit.method import Method


def rivals(
    scores: np.ndarray | None,
    order: Sequence[str],
    budget: Mapping[str, Any],
    method: Method,
    base: tuple[str, Drawn] | None,
) -> dict[str, Any]:
    """`rival` at the arm's answer tokens, and `rival_total` with its fit's tokens spread over the test problems."""
    tokens = budget["answer_tokens"]
    if scores is None or base is None or tokens is None:
        return {"rival": None, "rival_total": None}
    known = [part for part in (fit_tokens(budget), budget["inherited_tokens"]) if part is not None]
    total = tokens + sum(known) / len(order) if known else None
    return {
        "rival": _rival(scores, order, tokens, method, *base),
        "rival_total": None if total is None else _rival(scores, order, total, method, *base),
    }


def _rival(
    scores: np.ndarray, order: Sequence[str], tokens: float, method: Method, name: str, base: Drawn
) -> dict[str, Any] | None:
    place = {problem: i for i, problem in enumerate(order)}
    shared = [problem for problem in base.problems if problem in place]
    mine = scores[:, [place[problem] for problem in shared]]
    mine = mine[~np.isnan(mine).all(axis=1)]
    answered = ~np.isnan(mine).any(axis=0)
    if not (len(mine) and answered.any()):
        return None
    per_vote = float(base.tokens.mean())
    matching = max(1, math.floor(tokens / per_vote + 0.5))
    k = min(matching, base.n)
    votes = base.votes(k)[:, base.among(shared)]
    return {
        "arm": name,
        "k": k,
        "tokens": k * per_vote,
        "accuracy": statistics.level(votes[:, answered]).to_json(),
        "difference": against(mine, votes, method, reference_trained=False),
        "capped": k < matching,
        "note": _note(k, matching, len(shared), len(order)),
    }


def _note(k: int, matching: int, shared: int, problems: int) -> str:
    said = []
    if k < matching:
        said.append(f"Capped: {matching:,} votes would match, but the base has {k} samples a problem.")
    elif k == 1:
        said.append("One vote: a single sample at temperature 1, no majority.")
    if shared < problems:
        said.append(f"On the {shared} of {problems} problems that the base was sampled on.")
    return " ".join(said)
