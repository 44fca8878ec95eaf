"""The sampler against transformers' own generate, and against itself in other batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit import seeds
from elicit.loading import architectures
from elicit.sampling import Decoding, Engine, Request, generate
from elicit.sampling import engine as engine_module
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES

PROMPTS = ["ab", "the cat", "1+2=3 and so on", "x", "a longer prompt, longer than a window of eight"]


def reference(model, prompts, tokens):
    """transformers' greedy generate on a left-padded batch, with pads banned as in the lab."""
    tok = model.tokenizer
    rows = [list(model.encode(prompt)) for prompt in prompts]
    width = max(map(len, rows))
    ids = torch.tensor([[tok.pad_token_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    out = model.hf.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=tokens,
        do_sample=False,
        suppress_tokens=[tok.pad_token_id],
        pad_token_id=tok.pad_token_id,
    )
    found = []
    for row in out[:, width:].tolist():
        if tok.eos_token_id in row:
            row = row[: row.index(tok.eos_token_id) + 1]
        found.append(tuple(row))
    return found


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_greedy_equals_transformers_generate(arch):
    model = tiny_model(arch)
    ours = model.sample(PROMPTS, decoding=Decoding(max_new_tokens=24))
    theirs = reference(model, PROMPTS, 24)
    assert [one[0].tokens for one in ours] == theirs
    assert len({one[0].tokens for one in ours}) > 1, "constant output would prove nothing"


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_equal_lengths_need_no_mask_and_agree(arch):
    model = tiny_model(arch, seed=1)
    prompts = ["abcdef", "fedcba", "qwerty"]
    ours = model.sample(prompts, decoding=Decoding(max_new_tokens=16))
    assert [one[0].tokens for one in ours] == reference(model, prompts, 16)


def words(completions):
    """Everything but log-probabilities, whose last bits depend on the shape of the batch."""
    return [[c._replace(logprobs=()) for c in one] for one in completions]


def requests(model, n, prompts=PROMPTS):
    return [
        Request(model.encode(prompt), tuple(seeds.derive_key(0, prompt, i) for i in range(n))) for prompt in prompts
    ]


SAMPLED = Decoding(temperature=1.0, max_new_tokens=20)


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2"])
def test_the_same_text_at_any_batch_size(arch):
    """Rows finish at different times here, so rows leaving the batch is covered too."""
    model = tiny_model(arch)
    whole = generate(model.engine, requests(model, 8), SAMPLED)
    assert len({c.finish for one in whole for c in one}) > 1, "every row ended alike: the test would not see drops"
    alone = [generate(model.engine, [request], SAMPLED)[0] for request in requests(model, 8)]
    assert words(whole) == words(alone)
    for left, right in zip(whole, alone, strict=True):
        for a, b in zip(left, right, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    one_by_one = [
        [generate(model.engine, [Request(request.ids, (key,))], SAMPLED)[0][0] for key in request.keys]
        for request in requests(model, 8)
    ]
    assert words(one_by_one) == words(whole)


def test_a_batch_that_runs_out_of_memory_is_halved_and_gives_the_same(monkeypatch):
    model = tiny_model()
    expected = generate(model.engine, requests(model, 4), SAMPLED)
    real, sizes = engine_module._sample_batch, []

    def short_of_memory(engine, asked, batch, *rest):
        rows = sum(len(samples) for _, samples in batch)
        sizes.append(rows)
        if rows > 3:
            torch.backends.mkldnn.set_flags(False)  # as torch does where oneDNN could not allocate
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(engine, asked, batch, *rest)

    monkeypatch.setattr(engine_module, "_sample_batch", short_of_memory)
    assert words(generate(model.engine, requests(model, 4), SAMPLED)) == words(expected)
    assert max(sizes) > 3 >= min(sizes)
    assert torch.backends.mkldnn.enabled


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_head_is_given_states_in_one_piece(arch):
    """A slice of them makes torch copy a frozen head's weight once a row: gigabytes where the vocabulary is large."""
    model = tiny_model(arch)
    given = []
    hook = architectures.get_lm_head(model.hf).register_forward_pre_hook(lambda _, args: given.append(args[0]))
    with hook:
        model.sample(PROMPTS, decoding=Decoding(max_new_tokens=3))
    assert [tuple(states.shape[:2]) for states in given][:2] == [(len(PROMPTS), 1)] * 2
    assert all(states.is_contiguous() for states in given)


def test_budgets_bound_the_batch():
    model = tiny_model()
    small = Engine(
        model.hf,
        model.tokenizer,
        model.clock,
        model.engine.end_ids,
        model.engine.pad_id,
        cache_budget=1,
        logit_budget=1,
    )
    batches = list(engine_module._plan_batches(small, requests(model, 3), SAMPLED))
    assert all(sum(len(samples) for _, samples in batch) == 1 for batch in batches)
    asked = {(i, s) for batch in batches for i, samples in batch for s in samples}
    assert asked == {(i, s) for i in range(len(PROMPTS)) for s in range(3)}


def test_sampling_follows_the_model_distribution():
    """First tokens of many samples against the softmax, by a chi-squared test with a fixed seed."""
    from scipy import stats

    model = tiny_model()
    n = 4000
    drawn = generate(
        model.engine,
        [Request(model.encode("abc"), tuple(seeds.derive_key("chi", i) for i in range(n)))],
        Decoding(temperature=0.7, max_new_tokens=1),
    )[0]
    with torch.no_grad():
        logits = model.hf(torch.tensor([model.encode("abc")])).logits[0, -1]
    logits[model.tokenizer.pad_token_id] = -torch.inf
    p = (logits / 0.7).softmax(-1).double().numpy()
    counts = np.bincount([c.tokens[0] for c in drawn], minlength=len(p))
    common = p * n >= 5
    expected = np.append(p[common] * n, p[~common].sum() * n)
    seen = np.append(counts[common], counts[~common].sum())
    assert stats.chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > 1e-3
    log_p = model.hf(torch.tensor([model.encode("abc")])).logits[0, -1].detach()
    log_p[model.tokenizer.pad_token_id] = -torch.inf
    log_p = log_p.log_softmax(-1)
    assert drawn[0].logprobs[0] == pytest.approx(float(log_p[drawn[0].tokens[0]]), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    temperature=st.floats(0.2, 3),
    top_k=st.none() | st.integers(1, 40),
    top_p=st.none() | st.floats(0.05, 1),
    min_p=st.none() | st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_filters_keep_what_transformers_keeps(temperature, top_k, top_p, min_p, seed):
    """The support of the inverse CDF is the set transformers' generate would sample from."""
    from transformers import GenerationConfig
    from transformers.generation.utils import GenerationMixin

    from elicit.sampling.choose import build_logits_processors, choose_tokens

    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(seed)) * 3
    decoding = Decoding(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    config = GenerationConfig(
        do_sample=True, temperature=temperature, top_k=top_k or 0, top_p=1.0 if top_p is None else top_p, min_p=min_p
    )
    model = tiny_model().hf
    theirs = GenerationMixin._get_logits_processor(model, generation_config=config, device="cpu")(None, logits.clone())
    p = theirs.softmax(-1)[0].double()
    edges = p.cumsum(0)
    for token in (p > 0).nonzero()[:, 0].tolist():
        middle = float((edges[token] - p[token] / 2) / edges[-1])
        chosen = choose_tokens(
            logits, build_logits_processors(decoding), torch.tensor([middle], dtype=torch.float64), None
        )
        if p[token] > 1e-6:
            assert int(chosen.tokens[0]) == token
    for u in (0.0, 1 - 2.0**-53):
        chosen = choose_tokens(logits, build_logits_processors(decoding), torch.tensor([u], dtype=torch.float64), None)
        assert p[int(chosen.tokens[0])] > 0


def test_stop_strings_and_endings_are_told_apart():
    model = tiny_model()
    free = [one[0] for one in model.sample(PROMPTS, decoding=Decoding(max_new_tokens=24))]
    longest = max(free, key=lambda c: len(c.text))
    stop = longest.text[3:5]
    stopped = [one[0] for one in model.sample(PROMPTS, decoding=Decoding(max_new_tokens=24, stop=(stop,)))]
    for before, after in zip(free, stopped, strict=True):
        if stop in before.text:
            assert after.finish == "stop"
            assert after.text == before.text[: before.text.index(stop)]
            assert after.tokens == before.tokens[: len(after.tokens)]
            assert stop in model.tokenizer.decode(after.tokens)
            assert stop not in model.tokenizer.decode(after.tokens[:-1])
        else:
            assert words([[after]]) == words([[before]])
    assert any(c.finish == "stop" for c in stopped)
    for c in free:
        ended = c.tokens[-1] == model.tokenizer.eos_token_id
        assert (c.finish == "eos") == ended
        assert c.finished == ended
        assert (c.finish == "length") == (len(c.tokens) == 24 and not ended)


def test_bfloat16_runs_and_may_depend_on_the_batch():
    model = tiny_model()
    model.hf.to(torch.bfloat16)
    out = model.sample(PROMPTS, n=2, decoding=SAMPLED)
    assert all(len(c.tokens) >= 1 for one in out for c in one)
