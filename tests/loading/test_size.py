"""Sizes from headers, against the models that transformers builds of the same files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import elicit
from elicit.errors import ElicitError
from elicit.loading import catalog, headers, load_transformers, size
from elicit.sampling.cache import cache_bytes_per_token
from tests.loading.test_load import hub_cache
from tests.support.ggufs import llama, write
from tests.support.tiny import ARCHITECTURES, tiny

gguf = pytest.importorskip("gguf")


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("sharded", [False, True])
def test_a_folder_is_as_big_as_its_model(name: str, sharded: bool, tmp_path: Path) -> None:
    hf, tokenizer = tiny(name, dtype=torch.bfloat16)
    hf.save_pretrained(tmp_path, max_shard_size="10KB" if sharded else "1GB")
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == sharded
    count = sum(parameter.numel() for parameter in hf.parameters())
    assert size.count_parameters(tmp_path) == count
    assert size.resolve_dtype(tmp_path) == "bfloat16"
    assert size.count_weight_bytes(tmp_path) == 2 * count
    assert size.count_weight_bytes(tmp_path, "float32") == 4 * count
    found = size.read_model_shape(tmp_path)
    assert found is not None
    assert (found.layers, found.d_model, found.vocabulary) == (3, 32, hf.get_input_embeddings().weight.shape[0])
    assert found.embedding == hf.get_input_embeddings().weight.numel()
    assert size.kv_bytes_per_token(tmp_path) == cache_bytes_per_token(hf)
    ids = tokenizer("hello", return_tensors="pt").input_ids
    cache = hf(ids, use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    if not name.startswith("gemma"):  # transformers drops what has left the window; the lab keeps it
        assert held == ids.shape[1] * size.kv_bytes_per_token(tmp_path)  # type: ignore[operator]


def test_organisms_are_held_in_float32() -> None:
    model = elicit.load("cued")
    count = sum(parameter.numel() for parameter in model.hf.parameters())
    # The pad token may have added a row.
    assert abs(size.count_parameters("cued") - count) <= model.d_model  # type: ignore[operator]
    assert size.count_weight_bytes("cued") == 4 * size.count_parameters("cued")  # type: ignore[operator]


def test_a_gguf_file_is_as_big_as_what_it_becomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELICIT_CACHE", str(tmp_path / "cache"))
    for quant, held in (("F32", "float32"), ("F16", "float16"), ("BF16", "bfloat16"), ("Q8_0", "bfloat16")):
        path = write(tmp_path / f"{quant}.gguf", llama(), quant=quant)
        hf = load_transformers(path).hf
        assert size.resolve_dtype(path) == held == str(hf.dtype).removeprefix("torch.")
        count = sum(parameter.numel() for parameter in llama().parameters())
        assert size.count_parameters(path) == count
        assert size.read_model_shape(path) == (2, 32, 261, 2 * 2 * 2 * 8, 261 * 32, "llama", 32)
        assert size.kv_bytes_per_token(path) == cache_bytes_per_token(hf)


def test_the_table_of_gguf_types_is_gguf_s_own() -> None:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    theirs = {int(kind): (kind.name, *GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType}
    assert {kind: headers.GGML.get(kind) for kind in theirs} == theirs


def test_a_gguf_header_reads_as_gguf_s_own_reader_does(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", llama(), quant="Q8_0", extra={"general.name": "ünïcode"})
    reader = gguf.GGUFReader(path)
    keys = [key for key in reader.fields if not key.startswith("GGUF.")]
    found = headers.read_gguf_header(path, arrays=keys)
    assert dict(found.fields) == {key: reader.fields[key].contents() for key in keys}
    assert [(t.name, t.kind, t.shape) for t in found.tensors] == [
        (t.name, t.tensor_type.name, tuple(int(n) for n in reversed(t.shape))) for t in reader.tensors
    ]
    assert headers.read_gguf_header(path).fields["tokenizer.ggml.tokens"] == 261, "only its length unless asked for"


def test_hub_ids_are_looked_up_in_the_cache_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    hf, _ = tiny("llama")
    hf.save_pretrained(tmp_path / "a")
    hub_cache(tmp_path / "hub", tmp_path / "a", "org/there")
    assert size.count_parameters("org/there") == sum(parameter.numel() for parameter in hf.parameters())
    for ask in (
        size.count_parameters,
        size.count_weight_bytes,
        size.resolve_dtype,
        size.read_model_shape,
        size.kv_bytes_per_token,
    ):
        assert ask("org/absent") is None
    assert size.resolve_dtype("org/absent", "float16") == "float16"


def test_tables_and_tied_copies_are_no_parameters(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    hf, _ = tiny("gpt2")
    hf.config.tie_word_embeddings = True
    hf.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    mask = torch.ones(1, 1, 256, 256)
    extra = {"transformer.h.0.attn.bias": mask, "lm_head.weight": hf.lm_head.weight.detach().clone()}
    save_file({**tensors, **extra}, tmp_path / "model.safetensors", {"format": "pt"})
    assert size.count_parameters(tmp_path) == sum(parameter.numel() for parameter in hf.parameters())


def test_damaged_files_are_told_before_anything_is_loaded(tmp_path: Path) -> None:
    hf, _ = tiny("llama")
    hf.save_pretrained(tmp_path, max_shard_size="10KB")
    shards = sorted(tmp_path.glob("*.safetensors"))
    whole = shards[1].stat().st_size
    os.truncate(shards[1], whole - 100)
    with pytest.raises(ElicitError, match=rf"{shards[1].name} is cut: it has {whole - 100:,} bytes, but its tensors"):
        size.count_parameters(tmp_path)
    os.truncate(shards[1], 30)
    with pytest.raises(ElicitError, match=rf"{shards[1].name} is not a complete safetensors file"):
        size.count_parameters(tmp_path)
    shards[1].unlink()
    with pytest.raises(ElicitError, match=rf"1 of its {len(shards)} weight files are missing, first {shards[1].name}"):
        size.count_parameters(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ElicitError, match=r"config\.json holds a list; expected a JSON object"):
        size.read_model_shape(tmp_path)
    with pytest.raises(ElicitError, match="unknown dtype 'int8'"):
        size.count_weight_bytes(tmp_path, "int8")


def test_it_imports_no_torch() -> None:
    probe = (
        "import json, sys; from elicit.loading import size; size.count_parameters('cued'); "
        "size.read_model_shape('cued'); "
        "size.count_parameters('org/name'); print(json.dumps(sorted({'torch', 'transformers', 'gguf'} & "
        "set(sys.modules))))"
    )
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert json.loads(found) == []
    assert catalog.default_label("org/name-1B@refs/pr/1") == "name-1B"
    assert catalog.default_label("runs/a/") == "a"
