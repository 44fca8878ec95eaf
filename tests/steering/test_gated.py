"""Gated edits: one pass with a cache, against the definition without one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from elicit import seeds
from elicit.errors import ElicitError
from elicit.policy import Policy
from elicit.sampling import Decoding, Request, Scored, generate, logprobs
from elicit.steering import Gate, GatedEdit
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES

PROMPTS = ["ab", "the cat", "1+2=3 and so on", "a longer prompt, longer than a window of eight"]
STEPS = 12
GREEDY = Decoding(max_new_tokens=STEPS)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(seeds.make_generator("gated test", seed).standard_normal(shape)).float()


def gated(model, *, classes: int = 4, positions: str = "generated", strength: float = 0.7) -> GatedEdit:
    gate = Gate(numbers(0, classes, model.d_model), numbers(1, classes))
    return GatedEdit(gate, numbers(2, classes - 1, model.d_model), 1, strength, positions, unit=6.0)


def by_hand(model, edit: GatedEdit, prompt: str) -> tuple[tuple[int, ...], int]:
    """(greedy tokens, positions touched), without a cache."""
    ids = list(model.encode(prompt))
    length, touched = len(ids), set()
    for _ in range(STEPS):

        def hook(module, args, output):
            h = (output[0] if isinstance(output, tuple) else output).clone()
            for place in range(length - 1, h.shape[1]):
                c = int((edit.gate.weight @ h[0, place] + edit.gate.bias).argmax())
                if c > 0:
                    h[0, place] += edit.directions[c - 1] * edit.strength * edit.unit
                    touched.add(place)
            return (h, *output[1:]) if isinstance(output, tuple) else h

        handle = model.layers[edit.layer].register_forward_hook(hook)
        with torch.no_grad():
            logits = model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].clone()
        handle.remove()
        logits[model.tokenizer.pad_token_id] = -torch.inf
        ids.append(int(logits.argmax()))
        if ids[-1] == model.tokenizer.eos_token_id:
            break
    return tuple(ids[length:]), len(touched)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_cached_is_the_definition_and_firings_are_counted(arch):
    model = tiny_model(arch)
    edit = gated(model)
    with model.steer(edit) as firings:
        ours = [one[0] for one in model.sample(PROMPTS, decoding=GREEDY)]
    expected = [by_hand(model, edit, prompt) for prompt in PROMPTS]
    assert [(c.tokens, c.firings) for c in ours] == expected
    assert firings.total == sum(c.firings for c in ours)
    assert 0 < firings.total < sum(len(c.tokens) for c in ours)


def test_a_gate_that_says_none_is_the_base_and_no_error():
    model = tiny_model()
    edit = gated(model)
    silent = dataclasses.replace(edit, gate=Gate(torch.zeros(4, model.d_model), torch.tensor([1.0, 0, 0, 0])))
    plain = [one[0].tokens for one in model.sample(PROMPTS, decoding=GREEDY)]
    for one in (silent, dataclasses.replace(edit, strength=0.0)):
        with model.steer(one) as firings:
            assert [c[0].tokens for c in model.sample(PROMPTS, decoding=GREEDY)] == plain
        assert firings.total == 0
    with pytest.raises(ElicitError, match="this edit never touched a forward pass"), model.steer(silent):
        pass


def test_a_gate_that_always_says_one_category_is_a_plain_edit():
    from elicit.steering import Steering

    model = tiny_model("gemma2")
    edit = gated(model)
    always = dataclasses.replace(edit, gate=Gate(torch.zeros(4, model.d_model), torch.tensor([0.0, 0, 1, 0])))
    plain = Steering(edit.directions[1], 1, edit.strength, "add", "generated", edit.unit)
    said = []
    for one in (always, plain):
        with model.steer(one):
            said.append(model.sample(PROMPTS, decoding=GREEDY))
    assert said[0] == said[1]


@pytest.mark.parametrize("positions", ["all", "prompt", "first", "first:3", "generated"])
def test_scoring_sees_the_edit_where_sampling_does(positions):
    """log p of sampled tokens, from the sampler and from the scorer's one right-padded pass."""
    model = tiny_model()
    edit = gated(model, positions=positions)
    with model.steer(edit):
        drawn = [one[0] for one in model.sample(PROMPTS, decoding=Decoding(1.0, max_new_tokens=STEPS))]
        pairs = [Scored(model.encode(p), c.tokens) for p, c in zip(PROMPTS, drawn, strict=True)]
        scored = logprobs(model.engine, pairs)
    for c, row in zip(drawn, scored, strict=True):
        assert row == pytest.approx(c.logprobs, abs=1e-3)


def test_the_same_text_at_any_batch_size():
    model = tiny_model()
    sampled = Decoding(temperature=1.0, max_new_tokens=STEPS, stop=("e", "7"))
    asked = [Request(model.encode(p), tuple(seeds.derive_key(0, p, i) for i in range(8))) for p in PROMPTS]
    with model.steer(gated(model)):
        whole = generate(model.engine, asked, sampled)
        alone = [[generate(model.engine, [Request(r.ids, (key,))], sampled)[0][0] for key in r.keys] for r in asked]
    assert [[(c.tokens, c.firings) for c in one] for one in whole] == [
        [(c.tokens, c.firings) for c in one] for one in alone
    ]
    assert len({len(c.tokens) for one in whole for c in one}) > 1


def test_saved_and_loaded_it_says_the_same(tmp_path):
    from elicit.steering import Steering

    model = tiny_model()
    edits = (Steering(numbers(9, model.d_model), 0, 0.5, unit=3.0), gated(model), gated(model, classes=2))
    policy = Policy(model, GREEDY, steering=edits)
    policy.save(tmp_path)
    again = Policy.load(tmp_path, model)
    assert again.sha256 == policy.sha256
    assert repr(again) == repr(policy)
    assert again.score(PROMPTS, ["abc"] * 4) == policy.score(PROMPTS, ["abc"] * 4)
    assert again.score(PROMPTS, ["abc"] * 4) != Policy(model, GREEDY, steering=edits[:1]).score(PROMPTS, ["abc"] * 4)
    assert again.has_distribution
    with pytest.raises(ElicitError, match=r"this arm steers through a gate .* its controls are `hybrid_control` arms"):
        _ = again.edits


def test_the_hash_sees_everything_that_decides():
    edit = gated(tiny_model())
    others = [
        dataclasses.replace(edit, **change)
        for change in (
            {"layer": 2},
            {"strength": 0.9},
            {"unit": 5.0},
            {"positions": "first"},
            {"directions": -edit.directions},
            {"gate": Gate(edit.gate.weight, -edit.gate.bias)},
        )
    ]
    assert len({one.sha256 for one in [edit, *others]}) == 1 + len(others)
    assert dataclasses.replace(edit, label="another name").sha256 == edit.sha256


def test_what_cannot_be_is_said():
    model = tiny_model()
    edit = gated(model)
    with pytest.raises(ElicitError, match=r"a gate of 4 classes \(the first means none\) over 32 dimensions needs"):
        dataclasses.replace(edit, directions=edit.directions[:2])
    with pytest.raises(ElicitError, match=r"gate: a weight or bias is not finite\."):
        Gate(torch.full((2, 3), torch.nan), torch.zeros(2))
    with (
        pytest.raises(ElicitError, match=r"has 8 entries, but d_model of tiny-llama is 32"),
        model.steer(GatedEdit(Gate(torch.zeros(2, 8), torch.zeros(2)), torch.ones(1, 8), 1)),
    ):
        pass
