"""Attention and MLP of a layer, against the residual stream itself and against TransformerLens's names."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, GraniteConfig, PhiConfig

from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.loading.parts import LayerParts, find_layer_parts, first_tensor
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES

_BEHIND_A_NORM = {"gemma2", "gemma3", "olmo2"}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_two_outputs_are_what_a_layer_adds(arch):
    model = tiny_model(arch)
    ids = torch.tensor([model.encode("other tokens, 34*7")])
    for number, layer in enumerate(model.layers):
        parts = find_layer_parts(model.hf, number)
        assert (parts.attention_output != parts.attention) == (arch in _BEHIND_A_NORM)
        assert parts.parallel == (arch == "gpt_neox")
        kept = _watch(layer, parts, model.hf, ids)
        total = kept["in"] + kept["attention"] + kept["mlp"]
        torch.testing.assert_close(total, kept["out"], atol=1e-4, rtol=1e-4)


def _watch(layer, parts, hf, ids) -> dict[str, torch.Tensor]:
    kept: dict[str, torch.Tensor] = {}

    def keep(name):
        return lambda module, args, output: kept.update({name: first_tensor(output)})

    handles = [
        layer.get_submodule(parts.attention_output).register_forward_hook(keep("attention")),
        layer.get_submodule(parts.mlp_output).register_forward_hook(keep("mlp")),
        layer.register_forward_pre_hook(lambda module, args: kept.update({"in": args[0]})),
        layer.register_forward_hook(keep("out")),
    ]
    with torch.no_grad():
        hf(ids)
    for handle in handles:
        handle.remove()
    return kept


def _random(config) -> object:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


_SIZE = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_SMALL = _SIZE | {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def test_a_parallel_layer():
    parts = find_layer_parts(_random(PhiConfig(**_SMALL)), 1)
    assert parts == LayerParts("self_attn", "self_attn", "self_attn.dense", "mlp", "mlp", True)


def test_a_layer_that_scales_its_outputs_is_refused():
    hf = _random(GraniteConfig(**_SMALL, residual_multiplier=0.5))
    assert len(architectures.get_decoder_layers(hf)) == 2
    with pytest.raises(ElicitError, match=r"layer 1 of this granite model: .*Take resid_pre or resid_post"):
        find_layer_parts(hf, 1)
