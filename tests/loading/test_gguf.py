"""GGUF files that the tests write themselves, against the same weights in transformers."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from elicit.errors import ElicitError
from elicit.loading import gguf as under_test
from elicit.loading import load_transformers, weights_hash
from tests.support.ggufs import BOS, EOS, SIZE, TOKENS, llama, write

gguf = pytest.importorskip("gguf")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELICIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


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
    assert loaded.tokenizer.pad_token_id is None, "none is invented"
    torch.testing.assert_close(logits(loaded.hf, IDS), logits(hf, IDS))
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
    (folder,) = cache.glob("[0-9a-f]*")
    assert len(folder.name) == 64
    monkeypatch.setattr(under_test, "_load_dequantised", lambda *_: pytest.fail("converted a second time"))
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
    assert {path.suffix for path in cache.iterdir()} <= {".lock", ".hashes"}
    monkeypatch.undo()
    monkeypatch.setenv("ELICIT_CACHE", str(cache.parent))
    torch.testing.assert_close(logits(load_transformers(path).hf, IDS)[..., : len(TOKENS)], logits(llama(), IDS))


@pytest.mark.parametrize("damage", ["cut weights", "cut header", "empty", "not gguf", "noise"])
def test_a_damaged_file(tmp_path: Path, cache: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(under_test, "_convert_to_safetensors", lambda *_: pytest.fail("began the slow part"))
    text = refusal(path)
    begins = {"cut weights": f"{path} is cut: it has {len(data) - 2000:,} bytes, but its tensors need {len(data):,}."}
    assert text.startswith(begins.get(damage, f"cannot read {path} as GGUF: "))
    assert text.endswith("The file may be incomplete: compare its size or hash with the source, and fetch it again.")
    assert not cache.exists()


def test_an_unsupported_architecture(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.gguf", llama(), arch="nobodys")
    text = refusal(path)
    assert text.startswith(f"cannot read {path} as GGUF: ")
    assert "nobodys" in text


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


def test_a_slow_conversion_tells_of_itself_and_a_full_memory_stops_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "tiny.gguf", llama())
    monkeypatch.setattr(under_test.memory, "free_cpu", lambda: 1 << 28)
    assert refusal(path).startswith("tiny.gguf cannot be converted here: de-quantising it takes 0.5 GiB of memory, and")
    monkeypatch.undo()
    monkeypatch.setenv("ELICIT_CACHE", str(cache.parent))
    capfd.readouterr()
    load_transformers(path)
    captured = capfd.readouterr()
    first, last = captured.err.splitlines()
    assert first == "elicit: converting tiny.gguf (0 MB, 0 M parameters) to safetensors once: about 20 s ..."
    assert last.startswith("elicit: converted tiny.gguf in ")
    assert captured.out == ""
    load_transformers(path)
    assert capfd.readouterr().err == ""
