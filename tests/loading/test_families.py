"""Families that nothing in the lab names: found by structure, proved by the self-test, equal to transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import elicit
from elicit.errors import ElicitError
from elicit.loading import architectures as arch
from elicit.sampling import Decoding
from elicit.selftest import self_test
from tests.support.families import COMMON, OTHERS, REFUSED, family

PROMPTS = ["3+4=", "Q: what is 12 plus 345, please?\nA:"]
"""Of different lengths, one longer than any window."""
STEPS = 6
"""After the shorter prompt they reach beyond a window of eight."""


def added(vector: torch.Tensor) -> Callable[..., Any]:
    """A forward hook that adds a vector, written without the lab."""

    def hook(_module: Any, _args: Any, output: Any) -> Any:
        return (output[0] + vector, *output[1:]) if isinstance(output, tuple) else output + vector

    return hook


@pytest.mark.parametrize("name", [*COMMON, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_sampled_steered_and_scored_in_a_batch_as_transformers_does_alone(name: str) -> None:
    hf, tokenizer = family(name)
    base = elicit.wrap(hf, tokenizer, name=name)
    assert base.n_layers == hf.config.num_hidden_layers
    assert base.d_model == hf.config.hidden_size
    vector = torch.randn(base.d_model, generator=torch.Generator().manual_seed(0))
    vector /= vector.norm()
    size = 10.0
    first_scores = []
    for strength in (0.0, 1.0):
        with base.steer(vector, layer=1, strength=strength, unit=size, positions="all"):
            ours = [one[0] for one in base.sample(PROMPTS, decoding=Decoding(max_new_tokens=STEPS))]
            texts = [one.text or " 7" for one in ours]  # an answer may be empty: the first token ends it
            scores = base.score(PROMPTS, texts)
        handle = arch.get_decoder_layers(hf)[1].register_forward_hook(added(strength * size * vector))
        for prompt, completion, text, scored in zip(PROMPTS, ours, texts, scores, strict=True):
            ids = torch.tensor([base.encode(prompt)])
            theirs = hf.generate(ids, max_new_tokens=STEPS, do_sample=False, suppress_tokens=list(base.banned_ids))
            assert list(completion.tokens) == theirs[0, ids.shape[1] :][: len(completion.tokens)].tolist()
            whole = torch.cat([ids, torch.tensor([base.continuation(text)], dtype=torch.long)], dim=1)
            with torch.no_grad():
                logits = hf(whole, use_cache=False).logits[0, ids.shape[1] - 1 : -1].float()
            logits[:, list(base.banned_ids)] = -torch.inf
            expected = logits.log_softmax(-1).gather(1, whole[0, ids.shape[1] :, None])[:, 0]
            torch.testing.assert_close(torch.tensor(scored), expected, rtol=1e-3, atol=1e-3)
        handle.remove()
        first_scores.append([scored[0] for scored in scores])
    assert first_scores[0] != pytest.approx(first_scores[1], abs=1e-3)
    drawn = Decoding(max_new_tokens=6, temperature=1.0)
    together = base.sample(PROMPTS, n=2, seed=3, decoding=drawn)
    alone = [base.sample([prompt], n=2, seed=3, decoding=drawn)[0] for prompt in PROMPTS]
    assert [[one.tokens for one in pair] for pair in together] == [[one.tokens for one in pair] for pair in alone]


@pytest.mark.parametrize(("name", "check"), REFUSED.items())
def test_what_does_not_behave_is_refused_by_the_check_that_it_fails(name: str, check: str) -> None:
    hf, tokenizer = family(name)
    with pytest.raises(ElicitError) as caught:
        elicit.wrap(hf, tokenizer, name="org/model")
    assert str(caught.value).startswith("org/model did not pass the self-test, so nothing is run on it.")
    assert f"Failed: {check} (" in str(caught.value)


def test_numbers_that_are_none_are_seen() -> None:
    hf, tokenizer = family("granite")
    with torch.no_grad():
        hf.model.norm.weight[3] = float("nan")
    with pytest.raises(ElicitError, match=r"Failed: finite \(logits are not finite numbers in float32\)"):
        elicit.wrap(hf, tokenizer, name="broken")


def _not_causal(hf: Any) -> None:
    for layer in hf.model.layers:
        layer.register_forward_pre_hook(lambda _, args: (args[0] + args[0].mean(1, keepdim=True), *args[1:]))


def _cache_ignored(hf: Any) -> None:
    hf.model.layers[0].self_attn.register_forward_pre_hook(
        lambda _, args, kwargs: (args, {**kwargs, "past_key_values": None}), with_kwargs=True
    )


def _scaled_behind_the_head(hf: Any) -> None:
    hf.register_forward_hook(lambda _module, _args, out: setattr(out, "logits", out.logits * 2))


@pytest.mark.parametrize(
    ("planted", "check"),
    [
        (_not_causal, "causal"),
        (_cache_ignored, "cache"),
        (_scaled_behind_the_head, "head"),
    ],
)
def test_the_self_test_sees_planted_faults(planted: Callable[[Any], None], check: str) -> None:
    hf, tokenizer = family("granite")
    base = elicit.wrap(hf, tokenizer, name="whole")
    assert [one.name for one in self_test(base.engine) if not one.passed] == []
    planted(hf)
    assert [one.name for one in self_test(base.engine) if not one.passed] == [check]


def test_other_models_are_refused_in_one_line() -> None:
    from transformers import BertConfig, BertLMHeadModel, T5Config, T5ForConditionalGeneration

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    _, tokenizer = family("granite")
    with pytest.raises(ElicitError, match=r"bert \(architecture bert\) is an encoder: it reads in both directions"):
        elicit.wrap(BertLMHeadModel(BertConfig(vocab_size=110, **small)), tokenizer, name="bert")
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=110, d_model=16, d_kv=4, d_ff=16, num_layers=2, num_heads=2))
    with pytest.raises(ElicitError, match=r"t5 \(architecture t5\) is an encoder-decoder"):
        elicit.wrap(t5, tokenizer, name="t5")
