"""Rotary scaling that looks at the longest row of a pass: a text does not depend on its batch, nor on what ran before.

The reference is transformers' own `generate` and forward pass on one prompt, with a model that has just been made.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, MistralConfig, Phi3Config

import elicit
from elicit.rotary import RotaryScaling, frequency_group, length_scaling
from elicit.sampling import Decoding
from elicit.steering.residuals import residuals_at
from saes.activations import stream
from tests.support.families import family

LIMIT, NEW = 24, 10
PROMPTS = ["abc", "12 + 3 =", "hello there, Q:", "x" * 19, "y" * 20, "z" * 23, "q" * 24, "a b" * 11, "x" * 40, "y" * 40]
"""Far below the limit, up to it, crossing it while generating (23, 24: at once), beyond it (equal and not)."""
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [3.0, 4.0, 5.0, 6.0],
    "original_max_position_embeddings": LIMIT,
    "factor": 2.0,
}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
KINDS: dict[str, dict[str, Any]] = {
    "phi3": {"rope_parameters": LONGROPE, "original_max_position_embeddings": LIMIT, "max_position_embeddings": 64},
    "mistral": {"rope_parameters": LONGROPE, "max_position_embeddings": 64, "sliding_window": None},
    "llama": {"rope_parameters": DYNAMIC, "max_position_embeddings": LIMIT},
}


def made(kind: str) -> tuple[Any, Any]:
    """A model of 4 layers and heads of width 8."""
    return family(kind, **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steered", [False, True])
def test_a_batch_is_sampled_as_transformers_generates_alone(kind: str, steered: bool) -> None:
    hf, tokenizer = made(kind)
    base = elicit.wrap(hf, tokenizer, name=kind)
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    vector /= vector.norm()
    decoding = Decoding(max_new_tokens=NEW)
    strength = 4.0 if steered else 0.0
    with base.steer(vector, layer=1, strength=strength, unit=1.0, positions="all"):
        ours = [one[0].tokens for one in base.sample(PROMPTS, decoding=decoding)]
    texts = set()
    for prompt, tokens in zip(PROMPTS, ours, strict=True):
        fresh, _ = made(kind)
        fresh.model.layers[1].register_forward_hook(lambda _, __, out: out + strength * vector)
        ids = torch.tensor([base.encode(prompt)])
        theirs = fresh.generate(ids, max_new_tokens=NEW, do_sample=False, suppress_tokens=list(base.banned_ids))
        assert list(tokens) == theirs[0, ids.shape[1] :][: len(tokens)].tolist(), prompt
        texts.add(tokens)
    assert len(texts) > len(PROMPTS) // 2


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_residuals_do_not_depend_on_what_stands_beside_them(kind: str) -> None:
    hf, tokenizer = made(kind)
    base = elicit.wrap(hf, tokenizer, name=kind)
    scores = base.score(PROMPTS, ["7 is it"] * len(PROMPTS))
    sequences = [list(base.encode(prompt)) for prompt in PROMPTS]
    rows = residuals_at(hf, base.layers, sequences, [len(ids) - 1 for ids in sequences])
    harvested = {}
    for harvest in stream(hf, 2, sequences):
        last = {int(number): row for row, number in enumerate(harvest.sequence)}
        harvested |= {number: harvest.h[row] for number, row in last.items()}
    for i, (prompt, ids) in enumerate(zip(PROMPTS, sequences, strict=True)):
        fresh, _ = made(kind)
        completion = base.continuation("7 is it")
        with torch.no_grad():
            logits = fresh(torch.tensor([[*ids, *completion]])).logits[0, len(ids) - 1 : -1]
            logits[:, list(base.banned_ids)] = -torch.inf
            states = made(kind)[0](torch.tensor([ids]), output_hidden_states=True).hidden_states
        expected = logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(scores[i]), expected, rtol=1e-4, atol=1e-4, msg=prompt)
        torch.testing.assert_close(rows[2, i], states[3][0, -1], rtol=1e-4, atol=1e-4, msg=prompt)
        torch.testing.assert_close(harvested[i], states[3][0, -1], rtol=1e-4, atol=1e-4, msg=prompt)


def test_what_may_share_a_pass() -> None:
    long = length_scaling(Phi3Config(**KINDS["phi3"], hidden_size=32, num_attention_heads=4))
    dynamic = length_scaling(LlamaConfig(**KINDS["llama"], hidden_size=32, num_attention_heads=4))
    assert long == RotaryScaling("longrope", LIMIT, recomputed=True)
    assert dynamic == RotaryScaling("dynamic", LIMIT)
    assert length_scaling(MistralConfig()) is None
    assert length_scaling(LlamaConfig(rope_parameters={"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4})) is None
    assert [frequency_group(long, n) for n in (1, 24, 25, 60)] == [0, 0, -1, -1]
    assert [frequency_group(dynamic, n) for n in (1, 24, 25, 60)] == [0, 0, 25, 60]
    assert [frequency_group(long, n, n + 10) for n in (14, 15, 24, 25)] == [0, 15, 24, -1]
    assert frequency_group(None, 10**6) == 0
