"""Prompts run in pieces and from a shared prefix on, against one pass over whole prompts."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from elicit import seeds
from elicit.sampling import PLAIN, Decoding, Engine, Request, generate
from elicit.sampling import prefill as prefill_module
from elicit.sampling.cache import PreallocatedLayer, cache_bytes_per_token
from elicit.sampling.choose import _GROUP, choose_tokens
from elicit.sampling.prefill import PlainForward, prefill_prompts
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES

HEAD = "the same words before every question; "
PROMPTS = [HEAD + end for end in ("a", "ab", "what?", "a longer one, by far", "zz", "q", "abc", "1+2")]
GREEDY = Decoding(max_new_tokens=12)


class Whole(PlainForward):
    """One pass from the first token on."""

    def prefill(self, engine, asked, samples, decoding):
        return prefill_prompts(engine, asked, samples, decoding, whole=True)


def requests(model, n=1, forced=0):
    return [
        Request(model.encode(p), tuple(seeds.derive_key(0, p, i) for i in range(n)), forced=forced) for p in PROMPTS
    ]


@pytest.fixture
def counted(monkeypatch):
    """Makes sharing and cutting worthwhile for tiny prompts; counts tokens that passes over prompts take."""
    taken = []
    monkeypatch.setattr(prefill_module, "_WORTH", 1)
    monkeypatch.setattr(Engine, "pass_tokens", property(lambda self: 24))
    frame = prefill_module.build_padded_frame

    def noted(real, *args, **kwargs):
        taken.append(real.numel())
        return frame(real, *args, **kwargs)

    monkeypatch.setattr(prefill_module, "build_padded_frame", noted)
    return taken


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("n", [1, 3])
def test_pieces_and_a_shared_prefix_change_no_text(arch, n, counted):
    model = tiny_model(arch)
    whole = generate(model.engine, requests(model, n), GREEDY, Whole())
    taken = sum(counted)
    counted.clear()
    pieces = generate(model.engine, requests(model, n), GREEDY, PLAIN)
    assert [[c.tokens for c in one] for one in pieces] == [[c.tokens for c in one] for one in whole]
    assert len(counted) > 2, "one pass: nothing was cut"
    shared = model.hf.config._attn_implementation == "sdpa" and "gemma" not in arch
    assert not shared or sum(counted) < taken / 2


@pytest.mark.parametrize("positions", ["all", "prompt", "first", "first:3", "decay:4", "generated"])
def test_steering_sees_the_same_positions(positions, counted):
    model = tiny_model("llama")
    vector = torch.linspace(-1, 1, model.d_model)
    found = []
    for forward in (Whole(), PLAIN):
        with model.steer(vector, layer=0, strength=1.5, positions=positions):
            found.append(generate(model.engine, requests(model, 2, forced=2), GREEDY, forward))
    plain = generate(model.engine, requests(model, 2, forced=2), GREEDY)
    assert [[(c.tokens, c.firings) for c in one] for one in found[0]] == [
        [(c.tokens, c.firings) for c in one] for one in found[1]
    ]
    assert [[c.tokens for c in one] for one in found[0]] != [[c.tokens for c in one] for one in plain]


def test_a_prefix_ends_before_the_last_prompt_token(counted):
    """One prompt that is the beginning of all others: its own last token must not be shared."""
    model = tiny_model("llama")
    asked = [Request(model.encode(HEAD + end), (1,)) for end in ("", "a", "bc")]
    whole = generate(model.engine, asked, GREEDY, Whole())
    assert [c[0].tokens for c in generate(model.engine, asked, GREEDY)] == [c[0].tokens for c in whole]


@pytest.mark.parametrize("size", [5 * _GROUP + 17, 6 * _GROUP])
def test_a_large_vocabulary_is_drawn_from_as_a_small_one(size):
    """The grouped sum against numpy's running sum in double precision, with tokens of no probability among them."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, size, generator=generator) * 3
    logits[:, ::3] = -torch.inf
    logits[:, : 2 * _GROUP : 2] = -torch.inf
    uniform = torch.rand(64, generator=generator, dtype=torch.float64)
    uniform[:2] = torch.tensor([0.0, 1 - 1e-16], dtype=torch.float64)
    drawn = choose_tokens(logits, [], uniform, None).tokens
    cdf = logits.softmax(-1).double().cumsum(-1).numpy()
    for row, (token, u) in enumerate(zip(drawn.tolist(), uniform.tolist(), strict=True)):
        before = cdf[row, token - 1] if token else 0.0
        assert logits[row, token] > -torch.inf
        assert before - 1e-12 <= u * cdf[row, -1] <= cdf[row, token] + 1e-12


def test_batches_keep_within_the_stated_cache(monkeypatch):
    """Room for keys and values in the batch's cache, and beside it one piece of prompts."""
    model = tiny_model("llama")
    rooms = []
    room = PreallocatedLayer._allocate_like

    def noted(self, like):
        made = room(self, like)
        rooms.append(made.numel() * made.itemsize)
        return made

    monkeypatch.setattr(PreallocatedLayer, "_allocate_like", noted)
    asked, per_token = requests(model, 4), cache_bytes_per_token(model.hf)
    longest = max(len(request.ids) for request in asked) + GREEDY.max_new_tokens
    engine = dataclasses.replace(model.engine, cache_budget=10 * longest * per_token)
    small = generate(engine, asked, GREEDY)
    assert len(rooms) > 2 * 2 * model.n_layers, "all in one batch: the budget was not asked"
    assert max(rooms) * 2 * model.n_layers <= engine.cache_budget
    assert [[c.tokens for c in one] for one in small] == [
        [c.tokens for c in one] for one in generate(model.engine, asked, GREEDY)
    ]
