"""SAELens's releases by name. The files come from a made-up hub cache; SAELens's own converters read them."""

from __future__ import annotations

import json
import os
import pickle
import re
import socket
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file

import saes
from elicit.errors import ElicitError
from saes.loading.centred import CentredCoder
from saes.loading.releases import find_converter
from tests.saes import kinds, test_sparsify

D, N = 16, 64


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub cache, a machine that may go online, and a network that fails the test if it is touched."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    def refuse(*args, **kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return cache


def repository(hub: Path, repo: str) -> Path:
    """The snapshot folder of a cached repository: the layout that huggingface_hub writes."""
    root = hub / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("a" * 40)
    return snapshot


def tensors(seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {
        "W_enc": torch.randn(D, N, generator=draw),
        "b_enc": torch.randn(N, generator=draw),
        "W_dec": torch.randn(N, D, generator=draw),
        "b_dec": torch.randn(D, generator=draw),
    }


def gemma(hub: Path, dtype=torch.float32) -> dict[str, torch.Tensor]:
    snapshot = repository(hub, "google/gemma-scope-2-270m-pt") / "resid_post" / "layer_5_width_16k_l0_small"
    snapshot.mkdir(parents=True)
    w = {name.lower(): part.to(dtype) for name, part in tensors().items()}
    w["threshold"] = torch.rand(N).to(dtype)
    save_file(w, snapshot / "params.safetensors")
    config = {
        "architecture": "jump_relu",
        "model_name": "gemma-v3-270m-pt",
        "hf_hook_point_in": "model.layers.5.output",
    }
    (snapshot / "config.json").write_text(json.dumps(config))
    return {name: part.float() for name, part in w.items()}


GEMMA = "gemma-scope-2-270m-pt-res:layer_5_width_16k_l0_small"


@pytest.mark.parametrize(
    ("release", "sae_id", "converter"),
    [
        ("gemma-scope-2-270m-pt-res", "layer_5_width_16k_l0_small", "gemma_3"),
        ("gemma-scope-2-270m-pt-res-all", "layer_0_width_16k_l0_big", "gemma_3"),
        ("gemma-scope-2-1b-pt-res", "layer_13_width_65k_l0_medium", "gemma_3"),
        ("gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71", "gemma_2"),
        ("gemma-scope-2b-pt-res-canonical", "layer_12/width_16k/canonical", "gemma_2"),
        ("llama_scope_lxr_8x", "l16r_8x", "llama_scope"),
        ("llama_scope_r1_distill", "l15r_800m_slimpajama", "llama_scope_r1_distill"),
        ("qwen-scope-3-1.7b-base-w32k-l50", "layer14", "qwen_scope"),
        ("qwen2.5-7b-instruct-andyrdt", "resid_post_layer_3_trainer_1", "dictionary_learning_1"),
        ("gpt2-small-res-jb", "blocks.8.hook_resid_pre", "sae_lens"),
        ("pythia-70m-deduped-res-sm", "blocks.3.hook_resid_post", "sae_lens"),
        ("gemma-2-2b-res-matryoshka-dc", "blocks.12.hook_resid_post", "sae_lens"),
        ("goodfire-llama-3.1-8b-instruct", "layer_19", "goodfire"),
        ("mistral-7b-res-wg", "blocks.8.hook_resid_pre", "sae_lens"),
    ],
)
def test_names_of_residual_saes_are_found_without_the_network(hub, release, sae_id, converter):
    assert find_converter(release, sae_id) == converter
    with pytest.raises(
        ElicitError, match=r"is not in the local cache .* Type --download, or saes.load\(.*download=True"
    ):
        saes.load(f"{release}:{sae_id}")


def test_what_a_release_is_is_told_by_its_names_as_by_its_config(hub, monkeypatch):
    """Over all ids of the converters whose config can be made without files: 12,000 of the 13,857 in the table."""
    from huggingface_hub.errors import EntryNotFoundError
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    def missing(*args, **kwargs):
        raise EntryNotFoundError("no config.json: SAELens infers it from the names")

    monkeypatch.setattr(loaders, "hf_hub_download", missing)
    monkeypatch.setattr(loaders, "get_safetensors_tensor_shapes", lambda *_: {"w_enc": [D, N], "w_dec": [N, D]})
    offline = ("gemma_2", "gemma_3", "qwen_scope", "deepseek_r1", "goodfire")
    taken = total = 0
    for release, entry in get_pretrained_saes_directory().items():
        if entry.conversion_func not in offline:
            continue
        for sae_id, path in entry.saes_map.items():
            config = loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS[entry.conversion_func](
                entry.repo_id, path, "cpu", False, {}
            )
            fits = re.fullmatch(r"blocks\.\d+\.hook_resid_post", config["hook_name"]) is not None
            fits &= "transcoder" not in config["architecture"]
            try:
                found = find_converter(release, sae_id) == entry.conversion_func
            except ElicitError:
                found = False
            assert found == fits, (release, sae_id, config["hook_name"])
            taken, total = taken + found, total + 1
    assert total > 12_000
    assert 0.2 < taken / total < 0.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gemma-scope-2-270m-pt-rez:layer_5", "unknown SAELens release .* Did you mean 'gemma-scope-2-270m-pt-res'"),
        ("gemma-scope-2-270m-pt-res:layer_5_width_16k_l0_smal", "Did you mean 'layer_5_width_16k_l0_small'.* ids"),
        ("qwen-scope-3-1.7b-base-w32k-l50:layer28", "unknown SAE of qwen-scope.*Known: .* of 28 ids"),
        (
            "gemma-scope-2-270m-pt-att:layer_12_width_16k_l0_big",
            "is an SAE of attention outputs .attn_out/.*the lab reads",
        ),
        ("gemma-scope-2-270m-pt-mlp:layer_12_width_16k_l0_big", "is an SAE of MLP outputs .mlp_out/"),
        ("gemma-scope-2-270m-pt-transcoders-all:layer_0_width_16k_l0_big", "is a transcoder .transcoder_all/"),
        ("gpt2-small-hook-z-kk:blocks.0.hook_z", "is an SAE of attention outputs .connor_rob_hook_z"),
        ("temporal-sae-gemma-2-2b:blocks.12.hook_resid_post", "is a temporal SAE"),
        ("gemma-scope-2b-pt-res:embedding/width_4k/average_l0_6", "is an SAE of embeddings"),
        ("llama_scope_lxm_8x:l0m_8x", "is an SAE of MLP outputs"),
        ("gpt2-small-res-jb:blocks.0.hook_resid_pre", "is not in the local cache"),
        ("nobody/nothing:layers.3", "nobody/nothing:layers.3 is not in the local cache"),
    ],
)
def test_names_that_cannot_be_loaded_say_why(hub, name, message):
    with pytest.raises(ElicitError, match=message):
        saes.load(name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gemma_scope_2_from_the_cache(hub, dtype):
    """SAELens reads this release's shapes by HTTP; from the cache no network is touched."""
    w = gemma(hub, dtype)
    sae = saes.load(GEMMA)
    assert (sae.name, sae.layer, sae.manifest.model) == (GEMMA, 5, "google/gemma-3-270m")
    assert (sae.manifest.architecture, sae.manifest.weights_sha256) == ("jumprelu", None)
    h = torch.randn(32, D)
    pre = h @ w["w_enc"] + w["b_enc"]
    torch.testing.assert_close(sae.encode(h), pre * (pre > w["threshold"]))
    torch.testing.assert_close(sae.reconstruct(h), sae.encode(h) @ w["w_dec"] + w["b_dec"])
    torch.testing.assert_close(sae.directions, w["w_dec"], rtol=0, atol=0)
    assert sae.sha256 == saes.load(GEMMA).sha256
    with pytest.raises(ElicitError, match="holds an SAE of layer 5, but layer=6 was asked for"):
        saes.load(GEMMA, layer=6)


def test_a_part_of_a_release_is_not_enough(hub):
    gemma(hub)
    next(hub.rglob("params.safetensors")).unlink()
    with pytest.raises(ElicitError, match="is not in the local cache"):
        saes.load(GEMMA)


def test_saelens_is_left_as_it_was(hub):
    from sae_lens.loading import pretrained_sae_loaders as loaders

    before = loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes
    gemma(hub)
    saes.load(GEMMA)
    with pytest.raises(ElicitError):
        saes.load("qwen-scope-3-1.7b-base-w32k-l50:layer0")
    assert (loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes) == before


def test_llama_scope_has_its_scaling_folded_in(hub):
    """Its SAEs were trained on residuals scaled to a mean norm of sqrt(d): SAELens folds that from its own table."""
    from sae_lens.loading.pretrained_saes_directory import get_norm_scaling_factor

    scale = get_norm_scaling_factor("llama_scope_lxr_8x", "l3r_8x")
    folder = repository(hub, "fnlp/Llama3_1-8B-Base-LXR-8x") / "Llama3_1-8B-Base-L3R-8x"
    (folder / "checkpoints").mkdir(parents=True)
    w = tensors()
    stored = {"encoder.weight": w["W_enc"].T, "decoder.weight": w["W_dec"].T}
    stored |= {"encoder.bias": w["b_enc"], "decoder.bias": w["b_dec"]}
    save_file({name: part.contiguous() for name, part in stored.items()}, folder / "checkpoints" / "final.safetensors")
    hyper = {"d_model": D, "d_sae": N, "jump_relu_threshold": 0.5, "hook_point_in": "blocks.3.hook_resid_post"}
    hyper["dataset_average_activation_norm"] = {"in": D**0.5 / scale}
    (folder / "hyperparams.json").write_text(json.dumps(hyper))
    sae = saes.load("llama_scope_lxr_8x:l3r_8x")
    h = torch.randn(32, D)
    pre = (h * scale) @ w["W_enc"] + w["b_enc"]
    f = pre * (pre > 0.5 * scale)
    torch.testing.assert_close(sae.encode(h), f, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sae.reconstruct(h), (f @ w["W_dec"] + w["b_dec"]) / scale, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sae.directions, w["W_dec"] / scale)


def test_a_release_made_on_centred_weights_is_centred(hub, tmp_path):
    folder = repository(hub, "jbloom/GPT2-Small-SAEs-Reformatted") / "blocks.8.hook_resid_pre"
    kinds.write(folder, "standard", d_in=D, layer=7)
    assert not isinstance(saes.load(folder).coder, CentredCoder), "only SAELens's table of releases tells"
    sae = saes.load("gpt2-small-res-jb:blocks.8.hook_resid_pre")
    assert isinstance(sae.coder, CentredCoder)
    assert sae.layer == 7
    h = torch.randn(8, D)
    torch.testing.assert_close(sae.encode(h + 3), sae.encode(h))


CHECKPOINT = "sae_bench_pythia70m_sweep_topk_ctx128_0730:blocks.3.hook_resid_post__trainer_0"


def dictionary(hub: Path) -> Path:
    snapshot = repository(hub, "canrager/lm_sae")
    folder = snapshot / "pythia70m_sweep_topk_ctx128_0730" / "resid_post_layer_3" / "trainer_0"
    folder.mkdir(parents=True)
    trainer = {"dict_class": "AutoEncoderTopK", "k": 8, "layer": 3, "activation_dim": D, "dict_size": N}
    config = {"trainer": {**trainer, "lm_name": "EleutherAI/pythia-70m-deduped"}, "buffer": {"ctx_len": 128}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "ae.pt"


def test_a_pytorch_checkpoint_is_read_without_running_code(hub, tmp_path, monkeypatch):
    path, w = dictionary(hub), tensors()
    stored = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T}
    torch.save({**stored, "b_dec": w["b_dec"]}, path)
    sae = saes.load(CHECKPOINT)
    h = torch.randn(32, D)
    top = ((h - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).topk(8, dim=-1)
    torch.testing.assert_close(sae.encode(h), torch.zeros(32, N).scatter(-1, top.indices, top.values.relu()))
    assert (sae.layer, sae.manifest.k) == (3, 8)

    witness = tmp_path / "code ran"

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    path.write_bytes(pickle.dumps({**stored, "b_dec": Attack()}))
    with pytest.raises(ElicitError, match="SAELens cannot read this SAE"):
        saes.load(CHECKPOINT)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(ElicitError, match=r"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD lets those run code. Unset it"):
        saes.load(CHECKPOINT)
    assert not witness.exists()


def test_a_folder_of_a_repository_on_the_hub(hub, tmp_path):
    snapshot = repository(hub, "somebody/my-saes")
    kinds.write(snapshot / "layer4", "topk", d_in=D, layer=4)
    test_sparsify.folder(snapshot / "layers.2")
    assert saes.load("somebody/my-saes:layer4").layer == 4
    assert saes.load("somebody/my-saes:layers.2").manifest.architecture == "topk"
    with pytest.raises(ElicitError, match=r"somebody/my-saes:layers.3 is not in the local cache"):
        saes.load("somebody/my-saes:layers.3")


def test_what_goes_wrong_while_downloading_is_one_line(hub, monkeypatch):
    """The network fails in `hub` with an AssertionError in the socket; here it fails as it does in life."""

    def down(*args, **kwargs):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", down)
    monkeypatch.setattr(socket.socket, "connect", down)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the hub's own attempts
    for name in (GEMMA, "qwen-scope-3-1.7b-base-w32k-l50:layer0", "somebody/my-saes:layer4"):
        with pytest.raises(ElicitError, match=r"could not be downloaded: .* Check the name and the network") as caught:
            saes.load(name, download=True)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ElicitError, match=r"because HF_HUB_OFFLINE is set. Set HF_HUB_OFFLINE=0"):
        saes.load(GEMMA, download=True)
