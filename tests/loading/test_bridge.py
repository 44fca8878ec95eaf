"""The bridge shows the model it was built from, and leaves that model alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import elicit
from elicit.errors import ElicitError
from elicit.loading import bridge_view, weights_hash
from elicit.loading.offline import ProgramBlocked, block_installs
from tests.loading.test_text_part import gemma3
from tests.support.families import family
from tests.support.tiny import ARCHITECTURES, RELATED, char_tokenizer, tiny

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


def test_building_a_bridge_starts_no_program(tmp_path: Path) -> None:
    """TransformerLens would install torchvision for a multimodal model; programs that it may find note their calls."""
    for name in ("pip", "uv"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "$0 $@" >> {tmp_path}/calls\n')
        program.chmod(0o755)
    before = {name: os.environ.get(name) for name in ("PATH", "PIP_NO_INDEX", "HF_HUB_OFFLINE")}
    os.environ["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    try:
        subprocess.run(["uv", "pip", "install", "probe"], check=True)
        assert (tmp_path / "calls").read_text().endswith("uv pip install probe\n")
        with block_installs():
            assert os.environ["PIP_NO_INDEX"] == os.environ["HF_HUB_OFFLINE"] == "1"
            for command in (["uv", "pip", "install", "torchvision"], [sys.executable, "-m", "pip", "--version"]):
                with pytest.raises(ProgramBlocked, match="not started"):
                    subprocess.check_call(command)
        tokenizer = char_tokenizer()
        bridge_view(gemma3(len(tokenizer)), tokenizer)  # it asks for a processor, and then for pip
        assert (tmp_path / "calls").read_text().count("\n") == 1
    finally:
        os.environ["PATH"] = str(before["PATH"])
    assert {name: os.environ.get(name) for name in before} == before
    subprocess.run(["true"], check=True)


def test_an_architecture_without_a_bridge_is_said_in_one_line() -> None:
    hf, tokenizer = family("solar_open")
    model = elicit.wrap(hf, tokenizer, name="mine")
    with pytest.raises(ElicitError, match="TransformerLens has no working bridge for the architecture solar_open"):
        _ = model.bridge
    assert len(model.sample(["3+4="])) == 1
