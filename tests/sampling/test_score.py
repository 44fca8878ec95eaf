"""Teacher-forced scoring against the model's own logits."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from elicit.sampling import Decoding, Engine, Scored, logprobs, measure_divergences
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES

PAIRS = [("ab", "cdef"), ("a longer prompt", "x"), ("q", "some longer completion"), ("mm", "zz")]


def brute_force(model, prompt, completion, temperature=1.0):
    """One sequence alone, logits from the model's own head."""
    with torch.no_grad():
        logits = model.hf(torch.tensor([[*prompt, *completion]])).logits[0].float() / temperature
    logits[:, model.tokenizer.pad_token_id] = -torch.inf
    table = logits.log_softmax(-1)
    return [float(table[len(prompt) - 1 + i, token]) for i, token in enumerate(completion)]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_scores_equal_the_models_own(arch):
    model = tiny_model(arch)
    scored = [Scored(model.encode(p), model.continuation(c)) for p, c in PAIRS]
    for row, found in zip(scored, logprobs(model.engine, scored), strict=True):
        assert found == pytest.approx(brute_force(model, *row), abs=2e-4)


def test_pieces_of_logits_change_nothing():
    model = tiny_model()
    scored = [Scored(model.encode(p), model.continuation(c)) for p, c in PAIRS]
    engine = model.engine
    small = Engine(
        model.hf, model.tokenizer, model.clock, engine.end_ids, engine.pad_id, engine.banned_ids, logit_budget=1
    )
    for left, right in zip(logprobs(engine, scored), logprobs(small, scored), strict=True):
        assert left == pytest.approx(right, abs=1e-5)


def test_sampled_logprobs_equal_scored_ones():
    model = tiny_model("qwen3")
    drawn = [
        c
        for one in model.sample(["ab", "the cat"], n=3, decoding=Decoding(temperature=1, max_new_tokens=12))
        for c in one
    ]
    prompts = [p for p in ["ab", "the cat"] for _ in range(3)]
    scored = logprobs(model.engine, [Scored(model.encode(p), c.tokens) for p, c in zip(prompts, drawn, strict=True)])
    for c, found in zip(drawn, scored, strict=True):
        assert list(c.logprobs) == pytest.approx(found, abs=2e-4)


def test_divergence_is_kl_both_ways():
    model, other = tiny_model(seed=0), tiny_model(seed=3)
    scored = [Scored(model.encode(p), model.continuation(c)) for p, c in PAIRS]
    from elicit.weights import FullWeights

    weights = FullWeights({name: p.detach() for name, p in other.hf.named_parameters()})
    found = measure_divergences(model.engine, scored, nullcontext, lambda: weights.apply(model.hf))
    for row, divergence in zip(scored, found, strict=True):
        tables = []
        for m in (model, other):
            with torch.no_grad():
                logits = m.hf(torch.tensor([[*row.prompt, *row.completion]])).logits[0].double()
            logits[:, m.tokenizer.pad_token_id] = -1e9
            tables.append(logits[len(row.prompt) - 1 : -1].softmax(-1).clamp_min(1e-300))
        p, q = tables
        assert divergence.base_arm == pytest.approx(float((p * (p / q).log()).sum(-1).mean()), rel=1e-3)
        assert divergence.arm_base == pytest.approx(float((q * (q / p).log()).sum(-1).mean()), rel=1e-3)
    same = measure_divergences(model.engine, scored, nullcontext, nullcontext)
    assert all(d.base_arm < 1e-6 and d.arm_base < 1e-6 for d in same)
