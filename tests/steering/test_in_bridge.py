"""Steering acts inside `model.bridge`: its logits and caches are those of the steered model."""

from __future__ import annotations

import pytest
import torch

from elicit.steering import Steering
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES


def _edits(model):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(2, model.d_model, generator=generator)
    return [Steering(vectors[0], 0, 1.0, "add", "first", 3.0), Steering(vectors[1], 1, 1.0, "ablate", "all", 1.0)]


@pytest.mark.parametrize("first", ["bridge", "steering"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_bridge_is_steered_as_the_model_is(arch, first):
    """Whether the bridge was there before the context opened, or is first asked for in it."""
    model = tiny_model(arch)
    ids = torch.tensor([model.encode("abc def")])
    if first == "bridge":
        assert model.bridge is not None
    with torch.no_grad():
        plain = model.hf(ids).logits
        with model.steer(_edits(model), prompt_lengths=ids.shape[1]) as firings:
            expected = model.hf(ids).logits
            ours = model.cache(["abc def"])
            before = firings.total
            logits, cache = model.bridge.run_with_cache(ids)
            assert firings.total == before + 1 + ids.shape[1]
        torch.testing.assert_close(logits, expected, atol=2e-3, rtol=2e-3)
        assert not torch.allclose(expected[:, -1], plain[:, -1], atol=0.05)
        for layer in range(model.n_layers):
            theirs = cache[f"blocks.{layer}.hook_out"][0]
            torch.testing.assert_close(ours["resid_post", layer][0], theirs, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(model.bridge(ids), plain, atol=2e-3, rtol=2e-3)
    assert model.clock.steering == []
