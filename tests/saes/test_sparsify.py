"""Folders in the format of EleutherAI's Sparsify, against its formulas written out token by token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import saes
from elicit.errors import ElicitError

D, N, K = 12, 48, 4


def folder(path: Path, **cfg) -> Path:
    """What `SparseCoder.save_to_disk` writes."""
    path.mkdir(parents=True)
    draw = torch.Generator().manual_seed(len(cfg))
    tensors = {
        "encoder.weight": torch.randn(N, D, generator=draw),
        "encoder.bias": torch.randn(N, generator=draw),
        "W_dec": torch.randn(N, D, generator=draw),
        "b_dec": torch.randn(D, generator=draw),
    }
    save_file(tensors, path / "sae.safetensors")
    whole = {
        "activation": "topk",
        "expansion_factor": 4,
        "normalize_decoder": True,
        "num_latents": 0,
        "k": K,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": D,
    }
    (path / "cfg.json").write_text(json.dumps({**whole, **cfg}))
    return path


def by_hand(path: Path, x: torch.Tensor, activation: str) -> tuple[torch.Tensor, torch.Tensor]:
    """sparsify 1.3.3: fused_encoder.py and SparseCoder.decode, one token at a time, in double precision."""
    w = {name: part.double() for name, part in load_file(path / "sae.safetensors").items()}
    f, out = torch.zeros(len(x), N, dtype=torch.double), torch.zeros(len(x), D, dtype=torch.double)
    for t, row in enumerate(x.double()):
        pre = [max(0.0, float(w["encoder.weight"][i] @ (row - w["b_dec"]) + w["encoder.bias"][i])) for i in range(N)]
        if activation == "topk":
            active = sorted(range(N), key=lambda i: -pre[i])[:K]
        else:
            size = N // K
            active = [max(range(g * size, (g + 1) * size), key=lambda i: pre[i]) for g in range(K)]
        out[t] = w["b_dec"]
        for i in active:
            f[t, i] = pre[i]
            out[t] += pre[i] * w["W_dec"][i]
    return f.float(), out.float()


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("activation", ["topk", "groupmax"])
def test_it_computes_what_sparsify_computes(tmp_path, activation, normalised):
    path = folder(tmp_path / "layers.10", activation=activation, normalize_decoder=normalised)
    sae = saes.load(path)
    x = torch.randn(40, D)
    f, out = by_hand(path, x, activation)
    torch.testing.assert_close(sae.encode(x), f)
    torch.testing.assert_close(sae.decode(sae.encode(x)), out)
    torch.testing.assert_close(sae.encode(x.reshape(5, 8, D)), f.reshape(5, 8, N))
    torch.testing.assert_close(sae.directions, load_file(path / "sae.safetensors")["W_dec"], rtol=0, atol=0)
    assert (sae.layer, sae.manifest.hook, sae.linear) == (10, "blocks.10.hook_resid_post", True)
    assert (sae.manifest.architecture, sae.manifest.k, sae.manifest.model) == (activation, K, "unknown")


def test_where_it_belongs_is_read_from_its_folder_and_run(tmp_path):
    for place, layer in {"layers.3": 3, "h.5": 5, "model.layers.7/seed1": 7, "gpt_neox.layers.2": 2}.items():
        path = folder(tmp_path / "run" / place)
        (tmp_path / "run" / "config.json").write_text(json.dumps({"model": "EleutherAI/pythia-160m"}))
        sae = saes.load(path)
        assert (sae.layer, sae.manifest.model) == (layer, "EleutherAI/pythia-160m")
    with pytest.raises(ElicitError, match=r"holds an SAE of layer 3, but layer=4 was asked for"):
        saes.load(tmp_path / "run" / "layers.3", layer=4)
    with pytest.raises(ElicitError, match=r"cfg.json is missing. It holds folders of SAEs: type one of .*layers.3"):
        saes.load(tmp_path / "run")
    unnamed = folder(tmp_path / "mine")
    with pytest.raises(ElicitError, match=r"does not say which layer this SAE reads. Type saes.load\(.*, layer=L\)"):
        saes.load(unnamed)
    assert saes.load(unnamed, layer=6).layer == 6


@pytest.mark.parametrize("place", ["layers.3.mlp", "layers.3.self_attn", "embed_tokens"])
def test_other_hookpoints_are_refused(tmp_path, place):
    with pytest.raises(ElicitError, match=rf"reads '{place}'; the lab reads and steers the residual stream"):
        saes.load(folder(tmp_path / place))


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"transcode": True}, r"is a transcoder \(transcode: true\). The lab takes SAEs: what they read is what they"),
        ({"skip_connection": True}, "has a skip connection"),
        ({"signed": True}, "keeps negative activations"),
        ({"activation": "relu"}, "activation: Input should be 'topk' or 'groupmax', not 'relu'"),
        ({"k": 49}, "k is 49 of 48 latents"),
        ({"k": 5, "activation": "groupmax"}, r"k is 5 of 48 latents \(groupmax\)"),
        ({"d_in": 13}, r"encoder.weight has shape \[48, 12\], expected \[52, 13\]: cfg.json says d_in 13, 52 latents"),
        ({"num_latents": 50}, r"encoder.weight has shape \[48, 12\], expected \[50, 12\]"),
        ({"d_in": "12"}, "d_in: Input should be a valid integer, not '12'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, cfg, message):
    with pytest.raises(ElicitError, match=message):
        saes.load(folder(tmp_path / "layers.1", **cfg))


def test_a_skip_connection_in_the_weights_alone_is_refused(tmp_path):
    path = folder(tmp_path / "layers.1")
    tensors = load_file(path / "sae.safetensors")
    save_file({**tensors, "W_skip": torch.zeros(D, D)}, path / "sae.safetensors")
    with pytest.raises(ElicitError, match=r"has a skip connection \(W_skip\)"):
        saes.load(path)


def test_half_precision_is_cast(tmp_path):
    path = folder(tmp_path / "layers.1")
    tensors = {name: part.bfloat16() for name, part in load_file(path / "sae.safetensors").items()}
    save_file(tensors, path / "sae.safetensors")
    x = torch.randn(16, D)
    sae = saes.load(path)
    torch.testing.assert_close(sae.encode(x), by_hand(path, x, "topk")[0])
    assert sae.encode(x.half()).dtype == torch.float32
    moved = sae.coder.to(torch.float64)
    assert moved.W_dec.dtype == moved.b_enc.dtype == torch.float64
