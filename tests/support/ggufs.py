"""GGUF files written by the tests: tiny models as llama.cpp's converter would write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

TOKENS = [*bytes_to_unicode().values(), "he", "ll", "hell", "<|endoftext|>", "<|start|>"]
MERGES = ["h e", "l l", "he ll"]
EOS, BOS = len(TOKENS) - 2, len(TOKENS) - 1
SIZE = {
    "vocab_size": len(TOKENS),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.layers": "blk",
}


class Vocabulary(NamedTuple):
    """What a file says of its tokenizer."""

    tokens: list[str] = TOKENS
    control: frozenset[str] = frozenset(TOKENS[-2:])
    merges: list[str] = MERGES
    bos: int = BOS
    eos: int = EOS
    pre: str = "gpt-2"
    add_bos: bool | None = None
    others: Mapping[str, int] = {}
    """More ids, by their key."""
    sentencepiece: bool = False
    """A SentencePiece model, not a byte-level one: pieces have scores, and merges follow from these."""
    add_space: bool | None = None


def llama(**options: Any) -> Any:
    torch.manual_seed(0)
    hf = LlamaForCausalLM(LlamaConfig(**{**SIZE, "rope_theta": 5000.0, "tie_word_embeddings": False, **options}))
    for parameter in hf.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3)
    return hf.eval()


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """GGUF stores Llama's queries and keys with the halves of each head interleaved."""
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)


def write(
    path: Path,
    hf: Any,
    *,
    arch: str = "llama",
    quant: str = "F32",
    extra: dict[str, Any] | None = None,
    vocabulary: Vocabulary = Vocabulary(),  # noqa: B008 - immutable
) -> Path:
    """The model as llama.cpp's converter would write it, with a small tokenizer."""
    import gguf

    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(SIZE["max_position_embeddings"])
    writer.add_embedding_length(SIZE["hidden_size"])
    writer.add_block_count(SIZE["num_hidden_layers"])
    writer.add_feed_forward_length(SIZE["intermediate_size"])
    writer.add_head_count(SIZE["num_attention_heads"])
    writer.add_head_count_kv(SIZE["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(SIZE["rms_norm_eps"])
    writer.add_rope_freq_base(hf.config.rope_parameters["rope_theta"])
    if arch == "llama":
        writer.add_rope_dimension_count(8)
    writer.add_tokenizer_model("llama" if vocabulary.sentencepiece else "gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    if vocabulary.sentencepiece:
        writer.add_token_scores([-float(i) for i in range(len(vocabulary.tokens))])
    if vocabulary.add_space is not None:
        writer.add_add_space_prefix(vocabulary.add_space)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types([3 if token in vocabulary.control else 1 for token in vocabulary.tokens])
    if not vocabulary.sentencepiece:
        writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(vocabulary.bos)
    writer.add_eos_token_id(vocabulary.eos)
    if vocabulary.add_bos is not None:
        writer.add_add_bos_token(vocabulary.add_bos)
    for key, number in vocabulary.others.items():
        writer.add_uint32(f"tokenizer.ggml.{key}", number)
    for name, tensor in hf.state_dict().items():
        if name == "lm_head.weight" and hf.config.tie_word_embeddings:
            continue
        if arch == "llama" and "q_proj" in name:
            tensor = interleaved(tensor, SIZE["num_attention_heads"])
        if arch == "llama" and "k_proj" in name:
            tensor = interleaved(tensor, SIZE["num_key_value_heads"])
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        kind = gguf.GGMLQuantizationType[quant if tensor.ndim > 1 else "F32"]
        writer.add_tensor(name, gguf.quants.quantize(tensor.numpy(), kind), raw_dtype=kind)
    for name, value in (extra or {}).items():
        if isinstance(value, np.ndarray):
            writer.add_tensor(name, value)
        else:
            writer.add_string(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
