"""Caches, patches, paths and attributions against TransformerLens's bridge, on random models of six architectures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elicit.activations import LogitDifference
from tests.support.models import tiny_model

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gpt_neox", "gpt2")
TEXTS = ["the quick fox", "12+34=46. so", "abc", "QED, said he to her"]
OTHERS = ["a slower dog", "98-76=22; oh", "xyz", "Not so, said she: no"]
MEASURE = LogitDifference("a", "b")


def _name_hook(arch: str, site: str, layer: int) -> str:
    """TransformerLens's name. Behind Gemma's norms the summand of the residual is the norm's output."""
    if arch == "gemma2" and site in ("attn_out", "mlp_out"):
        return f"blocks.{layer}.{'ln1_post' if site == 'attn_out' else 'ln2_post'}.hook_out"
    return {
        "resid_pre": f"blocks.{layer}.hook_in",
        "resid_mid": f"blocks.{layer}.ln2.hook_in",
        "resid_post": f"blocks.{layer}.hook_out",
        "attn_out": f"blocks.{layer}.attn.hook_out",
        "mlp_out": f"blocks.{layer}.mlp.hook_out",
        "z": f"blocks.{layer}.attn.o.hook_in",
        "pattern": f"blocks.{layer}.attn.hook_pattern",
    }[site]


def _list_sites(arch: str) -> list[str]:
    sites = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "pattern"]
    return [site for site in sites if site != "resid_mid" or arch != "gpt_neox"]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_cache_equals_the_bridges(arch):
    model = tiny_model(arch)
    cache = model.cache(TEXTS, sites=_list_sites(arch))
    for prompt, text in enumerate(TEXTS):
        ids = torch.tensor([model.encode(text)])
        with torch.no_grad():
            _, theirs = model.bridge.run_with_cache(ids)
        length = ids.shape[1]
        for site in _list_sites(arch):
            for layer in range(model.n_layers):
                expected = theirs[_name_hook(arch, site, layer)][0]
                ours = cache[site, layer][prompt]
                if site == "pattern":
                    assert bool(ours[:, -length:, -length:].isfinite().all())
                    assert bool(ours[:, :-length].isnan().all())
                    ours = ours[:, -length:, -length:]
                else:
                    assert bool(ours[:-length].isnan().all())
                    ours = ours[-length:].reshape(expected.shape)
                torch.testing.assert_close(ours, expected, atol=2e-3, rtol=2e-3, msg=f"{site}.{layer}")


def _patch_by_bridge(model, arch, site, layer, offset, source: str, target: str, head=None) -> float:
    """The measure with one activation of `source` put into `target`, by TransformerLens's hooks."""
    name = _name_hook(arch, site, layer)
    ids = [torch.tensor([model.encode(text)]) for text in (source, target)]
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(ids[0])
        value = cache[name][0, ids[0].shape[1] - 1 + offset]

        def put(tensor, hook):
            edited = tensor.clone()
            if head is None:
                edited[0, tensor.shape[1] - 1 + offset] = value
            else:
                width = tensor.shape[-1] // model.hf.config.num_attention_heads if tensor.ndim == 3 else 1
                where = slice(head * width, (head + 1) * width) if tensor.ndim == 3 else head
                edited[0, tensor.shape[1] - 1 + offset, where] = value[where]
            return edited

        logits = model.bridge.run_with_hooks(ids[1], fwd_hooks=[(name, put)])[0, -1]
    return _difference(model, logits)


def _difference(model, logits) -> float:
    a, b = (model.continuation(text)[0] for text in "ab")
    return float(logits[a] - logits[b])


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_sweep_equals_patches_by_the_bridge(arch):
    model = tiny_model(arch)
    # The bridge's resid_mid is the second norm's input alone: a patch there leaves the residual as it was.
    sites = ["resid_pre", "resid_post", "attn_out", "mlp_out", "z.1.2"]
    sweep = model.patch(from_=OTHERS, to=TEXTS, measure=MEASURE, sites=sites, positions=[0, -2])
    largest = 0.0
    for s, site in enumerate(sweep.sites):
        for o, offset in enumerate(sweep.offsets):
            for prompt in (0, 2):
                texts = OTHERS[prompt], TEXTS[prompt]
                expected = _patch_by_bridge(model, arch, site.name, site.layer, offset, *texts, head=site.head)
                largest = max(largest, abs(float(sweep.patched[0, s, o, prompt, 0]) - expected))
    scale = float(np.abs(sweep.patched).max())
    print(f"{arch}: largest difference {largest:.2g} of {scale:.3g}")
    assert largest < 2e-3 * max(1.0, scale)
    assert np.abs(sweep.get_effects()).max() > 0.1


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2"])
def test_the_residual_in_the_middle_is_patched_as_a_whole(arch):
    """With the source's residual in the middle of a layer, the rest of the layer is the source's too."""
    model = tiny_model(arch)
    options = {"from_": OTHERS, "to": TEXTS, "measure": MEASURE, "layers": [1], "positions": [0]}
    middle, after = (model.patch(sites=site, **options) for site in ("resid_mid", "resid_post"))
    np.testing.assert_allclose(middle.patched[0], after.patched[0], atol=1e-3)


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2"])
def test_controls_are_what_they_say(arch):
    """`shuffled` is a patch from another prompt's source; `mean` the mean of the targets' own activations."""
    model = tiny_model(arch)
    texts = ["abcd", "efgh", "ijkl"]
    others = ["mnop", "qrst", "uvwx"]
    sweep = model.patch(from_=others, to=texts, measure=MEASURE, layers=[1], positions=[0])
    assert sweep.kinds == ("patched", "shuffled", "mean")
    shuffled = sweep.patched[1, 0, 0, :, 0]
    by_source = np.array(
        [[_patch_by_bridge(model, arch, "resid_post", 1, 0, source, target) for source in others] for target in texts]
    )
    for prompt in range(3):
        distance = np.abs(by_source[prompt] - shuffled[prompt])
        assert distance.argmin() != prompt
        assert distance.min() < 1e-3
    own = model.cache(texts)["resid_post", 1][:, -1].mean(0)
    ids = torch.tensor([model.encode(texts[0])])

    def put(tensor, hook):
        edited = tensor.clone()
        edited[0, -1] = own
        return edited

    with torch.no_grad():
        logits = model.bridge.run_with_hooks(ids, fwd_hooks=[("blocks.1.hook_out", put)])[0, -1]
    assert abs(_difference(model, logits) - sweep.patched[2, 0, 0, 0, 0]) < 1e-3


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt_neox", "gpt2"])
@pytest.mark.parametrize(
    ("sender", "receiver"), [("z.0.1", "mlp_out.2"), ("mlp_out.0", "z.2.3"), ("z.0.0", "resid_post.2")]
)
def test_a_path_equals_one_by_the_bridge(arch, sender, receiver):
    model = tiny_model(arch)
    source, target = "abcdefg", "tuvwxyz"
    sweep = model.patch_paths(from_=[source], to=[target], measure=MEASURE, senders=sender, receiver=receiver)
    expected = _patch_path_by_bridge(model, arch, sender, receiver, source, target)
    assert abs(float(sweep.patched[0, 0, 0, 0, 0]) - expected) < 5e-3
    assert abs(expected - float(sweep.target[0, 0])) > 1e-3


def _patch_path_by_bridge(model, arch, sender, receiver, source, target) -> float:
    """The three passes of path patching, by TransformerLens's hooks."""
    ids = [torch.tensor([model.encode(text)]) for text in (source, target)]
    heads = model.hf.config.num_attention_heads
    (s_name, s_layer, *s_head), (r_name, r_layer, *r_head) = sender.split("."), receiver.split(".")
    s_hook, r_hook = _name_hook(arch, s_name, int(s_layer)), _name_hook(arch, r_name, int(r_layer))

    def put(value, head=None):
        def replace(tensor, hook):
            if head is None:
                return value
            edited = tensor.clone()
            if tensor.ndim == 3:
                width = tensor.shape[-1] // heads
                edited[..., head * width : (head + 1) * width] = value[..., head * width : (head + 1) * width]
            else:
                edited[:, :, head] = value[:, :, head]
            return edited

        return replace

    with torch.no_grad():
        _, from_source = model.bridge.run_with_cache(ids[0])
        _, own = model.bridge.run_with_cache(ids[1])
        hooks = [(s_hook, put(from_source[s_hook], int(s_head[0]) if s_head else None))]
        for layer in range(model.n_layers):
            for k, name in enumerate(("attn_out", "mlp_out")):
                after = (layer, k) > (int(s_layer), 0 if s_name == "z" else 1)
                before = (layer, k) < (int(r_layer), {"z": 0, "mlp_out": 1, "resid_post": 2}[r_name])
                if after and before:
                    hook = _name_hook(arch, name, layer)
                    hooks.append((hook, put(own[hook])))
        kept = []
        hooks.append((r_hook, lambda tensor, hook: kept.append(tensor.clone())))
        model.bridge.run_with_hooks(ids[1], fwd_hooks=hooks)
        final = [(r_hook, put(kept[0], int(r_head[0]) if r_head else None))]
        return _difference(model, model.bridge.run_with_hooks(ids[1], fwd_hooks=final)[0, -1])


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2"])
def test_attribution_is_the_derivative_of_a_patch(arch):
    """For a small step from target to source, the exact patch's effect is the first-order one."""
    model = tiny_model(arch)
    scores = model.attribute(from_=OTHERS, to=TEXTS, measure=MEASURE, sites=["resid_post", "z.1.2"], positions=[0, -1])
    own, given = (model.cache(texts, sites=["resid_post", "z"]) for texts in (TEXTS, OTHERS))
    step = 1e-3
    for s, site in enumerate(scores.sites):
        for o, offset in enumerate(scores.offsets):
            for prompt in (0, 3):
                values = [cache[site][prompt, cache.get_column(offset)] for cache in (own, given)]
                moved = [
                    _run_with(model, TEXTS[prompt], site, offset, values[0] + k * (values[1] - values[0]))
                    for k in (-step, step)
                ]
                slope = (moved[1] - moved[0]) / (2 * step)
                assert scores.effects[s, o, prompt] == pytest.approx(slope, abs=0.05, rel=0.05)


def _run_with(model, text, site, offset, value) -> float:
    """The measure with `value` at the site, by a hand-written hook, in float64."""
    import copy

    hf = copy.deepcopy(model.hf).double()
    from elicit.loading import architectures
    from elicit.loading.parts import find_layer_parts

    layer = architectures.get_decoder_layers(hf)[site.layer]
    if site.name == "z":
        projection = layer.get_submodule(find_layer_parts(model.hf, site.layer).projection)

        def edit(module, args):
            z = args[0].clone()
            width = len(value)
            z[0, z.shape[1] - 1 + offset, site.head * width : (site.head + 1) * width] = value.double()
            return (z,)

        projection.register_forward_pre_hook(edit)
    else:

        def edit_output(module, args, output):
            h = (output[0] if isinstance(output, tuple) else output).clone()
            h[0, h.shape[1] - 1 + offset] = value.double()
            return (h, *output[1:]) if isinstance(output, tuple) else h

        layer.register_forward_hook(edit_output)
    with torch.no_grad():
        return _difference(model, hf(torch.tensor([model.encode(text)])).logits[0, -1])
