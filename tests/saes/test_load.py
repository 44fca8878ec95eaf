"""Loading: shipped SAEs, SAELens's folders, folders of SAEs that plain SAELens code trained; and back into SAELens."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
import sae_lens
import torch
from safetensors.torch import load_file, save_file

import elicit
import saes
from elicit.errors import ElicitError
from elicit.steering.spec import feature_edit
from saes import catalog
from saes.loading.centred import CentredCoder
from saes.manifest import parse_hook_layer
from tests.saes.kinds import write


@pytest.fixture(scope="module")
def cued():
    return elicit.load("cued")


def texts(model, n=64):
    from elicit.comparison.spec import build_task

    task = build_task({"task": "addition"}, model.card.get("dialect"), where="test")
    return [problem.cue_prompt + task.worked(problem) for problem in task.problems("train", n)]


@pytest.mark.parametrize("name", saes.names())
def test_what_we_ship_is_a_plain_saelens_sae(name):
    """It loads in SAELens alone, and SAELens computes what we do, bit for bit."""
    ours = saes.load(name)
    theirs = sae_lens.SAE.load_from_disk(catalog.find_shipped_folder(name), dtype="float32")
    h = torch.randn(32, ours.d_model, generator=torch.Generator().manual_seed(0)) * ours.manifest.norm / 11
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(h), theirs.encode(h), rtol=0, atol=0)
        torch.testing.assert_close(ours.reconstruct(h), theirs(h), rtol=0, atol=0)
        torch.testing.assert_close(ours.error(h), h - theirs(h), rtol=0, atol=0)
    assert ours.manifest.weights_sha256 is not None
    assert ours.manifest.hook == theirs.cfg.metadata.hook_name
    assert ours.name == name
    assert parse_hook_layer(ours.manifest.hook) == ours.layer
    assert saes.load(name).sha256 == ours.sha256


def test_an_sae_trained_by_plain_saelens_code_loads_and_steers(cued, tmp_path):
    """The training is SAELens's own example, on a bridge, with nothing of ours."""
    from datasets import Dataset
    from sae_lens import (
        LanguageModelSAERunnerConfig,
        LanguageModelSAETrainingRunner,
        LoggingConfig,
        TopKTrainingSAEConfig,
    )

    config = LanguageModelSAERunnerConfig(
        sae=TopKTrainingSAEConfig(d_in=128, d_sae=256, k=8, normalize_activations="expected_average_only_in"),
        model_name="cued",
        hook_name="blocks.1.hook_resid_post",
        is_dataset_tokenized=False,
        streaming=False,
        context_size=16,
        training_tokens=20_480,
        train_batch_size_tokens=512,
        store_batch_size_prompts=16,
        n_batches_in_buffer=64,
        n_batches_for_norm_estimate=4,
        lr=3e-3,
        logger=LoggingConfig(log_to_wandb=False),
        checkpoint_path=None,
        output_path=str(tmp_path),
        verbose=False,
    )
    signals = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        LanguageModelSAETrainingRunner(
            config, override_dataset=Dataset.from_dict({"text": texts(cued, 400)}), override_model=cued.bridge
        ).run()
    finally:
        signal.signal(signal.SIGINT, signals[0])
        signal.signal(signal.SIGTERM, signals[1])

    sae = saes.load(str(tmp_path))
    assert (sae.manifest.model, sae.layer, sae.manifest.architecture, sae.manifest.k) == ("cued", 1, "topk", 8)
    assert sae.manifest.weights_sha256 is None
    sequences = [cued.encode(text) for text in texts(cued)]
    found = saes.check(sae, cued.hf, model_name="cued", weights_sha256=cued.weights_sha256, sequences=sequences)
    assert found.kind == "unverified"
    assert found.explained_variance > 0.8
    h = torch.cat([harvest.h for harvest in saes.stream(cued.hf, 1, sequences)])
    feature = sae.feature(int(sae.encode(h).mean(dim=0).argmax()))
    edit = feature_edit(feature, 4.0, unit=float(h.norm(dim=-1).median()), positions="first")
    prompt = "3+4="
    plain = cued.residuals([prompt])
    with cued.steer(edit, prompt_lengths=len(cued.encode(prompt))) as firings:
        steered = cued.residuals([prompt])
    assert firings.total == 1
    torch.testing.assert_close(steered[1, 0] - plain[1, 0], edit.absolute * feature.direction, rtol=1e-3, atol=1e-2)
    assert float((steered[2] - plain[2]).norm()) > 1


def test_a_bfloat16_folder_is_computed_in_float32(tmp_path):
    write(tmp_path, "topk", d_in=16)
    weights = load_file(tmp_path / "sae_weights.safetensors")
    save_file({name: part.bfloat16() for name, part in weights.items()}, tmp_path / "sae_weights.safetensors")
    sae = saes.load(tmp_path)
    assert sae.directions.dtype == torch.float32
    h = torch.randn(4, 16)
    rounded = {name: part.bfloat16().float() for name, part in weights.items()}
    pre = ((h - rounded["b_dec"]) @ rounded["W_enc"] + rounded["b_enc"]) * rounded["W_dec"].norm(dim=-1)
    top = pre.topk(8, dim=-1)
    torch.testing.assert_close(sae.encode(h), torch.zeros_like(pre).scatter(-1, top.indices, top.values.relu()))
    assert sae.encode(h.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(("kind", "on_disk"), [("batchtopk", "jumprelu"), ("matryoshka", "jumprelu"), ("topk", "topk")])
def test_the_manifest_names_the_kind_it_was_trained_as(tmp_path, kind, on_disk):
    write(tmp_path, kind, d_in=16, layer=2)
    assert json.loads((tmp_path / "cfg.json").read_text())["architecture"] == on_disk
    manifest = saes.load(tmp_path).manifest
    expected = {"matryoshka": "matryoshka_batchtopk"}.get(kind, kind)
    assert (manifest.architecture, manifest.k, manifest.layer) == (expected, 8, 2)


@pytest.mark.parametrize("bias", [True, False])
def test_the_input_bias_is_applied_as_the_config_says(tmp_path, bias):
    write(tmp_path, "standard", d_in=16, apply_b_dec_to_input=bias)
    sae, w = saes.load(tmp_path), load_file(tmp_path / "sae_weights.safetensors")
    h = torch.randn(4, 16)
    expected = torch.relu((h - w["b_dec"] * bias) @ w["W_enc"] + w["b_enc"])
    torch.testing.assert_close(sae.encode(h), expected)


def test_gated_and_jumprelu_encode_as_their_papers_say(tmp_path):
    h = torch.randn(64, 16)
    write(tmp_path / "g", "gated", d_in=16)
    w = load_file(tmp_path / "g" / "sae_weights.safetensors")
    x = h - w["b_dec"]
    gate = x @ w["W_enc"] + w["b_gate"] > 0
    expected = gate * torch.relu(x @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"])
    torch.testing.assert_close(saes.load(tmp_path / "g").encode(h), expected)
    write(tmp_path / "j", "jumprelu", d_in=16)
    w = load_file(tmp_path / "j" / "sae_weights.safetensors")
    pre = (h - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    f = saes.load(tmp_path / "j").encode(h)
    torch.testing.assert_close(f, pre * (pre > w["threshold"]))
    assert 0 < (f > 0).float().mean() < 1


def test_a_folder_of_an_older_saelens_loads(tmp_path):
    """Version 5 wrote a flat cfg.json, with booleans and None where there are words now."""
    write(tmp_path, "topk_plain", d_in=16, layer=3)
    flat = {
        "architecture": "standard",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 8},
        "d_in": 16,
        "d_sae": 96,
        "dtype": "float32",
        "device": "cpu",
        "model_name": "gpt2-small",
        "hook_name": "blocks.3.hook_resid_pre",
        "hook_layer": 3,
        "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False,
        "normalize_activations": None,
        "sae_lens_training_version": None,
    }
    before = saes.load(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps(flat))
    sae = saes.load(tmp_path)
    assert (sae.layer, sae.manifest.hook, sae.manifest.k) == (2, "blocks.3.hook_resid_pre", 8)
    h = torch.randn(8, 16)
    torch.testing.assert_close(sae.encode(h), before.encode(h), rtol=0, atol=0)


def test_a_layer_that_the_files_do_not_tell_is_asked_for(tmp_path):
    write(tmp_path, "standard", d_in=16)
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    del cfg["metadata"]["hook_name"]
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    with pytest.raises(ElicitError, match=r"does not say which layer this SAE reads. Type saes.load\(.*, layer=L\)"):
        saes.load(tmp_path)
    assert saes.load(tmp_path, layer=2).layer == 2


def test_centred_weights_are_read_by_centring_the_residual(tmp_path):
    """TransformerLens's centring of a LayerNorm model takes the mean over d_model out of its residual: on GPT-2."""
    from tests.support.models import tiny_model

    model = tiny_model("gpt2")
    write(tmp_path, "standard", d_in=model.d_model)
    inner = saes.load(tmp_path)
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    cfg["metadata"]["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    sae = saes.load(tmp_path)
    assert isinstance(sae.coder, CentredCoder)
    assert sae.manifest.training == {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
    ids = torch.tensor([model.encode("the cat sat on")])
    hook = "blocks.1.hook_resid_post"
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(ids)
        raw = cache[hook].clone()
        centred = tiny_model("gpt2").bridge
        centred.enable_compatibility_mode(fold_ln=False, center_unembed=False, fold_value_biases=False)
        _, cache = centred.run_with_cache(ids)
    processed = cache[hook]
    assert float((processed - raw).abs().max()) > 0.1, "the processing changed nothing"
    torch.testing.assert_close(sae.encode(raw), inner.encode(processed), rtol=1e-4, atol=1e-4)
    half = raw.bfloat16()
    torch.testing.assert_close(sae.encode(half), sae.encode(half.float()), rtol=0, atol=0)


def test_unknown_names_say_what_there_is(tmp_path):
    with pytest.raises(ElicitError, match=r"unknown SAE 'cude/L1'. Did you mean 'cued/L1'\? Known: "):
        saes.load("cude/L1")
    with pytest.raises(ElicitError, match=r"SAE folder ./nowhere does not exist"):
        saes.load("./nowhere")
    for name in ("", "x" * 5000, "~nobody-at-all/x", "a\0b", ":", "x:", ":x"):
        with pytest.raises(ElicitError):
            saes.load(name)
    for device in ("gpu", "meta", ""):
        with pytest.raises(ElicitError, match=f"device '{device}' cannot be used here"):
            saes.load("cued/L1", device=device)


def test_a_folder_wins_only_by_its_path(tmp_path, monkeypatch):
    write(tmp_path / "cued" / "L1", "standard", d_in=16)
    monkeypatch.chdir(tmp_path)
    assert saes.load("cued/L1").d_model == 128
    assert saes.load("./cued/L1").d_model == 16


def test_residuals_that_do_not_fit_are_refused():
    sae = saes.load("cued/L1")
    with pytest.raises(ElicitError, match=r"reads residuals \[..., 128\] of floating point; these are \[3, 64\]"):
        sae.encode(torch.zeros(3, 64))
    with pytest.raises(ElicitError, match=r"these are \[3, 128\] of torch.int64"):
        sae.encode(torch.zeros(3, 128, dtype=torch.long))
    with pytest.raises(ElicitError, match=r"has no feature 512. Its features are 0 to 511"):
        sae.feature(512)


def test_names_of_given_weights(cued):
    own = saes.names(weights_sha256=cued.weights_sha256)
    assert {"cued/L0", "cued/L1", "cued/L2"} <= set(own) <= set(saes.names())
    assert saes.names(weights_sha256="0" * 64) == []
    for entry in saes.shipped():
        assert (entry.d_sae, entry.manifest) == (saes.load(entry.name).d_sae, saes.load(entry.name).manifest)


def test_the_hash_is_of_the_weights_and_settings(tmp_path):
    write(tmp_path / "a", "standard", d_in=16)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert saes.load(tmp_path / "a").sha256 == saes.load(tmp_path / "b").sha256
    write(tmp_path / "b", "standard", d_in=16, seed=1)
    assert saes.load(tmp_path / "a").sha256 != saes.load(tmp_path / "b").sha256
