"""Sizes of a model that plans count with: against published ones, and against what torch itself counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from elicit.comparison.planning import memory, roofline
from elicit.comparison.planning.token_costs import Price
from elicit.method import CostEstimate, Generation, TokenLengths
from elicit.training.parameters import make_trainable
from tests.support.bases import Way, base, folder
from tests.support.planning import profile_model_in

LLAMA = Path(__file__).parents[2] / "experiments" / "configs" / "llama-3.1-8b"
QWEN = {"vocab_size": 151936, "tie_word_embeddings": True, "num_key_value_heads": 2, "num_attention_heads": 14}
#: config -> parameters as published.
PUBLISHED: dict[str, tuple[dict[str, Any], int]] = {
    "gpt2": ({"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}, 124_439_808),
    "qwen2": ({**QWEN, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24}, 494_032_768),
    "qwen3": (
        {
            **QWEN,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
        },
        596_049_920,
    ),
    "gemma2": (
        {
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "vocab_size": 256000,
        },
        2_614_341_888,
    ),
    "mixtral": (
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "vocab_size": 32000,
        },
        46_702_792_704,
    ),
}


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_config_alone_gives_the_published_number_of_parameters(family: str, tmp_path: Path) -> None:
    config, published = PUBLISHED[family]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, "torch_dtype": "bfloat16", **config}))
    found = profile_model_in(tmp_path)
    assert (found.values, found.basis, found.dtype) == (published, "config", "bfloat16")
    if family == "mixtral":  # 12.9 billion are used for a token
        assert found.matrices + found.embedding == pytest.approx(12.88e9, rel=1e-3)
        assert found.read_bytes(1) == pytest.approx(2 * found.matrices)
        assert found.read_bytes(1e3) == pytest.approx(2 * (published - found.embedding))


def test_llama_3_1_8b_from_the_config_that_is_here() -> None:
    found = profile_model_in(LLAMA)
    assert (found.values, found.itemsize) == (8_030_261_248, 2)
    assert found.kv == 131_072  # 2 x 32 layers x 8 heads x 128 x 2 bytes
    assert found.matrices == 8_030_261_248 - 128_256 * 4096


def eager(way: Way) -> Any:
    """The model with attention as plain products, which torch's counter sees."""
    return AutoModelForCausalLM.from_pretrained(folder(way), attn_implementation="eager", dtype=torch.float32)


@pytest.mark.parametrize("way", [Way("llama", False), Way("llama", True), Way("qwen3", True)], ids=lambda way: way.name)
def test_flops_are_those_that_torch_counts(way: Way) -> None:
    """Prompts with the head once, and a step that attends to all that went before."""
    hf, length, rows = eager(way), 24, 3
    found = profile_model_in(folder(way), dtype=way.levels["dtype"])
    ids = torch.randint(5, 40, (rows, length))
    with torch.no_grad(), FlopCounterMode(display=False) as prompts:
        cache = hf(ids, use_cache=True, logits_to_keep=1).past_key_values
    price = Price((Generation(0, 0, rows, length),), 0, 0)
    assert roofline.count_flops(price, found, "none") == pytest.approx(prompts.get_total_flops(), rel=0.02)
    with torch.no_grad(), FlopCounterMode(display=False) as step:
        hf(ids[:, :1], past_key_values=cache, use_cache=True)
    one = Price((Generation(rows, 1, 0, length + 0.5),), 0, 0)
    assert roofline.count_flops(one, found, "none") == pytest.approx(step.get_total_flops(), rel=0.02)


def test_training_flops_are_those_that_torch_counts() -> None:
    """Forward and backward: three times the products where all is trained, twice where the weights are frozen."""
    way = Way("llama", False)
    model, found = eager(way), profile_model_in(folder(way), dtype="float32")
    ids = torch.randint(5, 40, (2, 8))
    with FlopCounterMode(display=False) as counted:
        model(ids, labels=ids).loss.backward()
    attention = 3 * 4 * found.layers * found.attention * 8 * 16
    price = Price((), 0, 16)
    assert roofline.count_flops(price, found, "full") + attention == pytest.approx(counted.get_total_flops(), rel=0.02)
    assert roofline.count_flops(price, found, "adapter") == pytest.approx(
        2 / 3 * roofline.count_flops(price, found, "full")
    )


def test_full_training_of_a_bfloat16_model_takes_sixteen_bytes_a_value() -> None:
    way = next(Way("llama", turned) for turned in (False, True) if Way("llama", turned).levels["dtype"] == "bfloat16")
    model = make_trainable(base(way)).hf
    adam = torch.optim.AdamW(model.parameters())
    model(torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    adam.step()
    parameters = list(model.parameters())
    tensors = [*parameters, *(value.grad for value in parameters if value.grad is not None)]
    tensors += [state[name] for state in adam.state.values() for name in ("exp_avg", "exp_avg_sq")]
    held = sum(tensor.nbytes for tensor in tensors)
    found = profile_model_in(folder(way))._replace(values=10**9)
    lengths = TokenLengths(10, 10, 10, 10, 10, 10, found.layers)
    none, full = (
        memory.estimate_memory_gib(found, CostEstimate(Generation(1, 10, 1, 10), training=training), lengths, 8)  # type: ignore[arg-type]
        for training in ("none", "full")
    )
    values = sum(parameter.numel() for parameter in parameters)
    assert full - none == pytest.approx(1e9 * held / values / 2**30, rel=0.05)
