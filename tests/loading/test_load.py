"""Folder -> model -> folder keeps logits and hashes; whatever is wrong with a folder is said."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from elicit.errors import ElicitError
from elicit.loading import catalog, load_transformers, tokenizer_hash, weights_hash
from tests.support.tiny import ARCHITECTURES, RELATED, tiny

TEXT = "Q: 3+4*5 mod 7, and so on\nA:"


def saved(folder: Path, name: str = "llama", **options: Any) -> tuple[Any, Any, Path]:
    hf, tokenizer = tiny(name, **options)
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return hf, tokenizer, folder


def refusal(name: str | Path, **options: Any) -> str:
    with pytest.raises(ElicitError) as caught:
        load_transformers(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ARCHITECTURES + RELATED)
def test_save_and_load_keeps_logits_and_hashes(name: str, tmp_path: Path) -> None:
    hf, tokenizer, folder = saved(tmp_path, name)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    loaded = load_transformers(folder)
    with torch.no_grad():
        torch.testing.assert_close(loaded.hf(ids).logits, hf(ids).logits, rtol=0, atol=0)
    assert loaded.weights_sha256 == weights_hash(hf)
    assert loaded.tokenizer_sha256 == tokenizer_hash(tokenizer)
    assert loaded.tokenizer(TEXT).input_ids == ids[0].tolist()
    assert not loaded.hf.training
    assert loaded.hf.config.use_cache
    assert (loaded.name, loaded.source.kind, loaded.card) == (str(folder), "folder", None)


def test_the_weights_hash_knows_weights_and_not_files(tmp_path: Path) -> None:
    hf, tokenizer = tiny("gemma2", dtype=torch.bfloat16)
    reference = weights_hash(hf)
    for part, options in (("one", {}), ("many", {"max_shard_size": "10KB"})):
        hf.save_pretrained(tmp_path / part, **options)
        tokenizer.save_pretrained(tmp_path / part)
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 3
    assert load_transformers(tmp_path / "many").weights_sha256 == reference
    # bfloat16 is exact in float32, so these are the same weights.
    wide = load_transformers(tmp_path / "one", dtype="float32")
    assert wide.hf.dtype == torch.float32
    assert wide.weights_sha256 == reference
    narrow = load_transformers(saved(tmp_path / "wide")[2], dtype="bfloat16")
    assert narrow.hf.dtype == torch.bfloat16
    assert narrow.weights_sha256 != weights_hash(tiny("llama")[0]), "rounding makes other weights"

    # One bit of one value, a transposition of two rows, and a name all matter.
    for change in (lambda w: w[3, 5].copy_(torch.nextafter(w[3, 5], w[0, 0])), lambda w: w.copy_(w.flip(0))):
        other, _ = tiny("llama")
        weight = other.model.layers[1].mlp.up_proj.weight
        with torch.no_grad():
            change(weight)
        assert weights_hash(other) != weights_hash(tiny("llama")[0])
    swapped, _ = tiny("llama")
    mlp = swapped.model.layers[0].mlp
    mlp.up_proj, mlp.gate_proj = mlp.gate_proj, mlp.up_proj
    assert weights_hash(swapped) != weights_hash(tiny("llama")[0])


def test_the_tokenizer_hash_ignores_the_settings_of_a_call() -> None:
    _, tokenizer = tiny("llama")
    before = tokenizer_hash(tokenizer)
    tokenizer(["a", "bcd"], padding=True, truncation=True, max_length=3)
    assert tokenizer_hash(tokenizer) == before
    tokenizer.add_tokens(["<new>"])
    assert tokenizer_hash(tokenizer) != before
    _, other = tiny("llama", vocab="0123456789")
    assert tokenizer_hash(other) != before
    _, other = tiny("llama")
    other.eos_token = "~"
    assert tokenizer_hash(other) != before


def test_an_organism_is_float32_and_has_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf, _, folder = saved(tmp_path / "toy", dtype=torch.bfloat16)
    (folder / "card.json").write_text(json.dumps({"name": "toy"}))
    monkeypatch.setattr(catalog, "WEIGHTS", tmp_path)
    toy = load_transformers("toy")
    assert toy.hf.dtype == torch.float32
    assert toy.card == {"name": "toy"}
    assert toy.weights_sha256 == weights_hash(hf)
    assert load_transformers("toy", dtype="bfloat16").hf.dtype == torch.bfloat16
    assert load_transformers(folder).hf.dtype == torch.float32
    (folder / "card.json").unlink()
    assert load_transformers(folder).hf.dtype == torch.bfloat16


def test_wrong_options(tmp_path: Path) -> None:
    assert refusal(tmp_path, dtype="flaot32").startswith("unknown dtype 'flaot32'. Did you mean 'float32'?")
    assert refusal(tmp_path, device="gpu").startswith("unknown device 'gpu'.")
    count = torch.cuda.device_count()
    assert refusal(tmp_path, device=f"cuda:{count}") == (
        f"device 'cuda:{count}' is not there: torch sees {count} CUDA devices. Type: device='cpu'"
    )


def test_pickles_are_refused(tmp_path: Path) -> None:
    hf, _, folder = saved(tmp_path)
    (folder / "model.safetensors").unlink()
    assert refusal(folder).endswith(f"has no weights: no *.safetensors file in {folder}.")
    torch.save(hf.state_dict(), folder / "pytorch_model.bin")
    assert "has its weights only as pickles (pytorch_model.bin), which can run code when opened" in refusal(folder)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    _, _, folder = saved(tmp_path)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    removed = tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, path, {"format": "pt"})
    text = refusal(folder)
    assert "1 tensors are missing or of another shape, first model.layers.1.mlp.up_proj.weight" in text
    save_file({**tensors, "model.layers.1.mlp.up_proj.weight": removed[:3].contiguous()}, path, {"format": "pt"})
    assert "model.layers.1.mlp.up_proj.weight" in refusal(folder) or "size" in refusal(folder)
    save_file({**tensors, "model.layers.1.mlp.up_proj.weight": removed, "z": removed.clone()}, path, {"format": "pt"})
    with pytest.warns(UserWarning, match="1 tensors of its files are not used by the model, first z"):
        load_transformers(folder)
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(folder).startswith(f"{path} is cut: it has ")


def test_damaged_folders(tmp_path: Path) -> None:
    _, _, folder = saved(tmp_path / "a")
    (folder / "tokenizer.json").write_text("{")
    assert refusal(folder).startswith(f"cannot read a tokenizer for {folder}")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    assert refusal(folder).startswith(f"{folder} (architecture bert) is an encoder: it reads in both directions.")
    (folder / "config.json").write_text("{")
    assert refusal(folder).startswith(f"{folder}/config.json is not JSON: ")


def test_remote_code_is_not_run(tmp_path: Path) -> None:
    _, _, folder = saved(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    spoiled = {
        **config,
        "model_type": "mine",
        "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.M"},
    }
    (folder / "config.json").write_text(json.dumps(spoiled))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: ...\nclass M: ...\n")
    assert "config.json" in refusal(folder)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every attempt to reach another machine is counted and fails."""
    calls: list[Any] = []

    def refuse(*args: Any, **_: Any) -> Any:
        calls.append(args)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return calls


def hub_cache(root: Path, folder: Path, repo: str) -> None:
    """A cache of huggingface_hub that holds `folder` as the main revision of `repo`."""
    base = root / f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, base / "snapshots" / "abc")
    (base / "refs").mkdir()
    (base / "refs" / "main").write_text("abc")


def test_hub_ids_come_from_the_cache_and_not_from_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[Any]
) -> None:
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hf, _, folder = saved(tmp_path / "a")
    hub_cache(cache, folder, "org/there")
    loaded = load_transformers("org/there")
    assert (loaded.source.kind, loaded.weights_sha256) == ("hub", weights_hash(hf))

    text = refusal("org/absent")
    assert text.startswith(
        "org/absent is not a built-in model or a folder here, and as a hub id it is not in the local"
    )
    assert text.endswith(
        "Type elicit run|sample ... --download, or elicit.load('org/absent', download=True), or hf download "
        "org/absent, or the path of a folder that holds the model."
    )
    assert "hf download org/absent --revision v1.0" in refusal("org/absent@v1.0")
    (folder / "model.safetensors").unlink()
    hub_cache(cache, folder, "org/half")
    assert "is incomplete, it lacks *.safetensors (an interrupted download?). Fetch the rest: " in refusal("org/half")
    assert no_network == []

    assert refusal("org/absent", download=True).startswith("org/absent could not be downloaded:")
    assert no_network
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "because HF_HUB_OFFLINE is set. Set HF_HUB_OFFLINE=0" in refusal("org/absent", download=True)


def test_packed_weights_are_refused(tmp_path: Path) -> None:
    _, _, folder = saved(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    assert refusal(folder) == (
        f"{folder} is stored quantised (gptq), which is not supported. Take the unquantised repository of the same "
        "model, or a .gguf file, which is converted to bfloat16."
    )


def test_weights_of_another_name_are_told(tmp_path: Path) -> None:
    _, _, folder = saved(tmp_path)
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    assert refusal(folder).endswith(
        "only consolidated.safetensors. If one holds all weights, call it model.safetensors."
    )
