"""Policies compared inside: against hooks by hand, trained weights, a null that holds its rate, zero for no change."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import elicit
import saes
from elicit.errors import ElicitError
from elicit.inside.comparing import compare_attention, compare_features, compare_shifts
from elicit.inside.comparing.features import flip_signs
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.steering import Steering
from tests.support.models import tiny_model

PROMPTS = ["Q:29+70\nA:", "Q:5+8\nA:", "Q:123+456\nA:", "Q:7+1\nA:"]


def steered(model: BaseModel, layer: int, positions: str = "first") -> tuple[torch.Tensor, Policy]:
    direction = torch.nn.functional.normalize(torch.arange(1.0, model.d_model + 1) % 7 - 3, dim=0)
    return direction, Policy(model, steering=(Steering(direction, layer, 2.0, "add", positions, 3.0),))


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2"])
def test_shift_of_a_vector(arch: str) -> None:
    """After its own layer the shift is the vector; later it is what a hand-written hook gives; before, nothing."""
    model = tiny_model(arch)
    direction, policy = steered(model, 1)
    other = torch.roll(direction, 1)
    result = compare_shifts(
        model,
        {"v": policy, "same": Policy(model)},
        PROMPTS,
        vectors={"v": direction, "other": other},
        positions=[-1, 0],
    )
    torch.testing.assert_close(result.get_direction("v", 1), 6 * direction, rtol=1e-3, atol=1e-4)
    shift = result.shifts["v"]
    assert (shift.norms[:, 0] == 0).all()
    assert (shift.norms[..., 0] == 0).all()  # before the last prompt token
    assert shift.shares[1, 1] == pytest.approx(1, abs=1e-6)
    assert np.isnan(shift.shares[0]).all()
    assert shift.cosines["v"][1, 1] == pytest.approx(1, abs=1e-5)
    assert shift.cosines["other"][1, 1] == pytest.approx(float(direction @ other), abs=1e-5)
    by_hand, kl = [], []
    for prompt in PROMPTS:
        ids = torch.tensor([list(model.encode(prompt))])
        with torch.no_grad():
            plain = model.hf(ids, output_hidden_states=False)
        before = model.residuals([prompt])[2, 0]

        def push(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
            edited = output[0] if isinstance(output, tuple) else output
            edited = edited.clone()
            edited[:, -1] += 6 * direction
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        handle = model.layers[1].register_forward_hook(push)
        with torch.no_grad():
            pushed = model.hf(ids)
        after = model.residuals([prompt])[2, 0]
        handle.remove()
        by_hand.append(float((after - before).norm() / before.norm()))
        pair = [
            x.logits[0, -1].float().index_fill(0, torch.tensor(model.banned_ids), -1e9).log_softmax(-1)
            for x in (plain, pushed)
        ]
        kl.append(float((pair[0].exp() * (pair[0] - pair[1])).sum()))
    np.testing.assert_allclose(shift.norms[:, 2, 1], by_hand, rtol=1e-3)
    np.testing.assert_allclose(shift.kl[:, 1], kl, rtol=1e-3, atol=1e-5)
    same = result.shifts["same"]
    assert (same.norms == 0).all()
    assert (same.kl == 0).all()


def test_continuations_and_short_texts() -> None:
    model = tiny_model("qwen2")
    _, policy = steered(model, 0, "generated")
    result = compare_shifts(
        model, {"v": policy}, ["ab", "abcdef"], ["xyz", "xy"], positions=range(-5, 4), layers=[0, 1]
    )
    norms = result.shifts["v"].norms
    assert result.offsets == tuple(range(-5, 4))
    assert np.isnan(norms[0, :, :3]).all()  # <bos> a b
    assert np.isnan(norms[1, :, -1]).all()  # the second continuation has two tokens
    assert (norms[:, :, 5] > 0).all() or (norms[:, :, 6] > 0).all()
    assert (norms[1, :, :5] == 0).all()
    assert result.layers == (0, 1)


def test_picture_frame_and_file(tmp_path: Path) -> None:
    model = tiny_model("llama")
    _, policy = steered(model, 1)
    result = compare_shifts(model, {"v": policy}, PROMPTS, positions=[-1, 0])
    frame = result.frame()
    row = frame[(frame.layer == 2) & (frame.offset == 0)].iloc[0]
    assert row.norm_low < row["norm"] < row.norm_high
    assert f"{row['norm']:.2f}" in result._repr_html_()
    document = json.loads(result.save(tmp_path / "shifts.json").read_text())
    assert document["rows"][-1]["norm"] == pytest.approx(row["norm"])


def test_attention_moves_where_the_residual_did() -> None:
    """Patterns equal the bridge's; steering after layer 0 leaves layer 0's patterns alone and moves later ones."""
    model = tiny_model("llama")
    _, policy = steered(model, 0, "all")
    result = compare_attention(model, {"v": policy, "same": Policy(model)}, PROMPTS)
    moved = result.get_moved("v")
    assert (moved[:, 0] == 0).all()
    assert (moved[:, 1] > 1e-4).all()
    assert moved.max() <= 1
    assert (result.get_moved("same") == 0).all()
    ids = torch.tensor([list(model.encode(PROMPTS[1]))])
    _, cache = model.bridge.run_with_cache(ids)
    expected = cache["blocks.1.attn.hook_pattern"][0, :, -1]
    ours = result.patterns["base"][1, 1][:, -ids.shape[1] :]
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)
    assert "attention moved" in result._repr_html_()
    assert len(result.frame()) == 2 * 3 * 4


def test_features_that_change_on_an_organism() -> None:
    """The cue's vector turns features of the shipped SAE on, the steering feature among them; the base changes none."""
    model = elicit.load("cued")
    task = elicit.tasks.get("addition")
    name = next(s.name for s in saes.shipped() if s.name.startswith("cued"))
    sae = saes.load(name)
    problems = task.problems("test", 24)
    prompts = [problem.prompt for problem in problems]
    vector = (model.residuals([str(p.cue_prompt) for p in problems]) - model.residuals(prompts)).mean(1)[sae.layer]
    edit = Steering(vector / vector.norm(), sae.layer, 1.5, "add", "first", model.residual_norms[sae.layer])
    result = compare_features(model, Policy(model, steering=(edit,)), sae, prompts)
    found = {change.feature: change for change in result.significant()}
    assert found
    with torch.no_grad():
        plain = model.residuals(prompts)[sae.layer]
        before, after = sae.encode(plain), sae.encode(plain + edit.strength * edit.unit * edit.direction)
    for change in result.changes:
        assert change.base == pytest.approx(float(before[:, change.feature].mean()), rel=1e-3, abs=1e-4)
        assert change.policy == pytest.approx(float(after[:, change.feature].mean()), rel=1e-3, abs=1e-4)
    same = compare_features(model, Policy(model), sae, prompts)
    assert same.significant() == []
    assert all(change.change == 0 for change in same.changes)


def test_sign_flips_hold_their_rate() -> None:
    random = np.random.default_rng(0)
    p = np.array(flip_signs(random.standard_t(3, (20, 2000)), 0))
    assert 0.03 < (p <= 0.05).mean() < 0.07
    assert min(flip_signs(np.ones((20, 1)), 0)) < 0.001
    exact = flip_signs(np.array([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]]), 0)[0]
    assert exact == pytest.approx(2 / 2**6, abs=0.006)
    assert flip_signs(np.zeros((10, 1)), 0) == [1.0]


def test_refuses() -> None:
    model = tiny_model("llama")
    _, policy = steered(model, 1)
    with pytest.raises(ElicitError, match="no policy"):
        compare_shifts(model, {}, PROMPTS)
    with pytest.raises(ElicitError, match=r"is \[3\]; expected \[32\]"):
        compare_shifts(model, {"v": policy}, PROMPTS, vectors={"x": torch.ones(3)})
    with pytest.raises(ElicitError, match="none named base"):
        compare_attention(model, {"base": policy}, PROMPTS)
    assert math.isnan(compare_shifts(model, {"v": policy}, PROMPTS[:1], positions=[0]).shifts["v"].shares[1, 0])
