"""The logit lens against TransformerBridge's parts, and against norms written out by hand for every architecture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import elicit
import saes
from elicit.errors import ElicitError
from elicit.loading import architectures
from saes.dashboard import logit_lens
from saes.dashboard.lens import compute_logits, find_final_norm, get_unembedding
from tests.saes.tiny_sae import tiny_sae
from tests.support.tiny import ARCHITECTURES, tiny


def test_the_bridge_says_the_same() -> None:
    """ln_final and W_U of TransformerLens on the organism, with a shipped SAE."""
    model, sae = elicit.load("cued"), saes.load("cued/L1")
    bridge, rows = model.bridge, sae.directions
    with torch.no_grad():
        expected = bridge.ln_final(rows / rows.norm(dim=-1, keepdim=True) * sae.d_model**0.5) @ bridge.W_U
        expected = expected - expected.mean(dim=1, keepdim=True)
    lens = logit_lens(model.hf, sae, range(sae.d_sae), top=102)
    for feature, effect in zip(lens.features, lens.effects, strict=True):
        told = torch.full((102,), torch.nan)
        for token, value in effect.raised:
            told[token] = value
        torch.testing.assert_close(told, expected[feature], atol=2e-5, rtol=1e-5)
        assert effect.raised == tuple(reversed(effect.lowered)) or len({v for _, v in effect.raised}) < 102
        assert [v for _, v in effect.raised] == sorted((v for _, v in effect.raised), reverse=True)
        assert effect.counts.sum() == effect.tokens == 102
    torch.testing.assert_close(compute_logits(bridge, rows), compute_logits(model.hf, rows))


def _by_hand(hf: Any, x: torch.Tensor) -> torch.Tensor:
    """RMSNorm, Gemma's RMSNorm or LayerNorm without its bias, and the unembedding, from the weights alone."""
    kind, weight = hf.config.model_type, architectures.get_final_norm(hf).weight
    if kind in ("gpt2", "gpt_neox"):
        centred = x - x.mean(dim=-1, keepdim=True)
        normed = centred / centred.pow(2).mean(dim=-1, keepdim=True).sqrt() * weight
    else:
        normed = x / x.pow(2).mean(dim=-1, keepdim=True).sqrt() * (1 + weight if "gemma" in kind else weight)
    table = hf.get_input_embeddings().weight if hf.config.tie_word_embeddings else hf.get_output_embeddings().weight
    return normed @ table.T


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture(arch: str) -> None:
    hf, _ = tiny(arch)
    assert find_final_norm(hf) is architectures.get_final_norm(hf)
    assert get_unembedding(hf) is architectures.get_lm_head(hf)
    rows = tiny_sae().directions
    with torch.no_grad():
        torch.testing.assert_close(compute_logits(hf, rows), _by_hand(hf, rows), atol=2e-3, rtol=1e-3)


def test_ties_and_left_out_tokens() -> None:
    hf, _ = tiny("qwen2")
    sae = tiny_sae()
    ignore, size = {0, 7}, hf.config.vocab_size - 5
    full = compute_logits(hf, sae.directions)[3]
    kept = [i for i in range(size) if i not in ignore]
    effect = logit_lens(hf, sae, [3], top=4, ignore=ignore, size=size).get_effect(3)
    assert effect is not None
    assert effect.tokens == len(kept)
    order = sorted(kept, key=lambda i: -float(full[i]))
    assert [i for i, _ in effect.raised] == order[:4]
    assert [i for i, _ in effect.lowered] == order[::-1][:4]
    mean = float(full[kept].mean())
    np.testing.assert_allclose([v for _, v in effect.raised], [float(full[i]) - mean for i in order[:4]], atol=1e-4)
    assert logit_lens(hf, sae, [3]).get_effect(4) is None


def test_length_does_not_matter() -> None:
    hf, _ = tiny("llama")
    rows = tiny_sae().directions
    torch.testing.assert_close(compute_logits(hf, rows), compute_logits(hf, 1e-3 * rows), atol=1e-4, rtol=1e-4)


def test_a_model_without_a_final_norm_is_refused() -> None:
    hf, _ = tiny("llama")
    hf.model.norm = torch.nn.Identity()
    with pytest.raises(ElicitError, match=r"the final norm of LlamaForCausalLM could not be told \(found: none\)"):
        find_final_norm(hf)
