"""Estimates against the truth, on a model small enough that every completion can be listed with its probability."""

from __future__ import annotations

import itertools
import math
from contextlib import nullcontext
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats

from elicit import seeds, statistics
from elicit.evaluation import evaluate_policy, measure_side_effects, sample
from elicit.policy import Policy
from elicit.sampling import Decoding, Scored, measure_divergences
from elicit.schema import Row
from elicit.statistics.paired import MCNEMAR, mcnemar_p_value
from elicit.weights import FullWeights
from tests.support.enumerable import LENGTH, LastLetter, accuracy_of, enumerable_model, everything, next_token

TASK = LastLetter()
BASE = enumerable_model(0)


def shifted(amount: float = 0.3) -> Policy:
    """The base with other weights in its head: an arm whose distribution differs everywhere."""
    weight = BASE.hf.lm_head.weight.detach()
    noise = amount * torch.from_numpy(seeds.make_generator("shifted").normal(size=tuple(weight.shape))).float()
    return Policy(BASE, Decoding(max_new_tokens=LENGTH), weights=FullWeights({"lm_head.weight": weight + noise}))


def plain() -> Policy:
    return Policy(BASE, Decoding(max_new_tokens=LENGTH))


def drawn(policy: Policy, prompts: list[str], n: int, seed: int = 0) -> dict[str, list[Row]]:
    rows: list[Row] = []
    problems = [TASK.problem(prompt) for prompt in prompts]
    sample(policy, TASK, problems, label="last_letter", seed=seed, n=n, sink=rows.extend)
    return {p.prompt: [row for row in rows if row.problem == p.id] for p in problems}


def test_the_listing_is_complete_and_the_scorer_agrees() -> None:
    """All 121 completions, probabilities that sum to one, and the lab's own teacher-forced log-probabilities."""
    for policy in (plain(), shifted()):
        with policy.apply():
            wholes = everything(BASE, "ab")
        assert len(wholes) == len({whole.tokens for whole in wholes}) == 1 + 3 + 9 + 27 + 81
        assert math.fsum(math.exp(whole.logprob) for whole in wholes) == pytest.approx(1, abs=1e-12)
        cut = [whole for whole in wholes if not whole.finished]
        scored = policy.score(["ab"] * len(cut), [whole.text for whole in cut])
        for whole, mine in zip(cut, scored, strict=True):
            assert mine == pytest.approx(whole.steps, abs=1e-5)


def test_the_sampler_draws_from_the_listed_distribution() -> None:
    n = 4096
    wholes = everything(BASE, "ab")
    rows = drawn(plain(), ["ab"], n)["ab"]
    expected = {}
    for whole in wholes:  # a row knows text and whether it ended
        expected[whole.text, whole.finished] = expected.get((whole.text, whole.finished), 0.0) + math.exp(whole.logprob)
    counts = dict.fromkeys(expected, 0)
    for row in rows:
        counts[row.completion, row.finished] += 1
    common = [key for key, p in expected.items() if n * p >= 5]
    observed = [counts[key] for key in common]
    p = [expected[key] for key in common]
    rest = n - sum(observed), 1 - sum(p)
    test = stats.chisquare([*observed, rest[0]], [n * share for share in (*p, rest[1])])
    assert test.pvalue > 1e-4
    assert len(common) > 15


@pytest.mark.parametrize("policy", [plain(), shifted()], ids=["base", "arm"])
def test_pass_at_k_is_one_minus_the_chance_to_miss_k_times(policy: Policy) -> None:
    prompts, n = ["a", "b", "ab", "cab"], 512
    with policy.apply():
        p = np.array([accuracy_of(BASE, TASK, TASK.problem(prompt)) for prompt in prompts])
    assert (p > 0).all()
    rows = drawn(policy, prompts, n)
    correct = np.array([[row.correct for row in rows[prompt]] for prompt in prompts])
    curve = statistics.pass_at_k_curve(correct, [1, 2, 4, 8, 16])
    for k, found in curve.items():
        exact = 1 - (1 - p) ** k
        # The estimator's standard error is at most that of its average over n // k disjoint groups of k samples.
        error = math.sqrt(float((exact * (1 - exact)).sum()) / (n // k)) / len(prompts)
        assert found.value == pytest.approx(float(exact.mean()), abs=4.5 * error)


def test_pass_at_k_is_unbiased_exactly() -> None:
    """Over every possible outcome of n samples, weighted by its probability: no sampling error at all."""
    p = accuracy_of(BASE, TASK, TASK.problem("ab"))
    for n, k in ((3, 1), (3, 2), (5, 3), (6, 6)):
        mean = math.fsum(
            math.prod(p if right else 1 - p for right in outcome) * statistics.pass_at_k(n, sum(outcome), k)
            for outcome in itertools.product([True, False], repeat=n)
        )
        assert mean == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_majority_at_k_is_the_vote_over_all_ways_to_draw_k() -> None:
    """The chance that a vote of 3 is right, from all triples of answers, against the estimate from many samples."""
    prompts, n = ["a", "ab", "cab"], 1024
    rows = drawn(plain(), prompts, n)
    answers = [[row.answer for row in rows[prompt]] for prompt in prompts]
    correct = np.array([[row.correct for row in rows[prompt]] for prompt in prompts])
    for k in (1, 3):
        exact = [_vote_is_right(prompt, k) for prompt in prompts]
        found = statistics.majority_scores(answers, correct, k, seed=0, subsets=4096)
        error = np.sqrt([q * (1 - q) * (1 / (n // k) + 1 / 4096) for q in exact])
        assert (np.abs(found - exact) < 4.5 * error).all()


def _vote_is_right(prompt: str, k: int) -> float:
    problem = TASK.problem(prompt)
    chances: dict[str | None, float] = {}
    for whole in everything(BASE, prompt):
        answer = TASK.verify(problem, whole.text).answer
        chances[answer] = chances.get(answer, 0.0) + math.exp(whole.logprob)
    return math.fsum(
        math.prod(chances[answer] for answer in votes)
        for votes in itertools.product(chances, repeat=k)
        if statistics.majority_vote(votes) == problem.answer
    )


def test_kl_along_paths_is_the_sum_over_the_vocabulary_both_ways() -> None:
    arm = shifted()
    paths = [Scored(BASE.encode("ab"), (4, 5, 6)), Scored(BASE.encode("c"), (6, 2))]
    found = measure_divergences(BASE.engine, paths, nullcontext, arm.apply)
    for path, divergence in zip(paths, found, strict=True):
        forward, backward = [], []
        for i in range(len(path.completion)):
            ids = [*path.prompt, *path.completion[:i]]
            p = np.array(next_token(BASE, ids))
            with arm.apply():
                q = np.array(next_token(BASE, ids))
            p, q = p[np.isfinite(p)], q[np.isfinite(q)]
            assert len(p) == len(q) == 4  # three letters and the end
            forward.append(float((np.exp(p) * (p - q)).sum()))
            backward.append(float((np.exp(q) * (q - p)).sum()))
        assert divergence.base_arm == pytest.approx(np.mean(forward), rel=1e-4)
        assert divergence.arm_base == pytest.approx(np.mean(backward), rel=1e-4)
        assert divergence.base_arm != pytest.approx(divergence.arm_base, rel=0.02)  # both ways are not one


def test_per_token_kl_adds_up_to_the_kl_of_whole_completions() -> None:
    """Chain rule: KL between the two distributions over all 121 completions is the expected sum of next-token KLs.

    So a mean of per-token KL along sampled paths measures what it says, and not a mixture of the two ways.
    """
    arm = shifted()
    base_wholes = everything(BASE, "ab")
    with arm.apply():
        arm_wholes = everything(BASE, "ab")
    for left, right, way in ((base_wholes, arm_wholes, "base_arm"), (arm_wholes, base_wholes, "arm_base")):
        exact = math.fsum(math.exp(p.logprob) * (p.logprob - q.logprob) for p, q in zip(left, right, strict=True))
        paths = [Scored(BASE.encode("ab"), whole.tokens) for whole in left]
        along = measure_divergences(BASE.engine, paths, nullcontext, arm.apply)
        summed = math.fsum(
            math.exp(whole.logprob) * getattr(divergence, way) * divergence.tokens
            for whole, divergence in zip(left, along, strict=True)
        )
        assert summed == pytest.approx(exact, rel=1e-4)


def test_side_effects_report_these_divergences_along_the_greedy_answers() -> None:
    arm = shifted()
    problems = TASK.problems("test", 6)
    report = measure_side_effects(arm, problems)["kl"]["task"]
    for way, source in (("base_arm", plain()), ("arm_base", arm)):
        expected = []
        for problem in problems:
            with source.apply():
                path = _greedy(problem.prompt)
            (divergence,) = measure_divergences(
                BASE.engine, [Scored(BASE.encode(problem.prompt), path)], nullcontext, arm.apply
            )
            expected.append(getattr(divergence, way))
        assert report[way]["value"] == pytest.approx(np.mean(expected), rel=1e-5)
        assert report[way]["n"] == len(problems)


def _greedy(prompt: str) -> tuple[int, ...]:
    ids = list(BASE.encode(prompt))
    found: list[int] = []
    while len(found) < LENGTH and found[-1:] != [2]:
        found.append(int(np.argmax(next_token(BASE, [*ids, *found]))))
    return tuple(found)


def test_mcnemar_is_the_share_of_coin_flips_at_least_as_uneven() -> None:
    """Two runs on all 39 prompts, and every way in which their discordant problems could have fallen."""
    problems = TASK.problems("test")
    right = []
    for policy, seed in ((plain(), 0), (shifted(1.0), 1)):
        hot = Policy(BASE, Decoding(temperature=1.0, max_new_tokens=LENGTH), weights=policy.weights)
        rows: list[Row] = []
        evaluate_policy(hot, TASK, problems, label="last_letter", seed=seed, sink=rows.extend)
        right.append(np.array([[float(row.correct) for row in rows]]))
    found = statistics.estimate_difference(right[1], right[0])
    gained = int(((right[1] == 1) & (right[0] == 0)).sum())
    lost = int(((right[1] == 0) & (right[0] == 1)).sum())
    assert gained + lost >= 6
    assert found.test == MCNEMAR
    assert found.value == pytest.approx((gained - lost) / 39)
    assert found.p == pytest.approx(_every_flip(gained, lost), abs=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (3, 3), (7, 2), (0, 9), (6, 8)])
def test_mcnemar_enumerates(gained: int, lost: int) -> None:
    assert mcnemar_p_value(gained, lost) == pytest.approx(_every_flip(gained, lost), abs=1e-12)


def _every_flip(gained: int, lost: int) -> float:
    n = gained + lost
    uneven = sum(abs(2 * sum(flips) - n) >= abs(gained - lost) for flips in itertools.product((0, 1), repeat=n))
    return float(Fraction(uneven, 2**n))
