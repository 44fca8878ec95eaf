"""Tiny random models of every decoder-only family that transformers has a causal language model for.

A family's config is filled with small numbers wherever it has a field of that name; what it needs beyond that is in
`_NEEDS`. Weights are drawn wide, as in `tiny`.
"""

from __future__ import annotations

from typing import Any

import torch

from tests.support.tiny import PAD, char_tokenizer, norm_mean

#: What most people bring, and one of every way to treat positions, caches and logits.
COMMON = (
    *("bloom", "codegen", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "ernie4_5", "exaone4", "falcon"),
    *("falcon_alibi", "glm", "glm4", "gpt_bigcode", "gpt_neo", "gpt_oss", "gptj", "granite", "granitemoe", "helium"),
    *("hunyuan_v1_dense", "lfm2", "llama4_text", "mixtral", "mpt", "nemotron", "olmoe", "opt", "opt_projected", "phi"),
    *("qwen2_moe", "qwen3_moe", "seed_oss", "stablelm", "starcoder2", "xglm"),
)
#: Tried beside those with the slow tests.
OTHERS = (
    *("afmoe", "apertus", "arcee", "aria_text", "axk1", "bamba", "biogpt", "bitnet", "cohere2_moe", "ctrl", "cwm"),
    *("diffllama", "doge", "dots1", "ernie4_5_moe", "exaone_moe", "flex_olmo", "gemma4_text", "glm4_moe"),
    *("glm4_moe_lite", "gpt_neox_japanese", "granitemoeshared", "granitemoehybrid", "hunyuan_v1_moe", "hyperclovax"),
    *("inkling_text", "jais2", "jamba", "jetmoe", "minicpm3", "minimax_m2", "ministral", "ministral3"),
    *("modernbert-decoder", "nanochat", "olmo_hybrid", "persimmon", "phimoe", "qwen3_next", "solar_open"),
    *("vaultgemma", "youtu", "zaya"),
)  # fmt: skip
#: Family -> the check that refuses it: transformers itself treats these in a way that the lab does not.
REFUSED = {
    "deepseek_v4": "norm",  # several residual streams
    "mamba": "hidden states",  # the stream after a layer is not what the layer returns
    "minimax": "cache",
    "openai-gpt": "cache",  # has none
    "recurrent_gemma": "left padding",  # sees the padding
}

_SIZES = dict(
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "word_embed_proj_dim", "lru_width"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "block_ff_dim", "shared_expert_intermediate_size"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "attention_heads", "rotary_dim"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 256),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "expert_ffn_hidden_size", "q_lora_rank"), 16),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "first_k_dense_replace", "mamba_n_groups"), 1),
    **dict.fromkeys(("head_dim", "global_head_dim", "kv_lora_rank", "qk_nope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("sliding_window", "attention_window_size", "block_multiple_of", "num_heads", "state_size"), 8),
    **dict.fromkeys(("mamba_n_heads", "mamba_d_head", "mamba_d_state", "hidden_size_per_layer_input"), 8),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "num_experts_per_tok", "linear_num_key_heads"), 2),
    qk_rope_head_dim=4, linear_num_value_heads=4, conv_L_cache=3, mamba_expand=2, num_kv_shared_layers=0,
)  # fmt: skip
_ALL_HEADS = {"num_key_value_heads": 4}
_NEEDS: dict[str, dict[str, Any]] = {
    "axk1": {**_ALL_HEADS, "head_dim": 4},
    "bamba": {"attn_layer_indices": [1, 3]},
    "deepseek_v2": _ALL_HEADS,
    "deepseek_v3": {**_ALL_HEADS, "head_dim": 4},
    "falcon": {"new_decoder_architecture": True, "alibi": False},
    "falcon_alibi": {
        "new_decoder_architecture": False,
        "multi_query": False,
        "alibi": True,
        "bias": True,
        "num_kv_heads": 4,
    },
    "glm4_moe_lite": _ALL_HEADS,
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "minicpm3": _ALL_HEADS,
    "opt_projected": {"word_embed_proj_dim": 16, "do_layer_norm_before": False},
    "youtu": {**_ALL_HEADS, "head_dim": 4},
    "zaya": {"num_experts_per_tok": 1},
}
_VARIANTS = {"falcon_alibi": "falcon", "opt_projected": "opt"}


def family(name: str, **more: Any) -> tuple[Any, Any]:
    """(model in eval mode, tokenizer) of one family; `more` are fields of its config."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    tokenizer = char_tokenizer()
    kind = CONFIG_MAPPING[_VARIANTS.get(name, name)]
    fields = {*vars(kind()), *kind.attribute_map}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": len(tokenizer)}
    sizes = {**_SIZES, **special, "vocab_size_per_layer_input": len(tokenizer)}
    config = kind(**{key: value for key, value in sizes.items() if key in fields} | _NEEDS.get(name, {}) | more)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for path, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1 or path.endswith("bias") or "norm" in path or ".ln_" in path:
                wide = 0.2 if parameter.ndim > 1 else 0.05
                torch.nn.init.normal_(parameter, mean=norm_mean(path, name), std=wide)
    assert tokenizer.pad_token == PAD
    return model.eval(), tokenizer
