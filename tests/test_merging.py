"""Merged folders say what the policy says, in transformers and in the lab: tied, untied, or parted by the merge."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from elicit import adapters, load
from elicit.errors import ElicitError
from elicit.merging import save_merged
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.weights import FullWeights
from tests.support.models import tiny_model
from tests.training.support import untouched

IDS = torch.tensor([[1, 20, 30, 40, 50, 22, 33], [5, 4, 3, 2, 1, 6, 7]])


def _probabilities(hf: Any) -> torch.Tensor:
    with torch.no_grad():
        return hf(input_ids=IDS, use_cache=False).logits.float().softmax(-1)  # type: ignore[no-any-return]


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest total variation of a next token."""
    return float((one - other).abs().sum(-1).max() / 2)


def _adapter(base: BaseModel, config: Any, folder: Path) -> torch.Tensor:
    """A folder as somebody else's training leaves it; the probabilities that plain peft reads from it."""
    torch.manual_seed(0)
    wrapped = get_peft_model(copy.deepcopy(base.hf), config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    wrapped.save_pretrained(folder)
    return _probabilities(PeftModel.from_pretrained(copy.deepcopy(base.hf), folder).eval())


def _lora(**options: Any) -> LoraConfig:
    return LoraConfig(task_type="CAUSAL_LM", r=4, **options)


#: (architecture, what is adapted, whether one of embedding and head comes to differ from the other)
CASES: dict[str, tuple[str, Any, bool]] = {
    "tied, attention": ("qwen2", _lora(target_modules=["q_proj"]), False),
    "tied, embedding": ("qwen2", _lora(target_modules=["q_proj", "embed_tokens"]), True),
    "tied, head": ("qwen2", _lora(target_modules=["q_proj", "lm_head"]), True),
    "tied, both": ("gemma3", _lora(target_modules=["q_proj", "embed_tokens", "lm_head"]), True),
    "tied, both whole": ("qwen2", _lora(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]), True),
    "tied, head whole": ("gemma3", _lora(target_modules=["q_proj"], modules_to_save=["lm_head"]), True),
    "tied, some tokens": ("qwen2", _lora(target_modules=["q_proj"], trainable_token_indices=[1, 20, 22]), False),
    "tied, dora, head": ("qwen2", _lora(target_modules=["q_proj", "lm_head"], use_dora=True), True),
    "tied, rslora, embedding": ("qwen2", _lora(target_modules=["embed_tokens"], use_rslora=True), True),
    "tied, biases": ("qwen2", _lora(target_modules=["q_proj"], bias="all"), False),
    "tied, ia3": ("qwen2", IA3Config(target_modules=["k_proj"], feedforward_modules=[], task_type="CAUSAL_LM"), False),
    "gpt2": ("gpt2", _lora(target_modules=["c_attn", "c_fc"], fan_in_fan_out=True), False),
    "gpt2, embedding": ("gpt2", _lora(target_modules=["c_attn", "wte"], fan_in_fan_out=True), True),
    "gpt2, head": ("gpt2", _lora(target_modules=["lm_head"]), True),
    "untied, both": ("llama", _lora(target_modules=["q_proj", "embed_tokens", "lm_head"]), False),
    "untied, some tokens": ("llama", _lora(target_modules=["q_proj"], trainable_token_indices=[1, 20]), False),
}


@pytest.mark.parametrize("case", CASES)
def test_the_folder_says_what_the_policy_says(tmp_path: Path, case: str) -> None:
    arch, config, parted = CASES[case]
    base = tiny_model(arch)
    before, tied = untouched(base), bool(base.hf.config.tie_word_embeddings)
    assert tied == (arch != "llama"), "otherwise this tests another case"
    expected = _adapter(base, copy.deepcopy(config), tmp_path / "adapter")
    assert _apart(expected, _probabilities(base.hf)) > 0.01
    policy = Policy.from_peft(base, tmp_path / "adapter")
    with policy.apply():
        assert _apart(_probabilities(base.hf), expected) < 1e-6
    folder = save_merged(policy, tmp_path / "merged")
    assert untouched(base) == before
    assert _apart(_probabilities(AutoModelForCausalLM.from_pretrained(folder).eval()), expected) < 1e-5
    assert _apart(_probabilities(load(str(folder), dtype="float32").hf), expected) < 1e-5
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] == (tied and not parted)
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert ("lm_head.weight" in set(file.keys())) == (parted or not tied)
    # The adapter exported from the policy is the one that came in.
    (tmp_path / "saved").mkdir()
    policy.save(tmp_path / "saved")
    again = _probabilities(PeftModel.from_pretrained(copy.deepcopy(base.hf), tmp_path / "saved").eval())
    assert torch.equal(again, expected)


@pytest.mark.parametrize("arch", ["qwen2", "gpt2", "gemma3"])
def test_all_weights_of_a_tied_model(tmp_path: Path, arch: str) -> None:
    base = tiny_model(arch)
    before = untouched(base)
    generator = torch.Generator().manual_seed(2)
    trained = {n: p + torch.randn(p.shape, generator=generator) * 0.05 for n, p in base.hf.named_parameters()}
    policy = Policy(base, weights=FullWeights(trained))
    with policy.apply():
        expected = _probabilities(base.hf)
    folder = save_merged(policy, tmp_path / "merged")
    assert untouched(base) == before
    assert _apart(_probabilities(AutoModelForCausalLM.from_pretrained(folder).eval()), expected) < 1e-5
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"]
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in set(file.keys())


def test_halved_after_parting(tmp_path: Path) -> None:
    base = tiny_model("qwen2")
    expected = _adapter(base, _lora(target_modules=["embed_tokens"]), tmp_path / "adapter")
    policy = Policy.from_peft(base, tmp_path / "adapter")
    half = AutoModelForCausalLM.from_pretrained(save_merged(policy, tmp_path / "half", dtype="bfloat16")).eval()
    assert half.dtype == torch.bfloat16
    assert 0 < _apart(_probabilities(half), expected) < 0.3 * _apart(_probabilities(base.hf), expected)


def test_a_merge_that_says_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it would be if peft merged wrongly."""
    from peft.tuners.lora.layer import Linear

    base = tiny_model("qwen2")
    _adapter(base, _lora(target_modules=["q_proj"]), tmp_path / "adapter")
    policy = Policy.from_peft(base, tmp_path / "adapter")
    right = Linear.get_delta_weight
    monkeypatch.setattr(Linear, "get_delta_weight", lambda self, adapter: 1.5 * right(self, adapter))
    with pytest.raises(ElicitError, match="cannot be merged"):
        save_merged(policy, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    base = tiny_model("qwen2")
    name, parameter = next(iter(base.hf.named_parameters()))
    policy = Policy(base, weights=FullWeights({name: torch.zeros(3, parameter.shape[1])}))
    with pytest.raises(ElicitError, match=r"has shape \[3, \d+\] here and \["), policy.apply():
        pass
    with pytest.raises(ElicitError, match="belong to another model"):
        save_merged(policy, tmp_path / "merged")


def test_ranks_that_no_tensor_has_are_refused_before_they_are_made(tmp_path: Path) -> None:
    base = tiny_model("qwen2")
    _adapter(base, _lora(target_modules=["q_proj"]), tmp_path)
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())
    for changed in ({"r": 10**9}, {"r": -4}, {"r": "4"}, {"r": True}, {"rank_pattern": {"q_proj": 10**12}}):
        path.write_text(json.dumps(config | changed))
        with pytest.raises(ElicitError, match=r"adapter_config\.json: (r|rank_pattern\.q_proj) is"):
            adapters.read_adapter(tmp_path)
