"""Files of SAELens before version 6 are read as that version computed, by formulas written out here, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE as SAELensSAE
from safetensors.torch import load_file, save_file

import saes
from elicit.errors import ElicitError
from tests.saes.kinds import write

D, N = 12, 40
OLD: dict[str, Any] = {
    "model_name": "tiny", "hook_name": "blocks.1.hook_resid_post", "hook_layer": 1, "d_in": D, "d_sae": N,
    "dtype": "torch.float32", "device": "cuda", "apply_b_dec_to_input": True, "normalize_activations": "none",
    "architecture": "standard", "activation_fn_str": "relu", "prepend_bos": True, "context_size": 128, "lr": 3e-4,
}  # fmt: skip


def _random(seed: int = 0, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"W_enc": (D, N), "W_dec": (N, D), "b_enc": (N,), "b_dec": (D,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} | more


def _written(folder: Path, cfg: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


X = torch.randn(64, D, generator=torch.Generator().manual_seed(5)) * 2
SCALE = torch.linspace(-0.5, 3, N)


def _encode(w: dict[str, torch.Tensor], x: torch.Tensor, *, b_dec: bool = True) -> torch.Tensor:
    return (x - w["b_dec"] if b_dec else x) @ w["W_enc"] + w["b_enc"]


@pytest.mark.parametrize("name", ["scaling_factor", "finetuning_scaling_factor"])
@pytest.mark.parametrize("centred", [True, False])
def test_a_scaling_factor_of_finetuning(tmp_path: Path, name: str, centred: bool) -> None:
    w = _random()
    cfg = OLD | {"finetuning_scaling_factor": True, "apply_b_dec_to_input": centred}
    sae = saes.load(_written(tmp_path, cfg, {**w, name: SCALE}))
    f = torch.relu(_encode(w, X, b_dec=centred))
    torch.testing.assert_close(sae.encode(X), f, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sae.reconstruct(X), (f * SCALE) @ w["W_dec"] + w["b_dec"], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(sae.feature(7).direction, torch.nn.functional.normalize(SCALE[7] * w["W_dec"][7], dim=0))
    plain = saes.load(_written(tmp_path / "plain", OLD | {"apply_b_dec_to_input": centred}, w))
    assert not torch.allclose(plain.reconstruct(X), sae.reconstruct(X))


def test_a_scaling_factor_of_ones_is_none(tmp_path: Path) -> None:
    w = _random()
    for stated in (True, False):
        cfg = OLD | {"finetuning_scaling_factor": stated}
        sae = saes.load(_written(tmp_path / str(stated), cfg, {**w, "scaling_factor": torch.ones(N)}))
        assert torch.equal(sae.reconstruct(X), saes.load(_written(tmp_path / "plain", OLD, w)).reconstruct(X))


def test_a_gated_sae_with_a_scaling_factor(tmp_path: Path) -> None:
    """Against SAELens's own gated module, whose features are scaled by hand."""
    write(tmp_path / "plain", "gated", d_in=D, d_sae=N)
    theirs = SAELensSAE.load_from_disk(tmp_path / "plain")
    w = load_file(tmp_path / "plain" / "sae_weights.safetensors")
    cfg = OLD | {"architecture": "gated", "finetuning_scaling_factor": True}
    sae = saes.load(_written(tmp_path / "old", cfg, {**w, "scaling_factor": SCALE}))
    f = theirs.encode(X)
    torch.testing.assert_close(sae.encode(X), f, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sae.reconstruct(X), theirs.decode(f * SCALE), atol=1e-4, rtol=1e-5)


def test_thresholds_as_logarithms(tmp_path: Path) -> None:
    w, log = _random(), torch.linspace(-3, 1.5, N)
    sae = saes.load(_written(tmp_path, OLD | {"architecture": "jumprelu"}, {**w, "log_threshold": log}))
    pre = _encode(w, X)
    f = pre * (pre > log.exp())
    torch.testing.assert_close(sae.encode(X), f, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sae.reconstruct(X), f @ w["W_dec"] + w["b_dec"], atol=1e-4, rtol=1e-5)


def test_an_activation_of_the_largest(tmp_path: Path) -> None:
    w = _random()
    cfg = OLD | {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5}}
    pre = torch.relu(_encode(w, X))
    f = torch.zeros_like(pre).scatter(-1, pre.topk(5).indices, pre.topk(5).values)
    torch.testing.assert_close(saes.load(_written(tmp_path, cfg, w)).encode(X), f, atol=1e-5, rtol=1e-5)


ONES = {"scaling_factor": SCALE}


@pytest.mark.parametrize(
    ("cfg", "more", "said"),
    [
        ({}, ONES, "cfg.json does not say finetuning_scaling_factor true"),
        ({"finetuning_scaling_factor": False}, ONES, "cannot be told"),
        ({"finetuning_scaling_factor": True}, {}, "has no tensor scaling_factor"),
        ({"finetuning_scaling_factor": "yes"}, ONES, "expected true or false"),
        ({"finetuning_scaling_factor": True}, {"scaling_factor": torch.ones(3)}, r"has shape \[3\], expected \[40\]"),
        ({"finetuning_scaling_factor": True}, ONES | {"finetuning_scaling_factor": SCALE + 1}, "has both"),
        ({"architecture": "jumprelu"}, {"threshold": SCALE, "log_threshold": SCALE + 1}, "both threshold and log_thr"),
        ({}, {"log_threshold": SCALE}, "log_threshold|cannot read|threshold"),
        ({}, {"gain": SCALE}, "gain"),
        ({"activation_fn_str": "topk"}, {}, "activation_fn_kwargs has no k"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5, "postact_fn": "tanh"}}, {}, "expected k alone"),
        ({"activation_fn_str": "relu", "activation_fn_kwargs": {"power": 2}}, {}, "expected nothing"),
        ({"activation_fn_str": "tanh-relu"}, {}, "unknown activation_fn 'tanh-relu'"),
        ({"normalize_activations": True}, {}, "expected_average_only_in"),
        ({"normalize_activations": "expected_average_only_in"}, {}, "to be scaled first"),
        ({"hook_name": "blocks.1.attn.hook_z"}, {}, "hook_z"),
        ({"hook_head_index": 2}, {}, "one attention head"),
        ({"hook_name_out": "blocks.1.hook_mlp_out"}, {}, "a transcoder"),
        ({"is_transcoder": True}, {}, "a transcoder"),
        ({"d_out": 24}, {}, "d_out is 24"),
        ({"sae_lens_version": "latest"}, {}, "which is not a version"),
    ],
)
def test_what_would_be_misread_is_refused(tmp_path: Path, cfg: dict[str, Any], more: dict[str, Any], said: str) -> None:
    with pytest.raises(ElicitError, match=said) as caught:
        saes.load(_written(tmp_path, OLD | cfg, _random(1, **more)))
    assert str(tmp_path) in str(caught.value)


def test_a_field_that_version_6_does_not_have(tmp_path: Path) -> None:
    """SAELens drops it, whatever it means."""
    write(tmp_path, "standard", d_in=D, d_sae=N)
    saes.load(tmp_path)
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps(cfg | {"output_gain": 2.0}))
    with pytest.raises(ElicitError, match="unknown field 'output_gain'"):
        saes.load(tmp_path)
