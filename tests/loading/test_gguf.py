"""GGUF files that the tests write themselves, against the same weights in transformers."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

from elicit.errors import ElicitError
from elicit.loading import gguf as under_test
from elicit.loading import load_transformers, weights_hash

gguf = pytest.importorskip("gguf")

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


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELICIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


def llama(**options: Any) -> Any:
    torch.manual_seed(0)
    hf = LlamaForCausalLM(LlamaConfig(**SIZE, **{"rope_theta": 5000.0, "tie_word_embeddings": False, **options}))
    for parameter in hf.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3)
    return hf.eval()


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """GGUF stores Llama's queries and keys with the halves of each head interleaved."""
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)


def write(path: Path, hf: Any, *, arch: str = "llama", quant: str = "F32", extra: dict[str, Any] | None = None) -> Path:
    """The model as llama.cpp's converter would write it, with a small byte-level tokenizer."""
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
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (len(TOKENS) - 2) + [3, 3])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
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


def logits(hf: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return hf(ids).logits


def refusal(path: Path) -> str:
    with pytest.raises(ElicitError) as caught:
        load_transformers(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


IDS = torch.arange(40, 70)[None]


def test_same_logits_as_in_transformers(tmp_path: Path) -> None:
    hf = llama()
    loaded = load_transformers(write(tmp_path / "tiny.gguf", hf))
    assert (loaded.source.kind, loaded.hf.dtype) == ("gguf", torch.float32)
    # <|pad|> was added: one more row, which shifts nothing.
    assert loaded.tokenizer.pad_token_id == len(TOKENS)
    torch.testing.assert_close(logits(loaded.hf, IDS)[..., : len(TOKENS)], logits(hf, IDS))
    tokenizer = loaded.tokenizer
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (BOS, EOS)
    ids = tokenizer("hello <|endoftext|>", add_special_tokens=False).input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["hell", "o", "Ġ", "<|endoftext|>"]
    loaded.hf.save_pretrained(tmp_path / "again")


def test_a_quantised_tied_qwen2(tmp_path: Path) -> None:
    torch.manual_seed(0)
    hf = Qwen2ForCausalLM(Qwen2Config(**SIZE, tie_word_embeddings=True)).eval()
    for parameter in hf.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3)
    path = write(tmp_path / "tiny.gguf", hf, arch="qwen2", quant="Q8_0")
    loaded = load_transformers(path)
    assert loaded.hf.dtype == torch.bfloat16
    assert loaded.hf.lm_head.weight.data_ptr() == loaded.hf.model.embed_tokens.weight.data_ptr()
    # The same weights, quantised and rounded here.
    reference = hf.state_dict()
    for name, tensor in loaded.hf.state_dict().items():
        kind = gguf.GGMLQuantizationType.Q8_0
        if tensor.ndim > 1:
            blocks = gguf.quants.quantize(reference[name].numpy(), kind)
            expected = torch.from_numpy(gguf.quants.dequantize(blocks, kind)).bfloat16()
        else:
            expected = reference[name].bfloat16()
        torch.testing.assert_close(tensor[: expected.shape[0]], expected, rtol=0, atol=0, msg=name)


def test_it_is_converted_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "tiny.gguf", llama())
    first = load_transformers(path)
    (folder,) = cache.iterdir()
    assert len(folder.name) == 64
    monkeypatch.setattr(under_test, "_read", lambda _: pytest.fail("converted a second time"))
    # The name of the file does not matter, its content does.
    again = load_transformers(path.rename(tmp_path / "renamed.gguf"))
    assert again.weights_sha256 == first.weights_sha256 == weights_hash(again.hf)
    write(path, llama(rope_theta=1e4))
    with pytest.raises(pytest.fail.Exception):
        load_transformers(path)


def test_a_killed_conversion_leaves_nothing_to_trip_over(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "tiny.gguf", llama())
    real = LlamaForCausalLM.save_pretrained

    def killed(self: Any, folder: Path, **options: Any) -> None:
        real(self, folder, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", killed)
    with pytest.raises(KeyboardInterrupt):
        load_transformers(path)
    assert list(cache.iterdir()) == []
    # A process that cannot even clean up leaves a folder of another name.
    monkeypatch.setattr(under_test.shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        load_transformers(path)
    monkeypatch.undo()
    monkeypatch.setenv("ELICIT_CACHE", str(cache.parent))
    torch.testing.assert_close(logits(load_transformers(path).hf, IDS)[..., : len(TOKENS)], logits(llama(), IDS))


@pytest.mark.parametrize("damage", ["cut weights", "cut header", "empty", "not gguf", "noise"])
def test_a_damaged_file(tmp_path: Path, cache: Path, damage: str) -> None:
    path = write(tmp_path / "tiny.gguf", llama())
    data = path.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, 3000, dtype=np.uint8).tobytes()
    path.write_bytes(
        {
            "cut weights": data[:-2000],
            "cut header": data[:700],
            "empty": b"",
            "not gguf": b"PK" + data,
            "noise": data[:100] + noise + data[3100:],
        }[damage]
    )
    text = refusal(path)
    assert text.startswith(f"cannot read {path} as GGUF: ")
    assert text.endswith("The file may be incomplete (compare its size or hash with the source), or of a kind that "
                         "transformers does not convert.")  # fmt: skip
    assert not cache.exists() or list(cache.iterdir()) == []


def test_an_unsupported_architecture(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.gguf", llama(), arch="starcoder2")
    assert "tiny.gguf has the architecture 'starcoder2', which is not supported" in refusal(path)


@pytest.mark.parametrize("fault", ["a file is in the way", "disk full"])
def test_a_cache_that_cannot_be_written(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = write(tmp_path / "tiny.gguf", llama())
    if fault == "disk full":

        def full(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", full)
    else:
        cache.parent.write_text("")
    text = refusal(path)
    assert text.startswith(f"cannot write the converted model to {cache}: ")
    assert text.endswith("Free some space, or set ELICIT_CACHE to a folder that can be written.")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "tiny.gguf", llama())
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert refusal(path) == (
        "Reading tiny.gguf needs the package 'gguf', which is not installed. Type: pip install 'elicit-reasoning[gguf]'"
    )


def test_llama_3_scaling_survives(tmp_path: Path) -> None:
    """transformers drops rope_freqs.weight; a long context shows it."""
    rope = {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_theta": 500000.0,
    }
    hf = llama(rope_theta=None, rope_parameters=rope)
    plain = 500000.0 ** -(np.arange(0, 8, 2) / 8)
    divisors = (plain / hf.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    assert divisors.max() == pytest.approx(32)
    path = write(tmp_path / "tiny.gguf", hf, extra={"rope_freqs.weight": divisors})
    loaded = load_transformers(path)
    far = torch.tensor([[0, 900, 5_000, 30_000, *range(30_001, 30_027)]])
    with torch.no_grad():
        ours = loaded.hf(IDS, position_ids=far).logits[..., : len(TOKENS)]
        theirs = hf(IDS, position_ids=far).logits
        unscaled = llama(rope_theta=5e5)(IDS, position_ids=far).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(ours, unscaled, atol=0.1)

    other = write(tmp_path / "other.gguf", hf, extra={"rope_freqs.weight": divisors[::-1].copy()})
    assert "scales its rotary frequencies (rope_freqs.weight) by another rule" in refusal(other)
    harmless = {"llama.rope.scaling.type": "none", "rope_freqs.weight": np.ones(4, np.float32)}
    load_transformers(write(tmp_path / "plain.gguf", llama(), extra=harmless))
    yarn = write(tmp_path / "yarn.gguf", llama(), extra={"llama.rope.scaling.type": "yarn"})
    assert "yarn.gguf scales its rotary positions (rope.scaling.type)" in refusal(yarn)
