"""Power sampling: the acceptance ratio by hand, and the chain's exact law on a model small enough to list."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from elicit import sampling
from elicit.answer import Answer
from elicit.comparison.spec import build_model_task
from elicit.errors import ElicitError
from elicit.methods.decoding.power_sampling import (
    ChainState,
    PowerSampling,
    PowerSamplingSearch,
    log_acceptance_ratio,
)
from elicit.model import load
from elicit.report.verdict.caution_facts import UnmixedChain
from elicit.sampling import PLAIN, Decoding
from tests.report.support import arm, estimate, summary
from tests.report.verdict_support import judge_model
from tests.search.support import asks
from tests.support.enumerable import LENGTH, LastLetter, Whole, enumerable_model, everything


def test_the_acceptance_ratio_by_hand():
    """Two completions of different lengths that part after one token: every factor is written out."""
    short = ChainState((4, 2), (math.log(0.5), math.log(0.4)), (math.log(0.5), math.log(0.7)))
    long = ChainState(
        (4, 5, 2), (math.log(0.5), math.log(0.3), math.log(0.8)), (math.log(0.5), math.log(0.2), math.log(0.9))
    )
    forth = ((0.3 * 0.8) ** 4 * 0.7 / 3) / (0.4**4 * (0.2 * 0.9) / 2)
    assert math.exp(log_acceptance_ratio(short, long, 1, 4.0)) == pytest.approx(forth)
    assert math.exp(log_acceptance_ratio(long, short, 1, 4.0)) == pytest.approx(1 / forth)
    whole = ((0.5 * 0.3 * 0.8) ** 2 * (0.5 * 0.7) / 3) / ((0.5 * 0.4) ** 2 * (0.5 * 0.2 * 0.9) / 2)
    assert math.exp(log_acceptance_ratio(short, long, 0, 2.0)) == pytest.approx(whole)


def kernel(now: list[Whole], proposals: list[Whole], alpha: float, ratio=log_acceptance_ratio) -> np.ndarray:
    """Transition probabilities of one move between all completions, from the lists alone."""
    states = [ChainState(w.tokens, w.steps, q.steps, w.text, w.finished) for w, q in zip(now, proposals, strict=True)]
    moves = np.zeros((len(states), len(states)))
    for i, x in enumerate(states):
        for kept in range(len(x.tokens)):
            for j, y in enumerate(states):
                if y.tokens[:kept] == x.tokens[:kept] and len(y.tokens) > kept:
                    chance = math.exp(math.fsum(y.logq[kept:])) / len(x.tokens)
                    moves[i, j] += chance * min(1.0, math.exp(ratio(x, y, kept, alpha)))
        moves[i, i] += 1 - moves[i].sum()
    return moves


def target(now: list[Whole], alpha: float) -> np.ndarray:
    weights = np.exp([alpha * w.logprob for w in now])
    return weights / weights.sum()


@pytest.mark.parametrize(("alpha", "temperature"), [(4.0, 0.25), (2.0, 1.0)])
def test_p_to_the_alpha_is_stationary_and_a_ratio_without_the_place_is_not(alpha, temperature):
    model = enumerable_model()
    now = everything(model, "ab", length=3)
    moves = kernel(now, everything(model, "ab", length=3, temperature=temperature), alpha)
    goal = target(now, alpha)
    flow = goal[:, None] * moves
    assert np.abs(flow - flow.T).max() < 1e-12, "detailed balance"
    assert np.abs(goal @ moves - goal).sum() < 1e-12

    def without_place(x, y, kept, a):
        return log_acceptance_ratio(x, y, kept, a) - math.log(len(x.tokens)) + math.log(len(y.tokens))

    wrong = kernel(now, everything(model, "ab", length=3, temperature=temperature), alpha, without_place)
    assert np.abs(goal @ wrong - goal).sum() > 1e-4, "the test must see the fault it is there for"


def exact_law(model, prompt: str, search: PowerSamplingSearch, temperature: float) -> dict[tuple[int, ...], float]:
    """The law of the chain's last state: growth and moves of every block as matrices over all completions."""
    limits = [*range(search.block, LENGTH, search.block), LENGTH]
    law: dict[tuple[int, ...], float] = {(): 1.0}
    for limit in limits:
        now = everything(model, prompt, length=limit)
        proposals = everything(model, prompt, length=limit, temperature=temperature)
        start = np.zeros(len(now))
        for i, (w, q) in enumerate(zip(now, proposals, strict=True)):
            for size in range(len(w.tokens) + 1):
                before = law.get(w.tokens[:size], 0.0)
                grown = size < len(w.tokens)
                if before and (not grown or model.tokenizer.eos_token_id not in w.tokens[:size]):
                    complete = w.finished or len(w.tokens) == limit
                    start[i] += before * math.exp(math.fsum(q.steps[size:])) if complete else 0.0
        assert start.sum() == pytest.approx(1.0)
        after = start @ np.linalg.matrix_power(kernel(now, proposals, search.alpha), search.steps)
        law = {w.tokens: float(p) for w, p in zip(now, after, strict=True)}
    return law


@pytest.mark.parametrize("options", [{"alpha": 4.0, "steps": 3}, {"alpha": 2.0, "steps": 2, "temperature": 1.0}])
def test_the_chain_follows_its_exact_law(options):
    """3,000 chains on a vocabulary of 4 and completions of at most 4 tokens; chi-squared with a fixed seed."""
    from scipy import stats

    model = enumerable_model()
    search = PowerSamplingSearch(block=2, **options)
    chains = 3000
    found = search.run(model, asks(model, ["ab"] * chains), Decoding(max_new_tokens=LENGTH), LastLetter(), PLAIN)
    law = exact_law(model, "ab", search, search.temperature or 1 / search.alpha)
    counts = Counter(one.ids for one in found)
    assert set(counts) <= set(law)
    expected = np.array([p * chains for p in law.values()])
    seen = np.array([counts[tokens] for tokens in law])
    common = expected >= 5
    assert common.sum() > 5, "one completion has all the probability: nothing to compare"
    expected, seen = (np.append(x[common], x[~common].sum()) for x in (expected, seen))
    assert stats.chisquare(seen, expected * chains / expected.sum()).pvalue > 1e-3


def test_the_law_tends_to_p_to_the_alpha():
    """Total variation from p^alpha after ever more moves: nothing else is approached. (At a proposal temperature of
    1/alpha this chain takes thousands of moves: the paper's proposals hardly ever try what p^alpha has in store.)
    """
    model = enumerable_model()
    now = everything(model, "ab", length=LENGTH)
    goal = target(now, 4.0)
    far = []
    for steps in (1, 10, 300):
        law = exact_law(model, "ab", PowerSamplingSearch(block=2, steps=steps), 1.0)
        far.append(np.abs(np.array([law[w.tokens] for w in now]) - goal).sum() / 2)
    assert far[0] > far[1] > far[2]
    assert far[2] < 1e-6


def test_every_proposal_is_paid_for_and_told(monkeypatch):
    """Tokens, acceptance and the share of moves that changed the text, against a count of what the sampler drew."""
    model = enumerable_model()
    drawn: list[list[int]] = []
    real = sampling.generate

    def counting(engine, requests, *rest, **more):
        out = real(engine, requests, *rest, **more)
        drawn.append([len(one.tokens) for (one,) in out])
        return out

    monkeypatch.setattr(sampling, "generate", counting)
    questions = asks(model, ["ab", "ca"])
    found = PowerSamplingSearch(block=2, steps=5).run(model, questions, Decoding(max_new_tokens=4), LastLetter(), PLAIN)
    assert len(drawn) == 2 + 2 * 5
    assert sum(one.tokens for one in found) == sum(map(sum, drawn))
    assert all(0 < one.notes["changed"] <= one.notes["acceptance"] <= 1 for one in found)
    stopped = PowerSamplingSearch(block=2, steps=5, until_ended=True)
    shorter = stopped.run(model, asks(model, ["ab"] * 20), Decoding(max_new_tokens=4), LastLetter(), PLAIN)
    longer = PowerSamplingSearch(block=2, steps=5).run(
        model, asks(model, ["ab"] * 20), Decoding(max_new_tokens=4), LastLetter(), PLAIN
    )
    assert sum(one.tokens for one in shorter) < sum(one.tokens for one in longer)


def test_bad_input_is_said_in_one_line():
    model = enumerable_model()
    for bad, message in [
        ({"alpha": 0}, "alpha is 0; expected a number above 0"),
        ({"steps": 0}, "steps is 0; expected a number above 0"),
        ({"block": 0}, "block is 0; expected a number above 0"),
        ({"temperature": 0}, "temperature is 0; expected a number above 0"),
    ]:
        with pytest.raises(ElicitError, match=message):
            PowerSamplingSearch(**bad)
    with pytest.raises(ElicitError, match="top_k, top_p and min_p keep the chain from p\\^alpha"):
        PowerSamplingSearch().run(model, asks(model, ["ab"]), Decoding(1.0, top_p=0.9), LastLetter(), PLAIN)


def test_chains_that_never_leave_their_opening_are_told_from_those_that_do() -> None:
    """On `cued` the trace opens with a token of 2.6 %: at 1/alpha it is never proposed, at temperature 1 it is."""
    model = load("cued")
    task = build_model_task(model, {"task": "addition"}, where="test")
    problems = task.problems("test", 6)

    def answer(temperature: float | None) -> list[Answer]:
        policy = PowerSampling(steps=5, temperature=temperature).fit(model, task, seed=0, needs={})
        return policy.answer(problems, task, label="addition", seed=0)

    stuck, broad = answer(None), answer(1.0)
    assert [found.notes["one_opening"] for found in stuck] == [1.0] * 6
    assert all(0.96 < found.notes["opening_mass"] < 0.98 for found in stuck)
    assert sum(found.notes["acceptance"] for found in stuck) / 6 > 0.9
    left = [found for found in broad if found.notes["one_opening"] == 0.0]
    assert left
    assert all(found.notes["opening_mass"] > 0.98 for found in left)


_STUCK = {"acceptance": 0.98, "one_opening": 1.0, "opening_mass": 0.974}


@pytest.mark.parametrize("search", [_STUCK, {"acceptance": 0.7}, {**_STUCK, "opening_mass": 1.0}])
def test_the_report_says_where_a_chain_does_not_mix(search: dict[str, float]) -> None:
    figures = {name: estimate(value) for name, value in search.items()}
    verdict = judge_model(summary(power=arm(0.06, method="power_sampling", search=figures)))
    cautions = [caution for caution in verdict.cautions if isinstance(caution, UnmixedChain)]
    assert len(cautions) == (search.get("opening_mass") == 0.974)
