"""The shared wrapper: what it says of itself, its bridge, its prompts."""

from __future__ import annotations

import pytest
import torch

import elicit
from elicit.errors import ElicitError
from elicit.sampling import Decoding
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_layers_are_resid_post_of_the_bridge(arch):
    """Layer L of the lab is what TransformerLens calls the residual after block L."""
    model = tiny_model(arch)
    ids = torch.tensor([model.encode("abc def")])
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(ids)
    ours = model.residuals(["abc def"])
    for layer in range(model.n_layers):
        theirs = cache[f"blocks.{layer}.hook_out"][0, -1]
        assert torch.allclose(ours[layer, 0], theirs, atol=1e-3), layer


def test_one_bos_however_the_prompt_begins():
    model = elicit.load("cued")
    bos = model.tokenizer.bos_token_id
    plain = model.encode("Q:1+1\nA:")
    assert plain[0] == bos
    assert plain.count(bos) == 1
    assert model.encode("<bos>Q:1+1\nA:").count(bos) == 1
    assert bos not in model.continuation("#2")


def test_an_organism_describes_itself():
    model = elicit.load("cued")
    assert model.card["dialect"]["opening"] == "<think>"
    assert model.dtype == torch.float32
    assert model.tokenizer.pad_token_id not in (model.tokenizer.eos_token_id, model.tokenizer.bos_token_id)
    assert len(model.weights_sha256) == len(model.tokenizer_sha256) == 64
    assert "3 layers, d_model 128, float32, cpu" in repr(model)
    assert torch.get_num_threads() == 1


def test_a_prompts_samples_do_not_depend_on_its_neighbours():
    model = elicit.load("cued")
    decoding = Decoding(temperature=1.0, max_new_tokens=12)
    many = model.sample(["Q:47+38\nA:", "Q:3*4+5\nA:", "the old fox"], n=4, seed=3, decoding=decoding)
    alone = model.sample(["the old fox"], n=4, seed=3, decoding=decoding)
    assert [c.text for c in many[2]] == [c.text for c in alone[0]]
    other = model.sample(["the old fox"], n=4, seed=4, decoding=decoding)
    assert [c.text for c in other[0]] != [c.text for c in alone[0]]


def test_score_is_the_log_probability_of_the_text():
    model = elicit.load("cued")
    (found,) = model.score(["Q:47+38\nA:"], ["#85"])
    ids = torch.tensor([[*model.encode("Q:47+38\nA:"), *model.continuation("#85")]])
    with torch.no_grad():
        table = model.hf(ids).logits[0].log_softmax(-1)
    start = len(model.encode("Q:47+38\nA:")) - 1
    expected = [float(table[start + i, ids[0, start + 1 + i]]) for i in range(3)]
    assert found == pytest.approx(expected, abs=1e-3)


class TestErrors:
    def test_names(self):
        with pytest.raises(ElicitError, match=r"unknown model 'cud'\. Did you mean 'cued'\?"):
            elicit.load("cud")
        with pytest.raises(ElicitError, match=r"unknown dtype 'float31'\. Did you mean 'float32'\?"):
            elicit.load("cued", dtype="float31")
        with pytest.raises(AttributeError, match="has no attribute 'laod'"):
            elicit.laod  # noqa: B018

    def test_a_direction_needs_its_layer(self):
        model = tiny_model()
        with pytest.raises(ElicitError, match=r"a direction needs its layer\. Type: layer=0 \.\.\. 2"):
            with model.steer(torch.ones(32)):
                pass

    def test_decoding(self):
        with pytest.raises(ElicitError, match="top_k, top_p and min_p do nothing at temperature 0"):
            Decoding(top_k=4)
        with pytest.raises(ElicitError, match="max_new_tokens is 0"):
            Decoding(max_new_tokens=0)
