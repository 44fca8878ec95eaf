"""The parts of every layout, checked against what transformers itself reports of a forward pass."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

import elicit
from elicit.errors import ElicitError
from elicit.loading import architectures as arch
from elicit.sampling import Decoding
from tests.support.tiny import ARCHITECTURES, RELATED, WINDOW, tiny

SLIDING = {"gemma2", "gemma3", "mistral", "olmo3"}


def ids_of(tokenizer: Any, text: str = "Q: 3+4*5 mod 7, and so on\nA:") -> torch.Tensor:
    return tokenizer(text, return_tensors="pt").input_ids


def residuals(hf: Any, ids: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """(outputs of the layers, outputs of embedding, final norm and head), seen by forward hooks."""
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            seen[name] = output[0] if isinstance(output, tuple) else output

        return hook

    layers = arch.get_decoder_layers(hf)
    named = {f"layer{i}": layer for i, layer in enumerate(layers)}
    named |= {"embedding": arch.get_embedding(hf), "norm": arch.get_final_norm(hf), "head": arch.get_lm_head(hf)}
    handles = [module.register_forward_hook(keep(name)) for name, module in named.items()]
    with torch.no_grad():
        hf(ids)
    for handle in handles:
        handle.remove()
    return [seen[f"layer{i}"] for i in range(len(layers))], [seen[n] for n in ("embedding", "norm", "head")]


@pytest.mark.parametrize("name", ARCHITECTURES + RELATED)
def test_a_hook_on_layer_l_sees_the_residual_after_it(name: str) -> None:
    hf, tokenizer = tiny(name)
    ids = ids_of(tokenizer)
    with torch.no_grad():
        states = hf(ids, output_hidden_states=True).hidden_states
        logits = hf(ids).logits
    layers, (embedded, normed, headed) = residuals(hf, ids)
    assert len(layers) == hf.config.num_hidden_layers == len(states) - 1
    for after, state in zip(layers[:-1], states[1:-1], strict=True):
        torch.testing.assert_close(after, state, rtol=0, atol=0)
    # transformers reports the last state after the final norm.
    torch.testing.assert_close(normed, states[-1], rtol=0, atol=0)
    torch.testing.assert_close(arch.get_final_norm(hf)(layers[-1]), states[-1])
    assert not torch.allclose(layers[-1], states[-1])
    assert embedded.shape == (*ids.shape, arch.get_d_model(hf)) == layers[0].shape
    cap = getattr(hf.config, "final_logit_softcapping", None)
    torch.testing.assert_close(headed if cap is None else cap * torch.tanh(headed / cap), logits)


@pytest.mark.parametrize("name", ARCHITECTURES + RELATED)
def test_positions_are_declared_as_they_behave(name: str) -> None:
    """A far token reaches a one-layer view only without a window; a shift of positions matters only if absolute."""
    hf, tokenizer = tiny(name)
    ids = ids_of(tokenizer, "abcdefghijklmnopqrstuvwxyz")
    far = ids.clone()
    far[0, 1] = 40
    first, changed = residuals(hf, ids)[0][0], residuals(hf, far)[0][0]
    beyond = slice(1 + WINDOW, None)
    unreached = torch.equal(first[:, beyond], changed[:, beyond])
    assert unreached == arch.is_sliding(hf) == (name in SLIDING)

    positions = torch.arange(ids.shape[1])[None]
    with torch.no_grad():
        here, there = (hf(ids, position_ids=positions + shift).logits for shift in (0, 20))
    moved = not torch.allclose(here, there, atol=1e-2)
    assert moved == arch.has_absolute_positions(hf) == (name == "gpt2")


def test_a_window_is_found_where_each_family_declares_it() -> None:
    hf, _ = tiny("phi3")
    assert not arch.is_sliding(hf)
    hf.config.sliding_window = 8
    assert arch.is_sliding(hf)
    hf, _ = tiny("qwen2")
    hf.config.sliding_window = 8
    assert not arch.is_sliding(hf), "no layer uses it"
    hf.config.layer_types = ["full_attention", "sliding_attention", "full_attention"]
    assert arch.is_sliding(hf)


@pytest.mark.parametrize("name", ARCHITECTURES + RELATED)
def test_layers_are_found_inside_peft(name: str) -> None:
    hf, tokenizer = tiny(name)
    layers = arch.get_decoder_layers(hf)
    wrapped = get_peft_model(hf, LoraConfig(r=2, target_modules="all-linear", fan_in_fan_out=name == "gpt2"))
    assert arch.get_decoder_layers(wrapped) is layers is arch.get_decoder_layers(hf)
    assert any("lora" in part for part, _ in arch.get_decoder_layers(wrapped).named_modules())
    assert arch.unwrap_model(wrapped) is hf
    assert arch.get_d_model(wrapped) == 32
    seen = []
    handle = arch.get_decoder_layers(wrapped)[1].register_forward_hook(lambda *_: seen.append(1))
    wrapped(ids_of(tokenizer))
    handle.remove()
    assert seen == [1]


def test_a_model_without_layers_or_head_is_named() -> None:
    hf, _ = tiny("llama")
    with pytest.raises(ElicitError) as caught:
        arch.get_layout(hf.model, name="org/model")
    assert str(caught.value).startswith("org/model (architecture llama) is not a decoder-only language model")
    assert "no language-model head was found in LlamaModel" in str(caught.value)
    with pytest.raises(ElicitError, match="expected a transformers model or a PeftModel, got SimpleNamespace"):
        arch.get_decoder_layers(SimpleNamespace())


def test_where_the_layers_of_a_kind_are_is_known_without_weights() -> None:
    assert arch.find_layers_path("gpt2") == "transformer.h"
    assert arch.find_layers_path("opt") == "model.decoder.layers"
    assert arch.find_layers_path("gemma3_text") == "model.layers"
    assert arch.find_layers_path("nobodys") is None


@pytest.mark.parametrize("layer", [-1, 3, True, "2", 1.0])
def test_a_layer_that_does_not_exist(layer: Any) -> None:
    hf, _ = tiny("llama")
    assert [arch.check_layer(hf, i) for i in range(3)] == [0, 1, 2]
    with pytest.raises(ElicitError) as caught:
        arch.check_layer(hf, layer)
    assert str(caught.value) == (
        f"layer {layer!r} does not exist: this llama model has 3 layers. Type a layer from 0 to 2."
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_tiny_models_are_reproducible_and_not_constant(name: str) -> None:
    """What the other tests rest on: greedy text that depends on the prompt, and seeds that matter."""
    hf, tokenizer = tiny(name)
    twin, _ = tiny(name)
    other, _ = tiny(name, seed=1)
    texts = set()
    for prompt in ("Q: 3+4=", "hello", "zz9!"):
        ids = ids_of(tokenizer, prompt)
        a, b, c = (
            m.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False)[0, ids.shape[1] :]
            for m in (hf, twin, other)
        )
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
        texts.add(tokenizer.decode(a))
    assert len(texts) == 3
    assert tokenizer.decode(ids_of(tokenizer, "a b\n~")[0], skip_special_tokens=True) == "a b\n~"
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3


@pytest.mark.parametrize("name", RELATED)
def test_related_architectures_are_sampled_scored_and_steered_as_transformers_does(name: str, tmp_path: Path) -> None:
    """Mixed lengths, past any window, steered at every position; the reference adds the vector with its own hook."""
    hf, tokenizer = tiny(name)
    hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    base = elicit.load(str(tmp_path))
    prompts = ["3+4=", "Q: what is 12 plus 345, please?\nA:"]
    vector = torch.randn(base.d_model, generator=torch.Generator().manual_seed(0))
    vector /= vector.norm()
    size = base.residual_norms.medians[1]
    texts = []
    for strength in (0.0, 1.0):
        handle = hf.model.layers[1].register_forward_hook(lambda *given, by=strength * size: given[-1] + by * vector)
        with base.steer(vector, layer=1, strength=strength, positions="all"):
            ours = [one[0] for one in base.sample(prompts, decoding=Decoding(max_new_tokens=16))]
            scores = base.score(prompts, [one.text for one in ours])
        for prompt, completion, scored in zip(prompts, ours, scores, strict=True):
            ids = torch.tensor([base.encode(prompt)])
            theirs = hf.generate(ids, max_new_tokens=16, do_sample=False, suppress_tokens=[0])[0, ids.shape[1] :]
            assert list(completion.tokens) == theirs[: len(completion.tokens)].tolist()
            whole = torch.cat([ids, torch.tensor([base.continuation(completion.text)])], dim=1)
            with torch.no_grad():
                logits = hf(whole).logits[0, ids.shape[1] - 1 : -1].float()
            logits[:, 0] = -torch.inf  # the pad token, which the lab never says
            expected = logits.log_softmax(-1).gather(1, whole[0, ids.shape[1] :, None])[:, 0]
            torch.testing.assert_close(torch.tensor(scored), expected, rtol=1e-4, atol=1e-4)
        handle.remove()
        texts.append([one.text for one in ours])
    assert texts[0] != texts[1]
