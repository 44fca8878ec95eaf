"""`model.attribute_logits` against the definition: bridge caches, the norm's formula by hand, plain torch."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from elicit.activations import LogitDifference
from elicit.errors import ElicitError
from tests.activations.test_against_bridge import _name_hook, tiny_model

MEASURE = LogitDifference("a", "b")
TEXTS = ["abcd", "uvwxyz"]
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3", "gpt_neox", "olmo2", "phi3", "gpt2")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_contributions_add_up_to_the_logit_difference(arch):
    """By component and by head, for logits before Gemma's cap."""
    model = tiny_model(arch)
    by_layer = model.attribute_logits(TEXTS, MEASURE)
    by_head = model.attribute_logits(TEXTS, MEASURE, heads=True)
    a, b = (model.continuation(text)[0] for text in "ab")
    cap = getattr(model.hf.config, "final_logit_softcapping", None)
    for prompt, text in enumerate(TEXTS):
        with torch.no_grad():
            logits = model.hf(torch.tensor([model.encode(text)])).logits[0, -1].double()
        if cap:
            logits = cap * torch.atanh(logits / cap)
        assert by_layer.totals[prompt] == pytest.approx(float(logits[a] - logits[b]), abs=2e-3)
    np.testing.assert_allclose(by_head.totals, by_layer.totals, atol=1e-4)
    assert len(by_head.components) == 2 + model.n_layers * (1 + model.hf.config.num_attention_heads)
    assert np.abs(by_layer.values).max() > 0.1


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gemma2", "gpt2", "gpt_neox"])
def test_a_contribution_is_the_component_through_the_norm_at_its_scale(arch):
    """Of every attention, MLP and head, from the bridge's cache and the norm's formula written out."""
    model = tiny_model(arch)
    by_layer = model.attribute_logits(TEXTS, MEASURE)
    by_head = model.attribute_logits(TEXTS, MEASURE, heads=True)
    a, b = (model.continuation(text)[0] for text in "ab")
    unembedding = model.hf.get_output_embeddings().weight
    decoder = getattr(model.hf, model.hf.base_model_prefix)
    norm = next(getattr(decoder, name) for name in ("norm", "ln_f", "final_layer_norm") if hasattr(decoder, name))
    gain = norm.weight + 1 if arch.startswith("gemma") else norm.weight
    layer_norm = isinstance(norm, torch.nn.LayerNorm)
    for prompt, text in enumerate(TEXTS):
        with torch.no_grad():
            _, cache = model.bridge.run_with_cache(torch.tensor([model.encode(text)]))
            final = cache[_name_hook(arch, "resid_post", model.n_layers - 1)][0, -1]
            moved = final - final.mean() if layer_norm else final
            scale = moved.square().mean().add(1e-6).rsqrt()
            for i, component in enumerate(by_layer.components):
                if "_out." not in component:
                    continue
                name, layer = component.split(".")
                part = cache[_name_hook(arch, name, int(layer))][0, -1]
                part = part - part.mean() if layer_norm else part
                expected = float((part * scale * gain) @ (unembedding[a] - unembedding[b]))
                assert by_layer.values[i, prompt] == pytest.approx(expected, abs=2e-3), component
    if arch in ("llama", "qwen2"):  # a head through its own columns of W_O
        layer, head = 1, 2
        with torch.no_grad():
            z = model.cache(TEXTS, sites="z.1.2")["z", 1, 2][:, -1]
            weight = model.hf.model.layers[layer].self_attn.o_proj.weight
            added = z @ weight[:, head * z.shape[1] : (head + 1) * z.shape[1]].T
            finals = model.cache(TEXTS)["resid_post", model.n_layers - 1][:, -1]
            scales = finals.square().mean(-1, keepdim=True).add(1e-6).rsqrt()
            expected = (added * scales * gain) @ (unembedding[a] - unembedding[b])
        ours = by_head.values[by_head.components.index("z.1.2")]
        np.testing.assert_allclose(ours, expected.numpy(), atol=1e-3)


def test_a_steered_models_contributions_and_what_is_written(tmp_path):
    model = tiny_model("llama")
    direction = torch.ones(model.d_model)
    with model.steer(direction, layer=1, coefficient=2.0, positions="all", prompt_lengths=5):
        with pytest.raises(ElicitError, match="add up"):
            model.attribute_logits(["abcd"], MEASURE)
    result = model.attribute_logits(TEXTS, MEASURE)
    document = json.loads(result.save(tmp_path / "contributions.json").read_text())
    np.testing.assert_array_equal(document["values"], result.values)
    assert list(result.frame()["contribution"]) == pytest.approx(list(result.values.mean(axis=1)))
    assert result.components[0] in result._repr_html_()
    with pytest.raises(ElicitError):
        model.attribute_logits(TEXTS, LogitDifference("a"))
