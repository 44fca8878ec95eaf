"""Editing one latent with the error kept is a rank-one edit of the residual: every kind, mode and position form.

The reference never uses the lab's algebra: it encodes, overwrites one activation, decodes, and puts the error back.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

import elicit
import saes
from elicit.errors import ElicitError
from elicit.steering import Steering
from elicit.steering.spec import feature_edit
from tests.saes.kinds import KINDS, write

LAYER = 1
PROMPTS = ["3+4=", "12+30="]
#: What one activation becomes.
CHANGES = {"clamp": lambda f, c: torch.full_like(f, c), "scale": lambda f, c: f * c, "ablate": lambda f, c: f * 0}


@pytest.fixture(scope="module")
def model():
    return elicit.load("cued")


@pytest.fixture(scope="module")
def h(model):
    """Residuals after LAYER of running text: [token d_model]."""
    sequences = [model.encode(prompt + "2,5 1+1=2;") for prompt in PROMPTS]
    return torch.cat([harvest.h for harvest in saes.stream(model.hf, LAYER, sequences)])


@pytest.fixture(scope="module", params=[*KINDS, "shipped"])
def sae(request, model, h, tmp_path_factory):
    if request.param == "shipped":
        return saes.load("cued/L1")
    folder = tmp_path_factory.mktemp(request.param)
    write(folder, request.param, d_in=model.d_model, layer=LAYER, scale=float(h.std()))
    return saes.load(str(folder))


def a_feature(sae, h):
    """One that fires on some tokens and not on others."""
    share = (sae.encode(h) != 0).float().mean(dim=0)
    return sae.feature(int((share - 0.5).abs().argmin()))


@contextmanager
def spliced(model, sae, index, change, where):
    """The definition: the residual becomes decode(f with f_i changed) + (h - decode(f)) at the positions `where`."""

    def hook(module, args, output):
        before = output[0] if isinstance(output, tuple) else output
        f = sae.coder.encode(before)
        changed = f.clone()
        changed[:, where, index] = change(f[:, where, index])
        after = sae.coder.decode(changed) + (before - sae.coder.decode(f))
        return (after, *output[1:]) if isinstance(output, tuple) else after

    handle = model.layers[LAYER].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("positions", ["all", "first"])
@pytest.mark.parametrize("mode", CHANGES)
def test_steering_a_feature_equals_splicing_its_reconstruction(model, sae, h, mode, positions):
    feature = a_feature(sae, h)
    f = feature.activation(h)
    c = {"clamp": 1.7 * float(f.abs().max()), "scale": 2.5, "ablate": 1.0}[mode]
    unit = feature.norm if mode == "clamp" else 1.0
    edit = feature_edit(feature, c, unit=unit, mode=mode, positions=positions)
    moved = []
    for prompt in PROMPTS:
        ids = torch.tensor([model.encode(prompt + "2,5")])
        length = ids.shape[1] - 2
        where = slice(None) if positions == "all" else slice(length - 1, length)
        with torch.no_grad():
            plain = model.hf(ids).logits
            with spliced(model, sae, feature.index, lambda f: CHANGES[mode](f, c), where):
                expected = model.hf(ids).logits
            with model.steer(edit, prompt_lengths=length):
                got = model.hf(ids).logits
        torch.testing.assert_close(got, expected, rtol=0, atol=3e-6 * float(expected.abs().max()))
        moved.append(float((expected - plain).abs().max()))
    if mode == "clamp":
        assert min(moved) > 1e-2, "an edit without effect would show nothing"


def test_saelens_own_way_to_edit_a_latent_gives_the_same_residual(sae, h):
    """`sae(x)` with its error term, and a hook on `hook_sae_acts_post`."""
    feature = a_feature(sae, h)
    c = 1.7 * float(feature.activation(h).abs().max())

    def clamp(acts, hook):
        acts[..., feature.index] = c
        return acts

    sae.coder._use_error_term = True
    try:
        with torch.no_grad():
            expected = sae.coder.run_with_hooks(h, fwd_hooks=[("hook_sae_acts_post", clamp)])
    finally:
        sae.coder._use_error_term = False
    got = h + feature_edit(feature, c, unit=feature.norm, mode="clamp").delta(feature.direction, h)
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-6 * float(h.abs().max()) + 1e-6 * c)


def test_directions_are_what_decoding_adds(sae):
    one_each = torch.eye(sae.d_sae)
    with torch.no_grad():
        b = sae.decode(torch.zeros(1, sae.d_sae))
        rows = sae.decode(one_each) - b
    torch.testing.assert_close(rows, sae.directions, rtol=1e-4, atol=2e-6 * float(b.abs().max()) + 1e-6)


@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
def test_an_sae_that_normalises_each_token_can_be_read_and_added_but_not_clamped(tmp_path, h, normalisation):
    write(tmp_path, "standard", d_in=h.shape[1], layer=LAYER, normalize_activations=normalisation)
    sae = saes.load(str(tmp_path))
    assert not sae.linear
    feature = sae.feature(3)
    with torch.no_grad():
        f = sae.encode(h)
        before = sae.coder.decode(f)
        sae.encode(h)
        f[:, 3] += 1
        step = sae.coder.decode(f) - before
    size = {"layer_norm": h.std(dim=-1), "constant_norm_rescale": h.norm(dim=-1) / h.shape[1] ** 0.5}[normalisation]
    torch.testing.assert_close(step, size[:, None] * sae.directions[3], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(sae.reconstruct(h) + sae.error(h), h)
    with pytest.raises(ElicitError, match="activations alone do not tell the residual"):
        sae.decode(f)
    Steering(feature.direction, LAYER, 1.0, "add")
    with pytest.raises(ElicitError, match="normalises every token by itself"):
        feature.coefficient(h)
    with pytest.raises(ElicitError, match=r"cannot be edited with mode clamp. Use mode add"):
        feature_edit(feature, 1.0, unit=1.0, mode="clamp")
