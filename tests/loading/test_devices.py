"""Precisions, and models whose layers are placed by a device map.

There is one device here. What can be seen on it: with accelerate's hooks on every layer (as several GPUs have them)
the lab says and samples the same; and a real mixture of devices is played by fake tensors, which know their device.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import dispatch_model

import elicit
from elicit.errors import ElicitError
from elicit.loading import devices, load_transformers, weights_hash
from elicit.model import BaseModel
from elicit.sampling import Decoding
from elicit.steering import Steering
from tests.loading.test_load import saved

DECODING = Decoding(max_new_tokens=12)
PROMPTS = ["3+4=", "hello there"]


def spread(base: BaseModel) -> None:
    """Accelerate's hooks on every part, as `device_map="balanced"` puts them there on several GPUs."""
    names = ["model.embed_tokens", *(f"model.layers.{i}" for i in range(base.n_layers)), "model.norm", "lm_head"]
    dispatch_model(base.hf, {**dict.fromkeys(names, "cpu"), "model.rotary_emb": "cpu"}, force_hooks=True)
    assert sum(hasattr(module, "_hf_hook") for module in base.hf.modules()) > base.n_layers


def direction(base: BaseModel) -> torch.Tensor:
    return torch.randn(base.d_model, generator=torch.Generator().manual_seed(0))


def said(base: BaseModel) -> tuple[Any, ...]:
    """What it samples, samples steered, scores, and shows of its residuals."""
    plain = base.sample(PROMPTS, n=2, decoding=DECODING.replace(temperature=1.0))
    edit = Steering(direction(base), 1, 2.0, "add", "all", base.residual_norms.medians[1])
    with base.steer(edit):
        steered = base.sample(PROMPTS, decoding=DECODING)
        scores = base.score(PROMPTS, ["12", "abc"])
    assert [one.text for drawn in steered for one in drawn] != [
        one.text for drawn in base.sample(PROMPTS, decoding=DECODING) for one in drawn
    ]
    return plain, steered, scores, base.residuals(PROMPTS).tolist()


def test_a_dispatched_model_says_the_same(tmp_path: Path) -> None:
    _, _, folder = saved(tmp_path)
    alone, placed = elicit.load(str(folder)), elicit.load(str(folder))
    spread(placed)
    assert said(placed) == said(alone)
    assert weights_hash(placed.hf) == alone.weights_sha256
    ids = torch.tensor([placed.encode("3+4=")])
    torch.testing.assert_close(placed.bridge(ids), placed.hf(ids).logits, rtol=1e-4, atol=1e-4)
    assert not devices.is_spread(placed.hf)
    assert devices.require_one_device(placed.hf, "sft") == torch.device("cpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_precision_loads_samples_steers_and_scores(tmp_path: Path, dtype: str) -> None:
    _, _, folder = saved(tmp_path)
    base = elicit.load(str(folder), dtype=dtype)
    assert str(base.dtype) == f"torch.{dtype}"
    plain, steered, scores, _ = said(base)
    assert len(plain) == len(steered) == len(scores) == 2
    assert all(p <= 0 for row in scores for p in row)
    if dtype != "float32":
        exact = elicit.load(str(folder), dtype="float32").residuals(PROMPTS)
        close = {"bfloat16": 0.1, "float16": 0.02}[dtype]
        error = (base.residuals(PROMPTS) - exact).norm() / exact.norm()
        assert 0 < error < close


def test_a_layer_on_another_device_is_steered_there() -> None:
    """Fake tensors refuse to mix devices, as real ones do: a vector left on the first one would raise here."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from elicit.steering.hooks import _apply_edit, to_hook_edit
    from elicit.steering.position_tracker import build_step_frame

    step = build_step_frame(1, np.arange(2), np.zeros(2, dtype=int))
    edit = to_hook_edit(Steering(torch.randn(8), 0, 1.0, "add", "all", 1.0))
    with FakeTensorMode(allow_non_fake_inputs=True):
        h = torch.empty(2, 1, 8, device="cuda:1", dtype=torch.bfloat16)
        with pytest.raises(RuntimeError, match="same device"):
            h + torch.empty(8, device="cuda:0", dtype=torch.bfloat16)
        edited, _ = _apply_edit(edit, step, h, None)
        assert (edited.device, edited.dtype) == (h.device, h.dtype)


def test_which_device_is_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices.choose_device("auto") == devices.choose_device("cpu") == "cpu"
    with pytest.raises(ElicitError, match=r"device 'balanced' spreads a model over GPUs, and torch sees none\. Type: "):
        load_transformers("cued", device="balanced")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [devices.choose_device(name) for name in ("auto", "cuda", "cuda:1", "balanced")] == [
        *("cuda:0", "cuda:0", "cuda:1", "balanced"),
    ]
    monkeypatch.setattr("elicit.loading.memory.free_gpus", lambda: {0: 5, 1: 6})
    assert devices.loading_options("balanced") == {"device_map": "balanced", "max_memory": {0: 5, 1: 6}}
    assert devices.loading_options("cuda:1") == {"device_map": {"": "cuda:1"}}
    assert devices.loading_options("cpu") == {}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert devices.choose_device("balanced") == "cuda:0"
    spread_model = torch.nn.ModuleList([torch.nn.Linear(1, 1), torch.nn.Linear(1, 1, device="meta")])
    with pytest.raises(ElicitError, match="sft needs the model on one device, and device='balanced' has spread it"):
        devices.require_one_device(spread_model, "sft")
