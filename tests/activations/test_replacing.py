"""`model.replace`: functions of one's own at any site, against hooks written by hand on the bridge or the modules."""

from __future__ import annotations

import pytest
import torch

from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.loading.parts import find_layer_parts
from tests.activations.test_against_bridge import _name_hook, tiny_model

PROMPTS = ["abcdef", "xyz", "12+34="]
COMPLETIONS = ["ghi", "AB", "46;"]


def _score_by_bridge(model, hooks, prompt: str, completion: str) -> torch.Tensor:
    pair = model.encode_pair(prompt, completion)
    ids = torch.tensor([[*pair.prompt, *pair.completion]])
    with torch.no_grad():
        logits = model.bridge.run_with_hooks(ids, fwd_hooks=hooks)[0].float()
    logits[:, list(model.banned_ids)] = -1e9
    logits = logits.log_softmax(-1)
    first = len(pair.prompt) - 1
    return torch.stack([logits[first + i, token] for i, token in enumerate(pair.completion)])


@pytest.mark.parametrize("arch", ["llama", "qwen3", "gemma2", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("site", ["z.1.2", "attn_out.1", "mlp_out.0", "resid_pre.1", "resid_post.1"])
@pytest.mark.parametrize("positions", [None, [0, -1]])
def test_a_replaced_site_scores_as_with_the_bridges_hook(arch, site, positions):
    """In a padded batch of prompts of unequal lengths."""
    model = tiny_model(arch)
    name, layer, *head = site.split(".")
    with model.replace(site, lambda x: 0.25 * x.flip(-1), positions=positions):
        scores = model.score(PROMPTS, COMPLETIONS)
    plain = model.score(PROMPTS, COMPLETIONS)
    heads = model.hf.config.num_attention_heads
    for prompt, completion, ours, base in zip(PROMPTS, COMPLETIONS, scores, plain, strict=True):
        last = len(model.encode(prompt)) - 1

        def put(tensor, hook, last=last):
            view = tensor.clone().reshape(*tensor.shape[:2], heads, -1) if head else tensor.clone()
            part = view[:, :, int(head[0])] if head else view
            chosen = [last + p for p in positions] if positions else range(tensor.shape[1])
            for column in chosen:
                part[:, column] = 0.25 * part[:, column].flip(-1)
            return view.reshape(tensor.shape)

        expected = _score_by_bridge(model, [(_name_hook(arch, name, int(layer)), put)], prompt, completion)
        torch.testing.assert_close(torch.tensor(ours), expected, atol=2e-3, rtol=2e-3)
        assert float((torch.tensor(ours) - torch.tensor(base)).abs().max()) > 1e-3


@pytest.mark.parametrize("arch", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("positions", [None, [-1, 0], [1, 2]])
def test_sampling_with_a_replaced_head_equals_uncached_passes(arch, positions):
    """Greedy text from the padded, cached sampler is that of whole passes under a hook on the projection's input."""
    model = tiny_model(arch)
    with model.replace("z.1.1", torch.zeros_like, positions=positions):
        sampled = model.sample(PROMPTS, max_new_tokens=6)
    layer = architectures.get_decoder_layers(model.hf)[1]
    projection = layer.get_submodule(find_layer_parts(model.hf, 1).projection)
    heads = model.hf.config.num_attention_heads
    for prompt, completions in zip(PROMPTS, sampled, strict=True):
        ids = list(model.encode(prompt))
        last = len(ids) - 1

        def edit(module, args, last=last):
            z = args[0].clone()
            width = z.shape[-1] // heads
            columns = range(z.shape[1]) if positions is None else [last + p for p in positions if last + p < z.shape[1]]
            for column in columns:
                z[:, column, width : 2 * width] = 0
            return (z, *args[1:])

        handle = projection.register_forward_pre_hook(edit)
        try:
            for _ in range(len(completions[0].tokens)):
                with torch.no_grad():
                    logits = model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].float()
                logits[list(model.banned_ids)] = -1e9
                ids.append(int(logits.argmax()))
        finally:
            handle.remove()
        assert tuple(ids[last + 1 :]) == tuple(completions[0].tokens)


def test_several_heads_of_a_layer_and_a_cache_within():
    model = tiny_model("llama")
    with model.replace(["z.1.0", "z.1.3"], torch.zeros_like):
        cache = model.cache(PROMPTS, sites=["z", "attn_out"], layers=[1])
    plain = model.cache(PROMPTS, sites="z", layers=[1])
    seen, before = cache["z", 1].nan_to_num(), plain["z", 1].nan_to_num()
    assert bool((seen[:, :, [0, 3]] == 0).all())
    torch.testing.assert_close(seen[:, :, [1, 2]], before[:, :, [1, 2]])
    layer = architectures.get_decoder_layers(model.hf)[1]
    projection = layer.get_submodule(find_layer_parts(model.hf, 1).projection)
    with torch.no_grad():
        torch.testing.assert_close(projection(seen.flatten(-2))[:, -1], cache["attn_out", 1][:, -1])


def test_nothing_stays_attached_and_mistakes_are_refused_in_one_line():
    model = tiny_model("llama")
    before = model.score(PROMPTS, COMPLETIONS)

    def score_with(*args, **options):
        with model.replace(*args, **options):
            return model.score(PROMPTS, COMPLETIONS)

    for arguments, options in [
        (("pattern.1", torch.zeros_like), {}),
        (("z.9.0", torch.zeros_like), {}),
        (("z.1.99", torch.zeros_like), {}),
        (("mlp_out.1", lambda x: x[0]), {}),
        (("mlp_out.1", lambda x: 0.0), {}),
        (("mlp_out.1", torch.zeros_like), {"positions": "first"}),
        (("mlp_out.1", torch.zeros_like), {"positions": [40]}),
    ]:
        with pytest.raises(ElicitError) as raised:
            score_with(*arguments, **options)
        assert "\n" not in str(raised.value)
        assert model.score(PROMPTS, COMPLETIONS) == before
    with pytest.raises(ElicitError), model.replace("mlp_out.1", torch.zeros_like, positions=[0]):
        model.hf(torch.tensor([model.encode("abc")]))
    with pytest.raises(ElicitError), model.replace("mlp_out.1", torch.zeros_like):
        pass
    assert model.score(PROMPTS, COMPLETIONS) == before
