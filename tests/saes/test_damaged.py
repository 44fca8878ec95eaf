"""Damaged folders: one line that says where and what was expected, and never a traceback of another kind."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import saes
from elicit.errors import ElicitError
from saes import catalog
from tests.saes.kinds import KINDS, write


@pytest.fixture
def ours(tmp_path) -> Path:
    return Path(shutil.copytree(catalog.find_shipped_folder("cued/L1"), tmp_path / "L1"))


def change(path: Path, **fields) -> None:
    data = json.loads(path.read_text())
    data.update(fields)
    path.write_text(json.dumps(data))


def fails(folder: Path, message: str) -> None:
    with pytest.raises(ElicitError, match=message) as caught:
        saes.load(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"d_in": 64}, r"W_enc has shape \[128, 512\], expected \[64, 512\]: cfg.json says d_in 64, d_sae 512"),
        ({"d_sae": 513}, r"W_enc has shape \[128, 512\], expected \[128, 513\]"),
        ({"d_sae": 0}, "cfg.json: d_sae: Input should be greater than 0, not 0"),
        ({"d_in": "128"}, "cfg.json: d_in: Input should be a valid integer, not '128'"),
        ({"d_sae": 10**30}, "expected .128, 1000000000"),
        ({"k": 0}, "k: Input should be greater than 0, not 0"),
        ({"k": 513}, "k is 513, expected 1 to d_sae = 512"),
        ({"k": None}, "k is None, expected 1 to d_sae = 512"),
        ({"apply_b_dec_to_input": 5}, "apply_b_dec_to_input: Input should be a valid boolean, not 5"),
        ({"rescale_acts_by_decoder_norm": "no"}, "rescale_acts_by_decoder_norm: Input should be a valid boolean"),
        ({"normalize_activations": "batch"}, "unknown normalize_activations 'batch'"),
        ({"normalize_activations": "expected_average_only_in"}, "take the final SAE, not a checkpoint"),
        ({"reshape_activations": "hook_z"}, r"it reads attention heads \(hook_z\), not the residual stream"),
        ({"architecture": "topq"}, "unknown SAE architecture 'topq'. Did you mean 'topk'"),
        ({"architecture": 3}, "unknown SAE architecture '3'"),
        ({"architecture": "gated"}, r"has no tensor b_gate of shape \[512\]. Its tensors: W_dec, W_enc, b_dec, b_enc"),
        ({"architecture": "jumprelu"}, r"has no tensor threshold"),
        ({"architecture": "standard"}, "trained as 'topk', which is not stored as architecture 'standard'"),
        ({"architecture": "batchtopk"}, "save it with save_inference_model"),
        ({"architecture": "transcoder"}, "is a transcoder: it maps what a layer reads to what it writes. The lab"),
        ({"architecture": "jumprelu_skip_transcoder"}, "is a transcoder"),
        ({"architecture": "temporal"}, "codes a token by those before it"),
        ({"architecture": "matching_pursuit"}, "picks latents one after another"),
        ({"metadata": {"hook_name": "blocks.1.attn.hook_z"}}, "metadata.sae_lens_version is missing"),
        ({"metadata": {"hook_name": "blocks.1.attn.hook_z", "sae_lens_version": "6.0.0"}}, "the lab reads and steers"),
        ({"metadata": {"hook_name": "blocks.1.hook_mlp_out", "sae_lens_version": "6.0.0"}}, "hook_mlp_out"),
        ({"metadata": {"hook_name": "blocks.0.hook_resid_pre", "sae_lens_version": "6.0.0"}}, "of a layer above 0"),
        ({"metadata": {"hook_name": 3, "sae_lens_version": "6.0.0"}}, "metadata.hook_name is 3, expected text"),
        ({"metadata": [1]}, "cfg.json: "),
    ],
)
def test_cfg_json_that_is_wrong(ours, fields, message):
    change(ours / "cfg.json", **fields)
    fails(ours, message)


@pytest.mark.parametrize("name", ["d_in", "d_sae", "architecture"])
def test_a_field_of_cfg_json_that_is_missing(ours, name):
    cfg = json.loads((ours / "cfg.json").read_text())
    del cfg[name]
    (ours / "cfg.json").write_text(json.dumps(cfg))
    fails(ours, f"cfg.json: {name}: Field required")


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 99_999, "NaN", '{"k": 1' + "0" * 5000 + "}", "\xff"])
def test_cfg_json_that_is_no_json_object(ours, text):
    (ours / "cfg.json").write_bytes(text.encode("latin-1"))
    fails(ours, "cfg.json")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layer": 2}, "manifest.json says layer 2, but its hook is 'blocks.1.hook_resid_post'"),
        ({"layer": 2, "hook": "blocks.2.hook_resid_post"}, "manifest.json says layer 2, but cfg.json says 1"),
        ({"architecture": "gated"}, "manifest.json says architecture 'gated', but cfg.json is of 'topk'"),
        ({"layer": "1"}, "layer: Input should be a valid integer, not '1'"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"norm": float("nan")}, "manifest.json is not JSON: NaN is not a number"),
        ({"hook": "blocks.1.hook_mlp_out"}, "manifest.json reads 'blocks.1.hook_mlp_out'"),
    ],
)
def test_a_manifest_that_is_wrong(ours, fields, message):
    change(ours / "manifest.json", **fields)
    fails(ours, message)


def test_a_manifest_that_is_no_json(ours):
    (ours / "manifest.json").write_text('{"model": "cued"')
    fails(ours, "manifest.json is not JSON: Expecting")


def test_files_that_are_missing(ours):
    (ours / "sae_weights.safetensors").rename(ours / "sae_weights.pt")
    fails(ours, r"sae_weights.pt may be a pickle, which could run code: it is not read")
    (ours / "cfg.json").unlink()
    fails(ours, "holds no SAE: cfg.json is missing")


def test_weights_that_are_damaged(ours):
    path = ours / "sae_weights.safetensors"
    whole = path.read_bytes()
    for part in (b"", whole[:7], whole[:1000], b"\xff" * 64, whole[:-8]):
        path.write_bytes(part)
        fails(ours, "sae_weights.safetensors is damaged")
    path.write_bytes(pickle.dumps({"W_enc": os.system}))
    fails(ours, "sae_weights.safetensors is damaged")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["W_enc", "W_dec", "b_enc", "b_dec"])
def test_weights_that_are_not_finite(ours, name, value):
    path = ours / "sae_weights.safetensors"
    weights = load_file(path)
    weights[name].view(-1)[7] = value
    save_file(weights, path)
    fails(ours, f"{name} holds NaN or infinity")


def test_weights_of_another_kind(ours):
    path = ours / "sae_weights.safetensors"
    weights = load_file(path)
    save_file({**weights, "W_enc": weights["W_enc"].int()}, path)
    fails(ours, "W_enc is of dtype I32, expected floating point")
    save_file({**weights, "scale": torch.ones(3)}, path)
    fails(ours, "SAELens cannot read this SAE")
    save_file({**weights, "W_dec": weights["W_dec"] * 0}, path)
    fails(ours, "NaN or infinity|every decoder row is zero")


def test_finite_weights_that_overflow(tmp_path):
    write(tmp_path, "gated", d_in=8)
    path = tmp_path / "sae_weights.safetensors"
    weights = load_file(path)
    save_file({**weights, "r_mag": weights["r_mag"] + 200}, path)
    fails(tmp_path, r"encode gives shape \[8, 96\], expected \[8, 96\] of finite numbers")


def test_an_unknown_decoder_cannot_slip_in(ours, monkeypatch):
    """A SAELens that one day decodes in another way is refused, not misread."""
    from sae_lens.saes import topk_sae

    real = topk_sae.act_times_W_dec

    def squared(acts, rows, rescale):
        return real(acts.square(), rows, rescale)

    def turned(acts, rows, rescale):
        return real(acts, rows, rescale).roll(1, dims=-1)

    def doubled(acts, rows, rescale):
        return 2 * real(acts, rows, rescale)

    for other in (squared, turned, doubled):
        monkeypatch.setattr(topk_sae, "act_times_W_dec", other)
        fails(ours, "decode does not add activation times decoder row")
    monkeypatch.setattr(topk_sae, "act_times_W_dec", real)
    saes.load(ours)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["topk", "none"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "architecture d_in d_sae k dtype device apply_b_dec_to_input normalize_activations reshape_activations "
    "rescale_acts_by_decoder_norm metadata sae_lens_version activation_fn activation_fn_kwargs hook_name"
).split()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(KINDS)),
    changes=st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=3),
    inner=st.dictionaries(st.sampled_from(["hook_name", "sae_lens_version", "to_dict", "self"]), JSON, max_size=2),
    gone=st.lists(st.sampled_from(FIELDS), max_size=2),
)
def test_no_cfg_json_brings_a_traceback(tmp_path, kind, changes, inner, gone):
    """It loads as an SAE that can be run, or it is one line."""
    folder = tmp_path / kind
    if not folder.exists():
        write(folder, kind, d_in=8, d_sae=24 if kind != "matryoshka" else 96)
        shutil.copy(folder / "cfg.json", folder / "whole.json")
    cfg = copy.deepcopy(json.loads((folder / "whole.json").read_text()))
    cfg["metadata"].update(inner)
    cfg.update(changes)
    for name in gone:
        cfg.pop(name, None)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    try:
        sae, message = saes.load(folder), str(folder)
    except ElicitError as error:
        sae, message = None, str(error)
    assert str(folder) in message
    assert "\n" not in message
    assert sae is None or bool(torch.isfinite(sae.reconstruct(torch.randn(3, 8))).all())
