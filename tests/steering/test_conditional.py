"""Conditional edits against the comparison written out by hand."""

from __future__ import annotations

import pytest
import torch

from elicit.errors import ElicitError
from elicit.sampling import Decoding
from elicit.steering import Steering, gate_on_projection, load_edits, save_edits
from tests.steering.test_hooks import direction
from tests.support.models import tiny_model

PROMPTS = ["ab", "the cat", "1+2=3 and so on"]
STEPS = 8


def by_hand(model, edit, condition, threshold, prompt, acts):
    """(greedy tokens, positions touched), without a cache."""
    ids = list(model.encode(prompt))
    length, touched = len(ids), set()
    for _ in range(STEPS):

        def hook(module, args, output):
            h = (output[0] if isinstance(output, tuple) else output).clone()
            for place in range(h.shape[1]):
                if (
                    acts(ids[place], place - (length - 1))
                    and float(h[0, place] @ condition / condition.norm()) > threshold
                ):
                    h[0, place] += edit.strength * edit.unit * edit.direction
                    touched.add(place)
            return (h, *output[1:]) if isinstance(output, tuple) else h

        handle = model.layers[edit.layer].register_forward_hook(hook)
        with torch.no_grad():
            logits = model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].clone()
        handle.remove()
        logits[list(model.banned_ids)] = -torch.inf
        ids.append(int(logits.argmax()))
        if ids[-1] in model.engine.end_ids:
            break
    return tuple(ids[length:]), len(touched)


@pytest.mark.parametrize("arch", ["gpt2", "llama", "gemma2"])
def test_the_edit_acts_where_the_projection_exceeds_the_threshold(arch, tmp_path):
    model = tiny_model(arch)
    condition = 3 * direction(model, seed=5)
    token = model.encode("the cat")[-1]
    projections = model.residuals(PROMPTS)[1] @ condition / condition.norm()
    threshold = float(projections.mean())
    for positions, acts in (
        ("all", lambda _, offset: True),
        (f"token:#{token} + generated", lambda id_, offset: id_ == token or offset >= 0),
    ):
        edit = Steering(direction(model), 1, 2.0, "add", positions, unit=3.0)
        gated = gate_on_projection(edit, condition, threshold)
        expected = [by_hand(model, edit, condition, threshold, prompt, acts) for prompt in PROMPTS]
        with model.steer(gated):
            sampled = [one[0] for one in model.sample(PROMPTS, decoding=Decoding(max_new_tokens=STEPS))]
        assert [(c.tokens, c.firings) for c in sampled] == expected
    places = sum(len(model.encode(p)) + len(tokens) - 1 for p, (tokens, _) in zip(PROMPTS, expected, strict=True))
    assert 0 < sum(count for _, count in expected) < places
    save_edits([gated], tmp_path)
    assert load_edits(tmp_path)[0].sha256 == gated.sha256


def test_what_cannot_be_a_condition_is_refused():
    edit = Steering(torch.ones(4), 0, 1.0, "add")
    for condition, threshold in ((torch.zeros(4), 0.0), (torch.ones(3), 0.0), (torch.ones(4), float("nan"))):
        with pytest.raises(ElicitError, match="finite"):
            gate_on_projection(edit, condition, threshold)
    with pytest.raises(ElicitError, match="mode"):
        gate_on_projection(Steering(torch.ones(4), 0, 1.0, "ablate"), torch.ones(4), 0.0)
