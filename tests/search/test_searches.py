"""What holds for every search: identity of random numbers, files, price; and what best-of-n is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import elicit
from elicit.comparison.spec import build_task
from elicit.errors import ElicitError
from elicit.methods.catalog import configure_method
from elicit.policy import Policy
from elicit.policy_document import plain_fields
from elicit.sampling import PLAIN, Decoding
from elicit.search import (
    BudgetForcingSearch,
    CotDecodingSearch,
    LikeliestBestOfN,
    MajorityVote,
    PowerSamplingSearch,
    VerifiedBestOfN,
    catalog,
)
from tests.search.support import LastTwo, asks
from tests.support.models import tiny_model

PROMPTS = ["ab", "the cat", "1+2=3 and so on", "x", "a longer prompt, longer than a window of eight", "zz"]
SAMPLED = Decoding(temperature=1.0, max_new_tokens=12)
GREEDY = Decoding(max_new_tokens=12)
SEARCHES = [
    (CotDecodingSearch(4), GREEDY),
    (CotDecodingSearch(4, "aggregate", 0.1), GREEDY),
    (PowerSamplingSearch(2.0, block=4, steps=3), SAMPLED),
    (BudgetForcingSearch("e", "Wait", "=", 3, 8), GREEDY),
    (BudgetForcingSearch("e", "", "=", 3, 8), SAMPLED),
    (MajorityVote(4), SAMPLED),
    (VerifiedBestOfN(4), SAMPLED),
    (LikeliestBestOfN(4), SAMPLED),
]


@pytest.mark.parametrize(("search", "decoding"), SEARCHES, ids=lambda value: getattr(value, "kind", ""))
def test_the_same_answer_in_any_batch_and_order(search, decoding):
    model = tiny_model()
    model.hf.generation_config.eos_token_id = [2, *range(20, 28)]
    questions = asks(model, PROMPTS)
    whole = search.run(model, questions, decoding, LastTwo(), PLAIN)
    backwards = search.run(model, questions[::-1], decoding, LastTwo(), PLAIN)[::-1]
    alone = [search.run(model, [question], decoding, LastTwo(), PLAIN)[0] for question in questions]
    for other in (backwards, alone):
        assert [one._replace(notes={}) for one in other] == [one._replace(notes={}) for one in whole]
        for one, expected in zip(other, whole, strict=True):
            # Sums of probabilities, which the shape of a batch may change in their last bits.
            masses = {"opening_mass"} & expected.notes.keys()
            assert {k: v for k, v in one.notes.items() if k not in masses} == {
                k: v for k, v in expected.notes.items() if k not in masses
            }
            for name in masses:
                assert one.notes[name] == pytest.approx(expected.notes[name], rel=1e-5)
    assert len({one.text for one in whole}) > 1, "one text for every prompt would prove nothing"
    assert all(one.tokens >= len(one.ids) for one in whole)


@pytest.mark.parametrize(("search", "decoding"), SEARCHES, ids=lambda value: getattr(value, "kind", ""))
def test_a_saved_policy_is_the_same_policy(search, decoding, tmp_path):
    model = tiny_model()
    task = elicit.tasks.get("addition")
    problems = task.problems("test", 3)
    policy = Policy(model, decoding, search=search)
    policy.save(tmp_path)
    again = Policy.load(tmp_path, model)
    assert again.search == search
    assert again.sha256 == policy.sha256
    assert again.answer(problems, task, label="t", seed=0) == policy.answer(problems, task, label="t", seed=0)
    assert catalog.load_search({"kind": search.kind, **plain_fields(search.kind, search)}) == search


def test_methods_and_searches_agree_on_who_asks_the_verifier():
    task = elicit.tasks.get("addition")
    model = tiny_model()
    for name, options in [
        ("cot_decoding", {}),
        ("power_sampling", {}),
        ("budget_forcing", {}),
        ("self_consistency", {}),
        ("best_of_n", {}),
        ("best_of_n", {"by": "likelihood"}),
        ("best_of_n", {"by": "majority"}),
    ]:
        method = configure_method(name, options)
        policy = method.fit(model, task, seed=0, needs={})
        assert policy.search.verifier == method.traits.verifier
        assert method.traits.verifier == (name == "best_of_n" and not options)
        assert dataclasses.replace(method).traits == method.traits


def test_best_of_n_by_majority_is_self_consistency():
    task, model = elicit.tasks.get("addition"), tiny_model()
    vote, same = (
        configure_method(name, options).fit(model, task, seed=0, needs={})
        for name, options in [("best_of_n", {"by": "majority", "n": 4}), ("self_consistency", {"n": 4})]
    )
    assert vote.sha256 == same.sha256


def test_best_of_n_against_its_own_samples():
    """By the verifier: right wherever one of the samples is. By likelihood: the highest mean log-probability."""
    model = elicit.load("cued")
    task = build_task({"task": "addition"}, model.card.get("dialect"), where="test")
    problems, n = task.problems("test", 40), 8
    decoding = Decoding(temperature=1.0, max_new_tokens=task.max_new_tokens, stop=task.stop)
    drawn = Policy(model, decoding).draw(problems, task="t", seed=0, n=n, decoding=decoding)
    verified = Policy(model, decoding, search=VerifiedBestOfN(n)).answer(problems, task, label="t", seed=0)
    likeliest = Policy(model, decoding, search=LikeliestBestOfN(n)).answer(problems, task, label="t", seed=0)
    solved = 0
    for problem, (_, _, mine), best, likely in zip(problems, drawn, verified, likeliest, strict=True):
        right = [task.verify(problem, one.text).correct for one in mine]
        assert task.verify(problem, best.text).correct == any(right)
        assert best.notes["right"] == np.mean(right)
        solved += any(right)
        means = [np.mean(one.logprobs) for one in mine]
        assert likely.text == mine[int(np.argmax(means))].text
        assert best.tokens == likely.tokens == sum(len(one.tokens) for one in mine)
    assert 0 < solved < len(problems)


def test_budget_forcing_asks_for_a_mark_where_the_task_has_none(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"prompt": "1+1?", "answer": "2"}\n')
    task, model = build_task({"task": "jsonl", "path": str(tmp_path / "t.jsonl")}, None, where="test"), tiny_model()
    with pytest.raises(ElicitError, match="do not have a known mark that ends thinking"):
        configure_method("budget_forcing", {}).fit(model, task, seed=0, needs={})
    policy = configure_method("budget_forcing", {"end": "</think>"}).fit(model, task, seed=0, needs={})
    assert policy.search == BudgetForcingSearch("</think>", "Wait", "</think>", 8)
    own = configure_method("budget_forcing", {}).fit(model, elicit.tasks.get("addition"), seed=0, needs={})
    assert own.search == BudgetForcingSearch("#", "", "#", 8)
