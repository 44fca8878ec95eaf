"""Majority votes over samples of one problem, and what a vote of k samples is worth."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from elicit.schema import Estimate
from elicit.seeds import make_generator
from elicit.statistics.intervals import estimate_clustered_mean
from elicit.statistics.passk import to_boolean_array


def majority_vote(answers: Sequence[str | None]) -> str | None:
    """The most frequent answer; the first seen wins a tie. None is no vote, and wins only when nobody voted."""
    votes = Counter(answer for answer in answers if answer is not None)
    # A Counter keeps first-seen order and max() keeps the first of equals.
    return max(votes, key=lambda answer: votes[answer]) if votes else None


def estimate_majority_at_k(
    answers: Sequence[Sequence[str | None]],
    correct: Bool[np.ndarray, "problems samples"],
    k: int,
    *,
    seed: int,
    subsets: int = 256,
) -> Estimate:
    """Expected accuracy of the majority of k samples, clustered by problem. See `majority_scores`."""
    return estimate_clustered_mean(
        majority_scores(answers, correct, k, seed=seed, subsets=subsets), trials=np.size(correct)
    )


def majority_scores(
    answers: Sequence[Sequence[str | None]],
    correct: Bool[np.ndarray, "problems samples"],
    k: int,
    *,
    seed: int,
    subsets: int = 256,
) -> Float[np.ndarray, " problems"]:
    """Probability that the majority of k of a problem's samples is right, for every problem.

    The expectation is over subsets of the samples at hand (in their order): all of them when there are at most
    `subsets`, else `subsets` drawn by the identity (seed, k, the problem's answers), so that a problem's figure does
    not depend on its place. `answers` are canonical; `correct` says which samples are right.

    Raises:
        ValueError: if the shapes differ, or k is not within 1 and the number of samples.
    """
    right = to_boolean_array(correct)
    if right.ndim != 2 or len(answers) != len(right) or any(len(row) != right.shape[1] for row in answers):
        raise ValueError(f"answers must match correct's shape {right.shape}")
    samples = right.shape[1]
    if not 1 <= k <= samples:
        raise ValueError(f"need 1 <= k <= {samples} samples, but got k={k}")
    enumerable = math.comb(samples, k) <= subsets
    all_subsets = np.array(list(itertools.combinations(range(samples), k))) if enumerable else None
    scores = np.zeros(len(right))
    for i, row in enumerate(answers):
        if all_subsets is None:
            chosen = _draw_subsets(make_generator("majority_at_k", seed, k, list(row)), samples, k, subsets)
        else:
            chosen = all_subsets
        scores[i] = _majority_is_right(row, right[i], chosen).mean()
    return scores


def _majority_is_right(
    answers: Sequence[str | None], right: Bool[np.ndarray, " samples"], chosen: Int[np.ndarray, "subsets k"]
) -> Bool[np.ndarray, " subsets"]:
    """Judge the majority of each subset: as `majority_vote` on each, but for all of them at once."""
    known = {answer: code for code, answer in enumerate(dict.fromkeys(a for a in answers if a is not None))}
    if not known:
        return np.zeros(len(chosen), dtype=bool)
    codes = np.array([-1 if answer is None else known[answer] for answer in answers])[chosen]
    subset, position = np.nonzero(codes >= 0)
    voted = codes[subset, position]
    counts = np.zeros((len(chosen), len(known)), dtype=np.int64)
    np.add.at(counts, (subset, voted), 1)
    k = chosen.shape[1]
    first = np.full(counts.shape, k)
    np.minimum.at(first, (subset, voted), position)
    winner = (counts * (k + 1) - first).argmax(axis=1)  # most votes, then first seen
    rows = np.arange(len(chosen))
    deciding_position = np.minimum(first[rows, winner], k - 1)  # where nobody voted there is no first
    return np.asarray(right[chosen[rows, deciding_position]] & (counts[rows, winner] > 0))


def _draw_subsets(numbers: np.random.Generator, samples: int, k: int, subsets: int) -> Int[np.ndarray, "subsets k"]:
    uniforms = numbers.random((subsets, samples))
    return np.sort(np.argpartition(uniforms, k - 1, axis=1)[:, :k], axis=1)
