"""The bridge shows the model it was built from, and leaves that model alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from elicit.errors import ElicitError
from elicit.loading import bridge_view, weights_hash
from tests.support.tiny import ARCHITECTURES, RELATED, tiny

TEXT = "Q: 3+4*5 mod 7, and so on\nA:"


def logits_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found = model(ids)
    return found if isinstance(found, torch.Tensor) else found.logits


@pytest.mark.parametrize("name", ARCHITECTURES + RELATED)
def test_same_logits_shared_weights_original_untouched(name: str, tmp_path: Path) -> None:
    hf, tokenizer = tiny(name)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    attention, before = hf.config._attn_implementation, weights_hash(hf)
    bridge = bridge_view(hf, tokenizer)
    torch.testing.assert_close(logits_of(bridge, ids), logits_of(hf, ids), rtol=1e-4, atol=1e-4)

    # An update in place of every parameter in turn (as an optimizer does it) is seen.
    generator = torch.Generator().manual_seed(0)
    for part, parameter in hf.named_parameters():
        with torch.no_grad():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        new = logits_of(hf, ids)
        torch.testing.assert_close(logits_of(bridge, ids), new, rtol=1e-3, atol=1e-3, msg=part)

    assert weights_hash(hf) != before
    assert hf.config._attn_implementation == attention
    hf.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(logits_of(again, ids), logits_of(hf, ids))
    assert {p.data_ptr() for p in hf.parameters()} <= {p.data_ptr() for p in bridge.original_model.parameters()}
    _, cache = bridge.run_with_cache(ids)
    with torch.no_grad():
        states = hf(ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(cache["blocks.0.hook_out"], states[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES + RELATED)
def test_an_adapter_is_seen_or_refused(name: str) -> None:
    hf, tokenizer = tiny(name)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    base = logits_of(hf, ids)
    wrapped = get_peft_model(hf, LoraConfig(r=2, target_modules="all-linear", fan_in_fan_out=name == "gpt2")).eval()
    torch.manual_seed(0)
    for part, parameter in wrapped.named_parameters():
        if "lora_B" in part:
            torch.nn.init.normal_(parameter, std=0.5)
    tuned = logits_of(wrapped, ids)
    assert not torch.allclose(tuned, base, atol=0.1)
    if name in ("gpt2", "gpt_neox", "phi3"):
        with pytest.raises(ElicitError, match=rf"does not see adapters on {name}.*hf = hf.merge_and_unload\(\)"):
            bridge_view(wrapped, tokenizer)
        wrapped = wrapped.merge_and_unload()
    torch.testing.assert_close(logits_of(bridge_view(wrapped, tokenizer), ids), tuned, rtol=1e-3, atol=1e-3)


def test_the_bridge_has_its_own_tokenizer() -> None:
    hf, tokenizer = tiny("llama")
    tokenizer.init_kwargs.pop("name_or_path", None)  # as one made in memory
    tokenizer.add_tokens(["<new>"])
    side = tokenizer.padding_side
    bridge = bridge_view(hf, tokenizer)
    assert bridge.tokenizer is not tokenizer
    assert bridge.tokenizer("3+4<new>").input_ids == tokenizer("3+4<new>").input_ids
    assert bridge.cfg.tokenizer_prepends_bos
    assert (tokenizer.padding_side, tokenizer.pad_token, tokenizer.eos_token) == (side, "<pad>", "<eos>")
