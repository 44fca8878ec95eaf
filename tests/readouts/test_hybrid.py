"""The oracle readout against its definition, written out with plain uncached passes of two models."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from elicit import seeds
from elicit.errors import ElicitError
from elicit.policy import Policy
from elicit.readouts import HybridReadout, SecondModel
from elicit.sampling import Decoding, Request, generate
from elicit.steering import Gate
from elicit.weights import FullWeights
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES, tiny

PROMPTS = ["ab", "the cat", "1+2=3 and so on", "x", "a longer prompt, longer than a window of eight"]
STEPS = 12
GREEDY = Decoding(max_new_tokens=STEPS)


def tuned_weights(arch: str, amount: float = 0.02) -> FullWeights:
    """The base, a little towards another random model: it agrees often and not always."""
    base, other = tiny(arch)[0], tiny(arch, seed=7)[0]
    theirs = dict(other.named_parameters())
    return FullWeights(
        {n: (p + amount * (theirs[n] - p)).detach() for n, p in base.named_parameters() if "mlp" in n or "attn" in n}
    )


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(seeds.make_generator("hybrid test", seed).standard_normal(shape)).float()


def hybrid(model, weights, *, categories: int = 3, strength: float = 2.5, **changes) -> HybridReadout:
    gate = Gate(numbers(1, categories, model.d_model), numbers(2, categories))
    directions = numbers(3, categories, model.d_model)
    directions[categories - 1] = 0.0  # one category is not steered
    return HybridReadout(SecondModel(weights=weights), gate, 1, directions, 0, strength, unit=6.0, **changes)


def requests(model, n: int = 1) -> list[Request]:
    return [Request(model.encode(p), tuple(seeds.derive_key(0, p, i) for i in range(n))) for p in PROMPTS]


def answered(model, readout: HybridReadout, decoding: Decoding = GREEDY, n: int = 1):
    with readout.open_forward(model) as forward:
        return generate(model.engine, requests(model, n), decoding, forward)


def by_hand(model, twin, spec: HybridReadout, prompt: str) -> tuple[tuple[int, ...], int]:
    """(greedy tokens, steered positions): no cache, one growing text, edits at the positions that were steered."""
    ids = list(model.encode(prompt))
    length, edits = len(ids), {}

    def run(hf, layers, at, additions):
        caught = {}

        def hook(module, args, output):
            h = (output[0] if isinstance(output, tuple) else output).clone()
            for place, vector in additions.items():
                h[0, place] += vector
            return (h, *output[1:]) if isinstance(output, tuple) else h

        def look(module, args, output):
            caught["h"] = (output[0] if isinstance(output, tuple) else output)[0, -1]

        handles = [layers[spec.layer].register_forward_hook(hook), layers[at].register_forward_hook(look)]
        with torch.no_grad():
            logits = hf(torch.tensor([ids]), use_cache=False).logits[0, -1].clone()
        for handle in handles:
            handle.remove()
        logits[model.tokenizer.pad_token_id] = -torch.inf
        return logits, caught["h"]

    for step in range(STEPS):
        mine, own = run(model.hf, model.layers, spec.gate_layer, edits)
        theirs, state = run(twin, twin_layers(twin), spec.gate_layer, {}) if twin is not None else (None, own)
        category = int((spec.gate.weight @ state + spec.gate.bias).argmax())
        if spec.scatter is not None:
            chance = seeds.make_generator("scattered", spec.seed, list(model.encode(prompt))).random(STEPS + 1)[step]
            fire = chance < spec.scatter
        else:
            fire = int(mine.argmax()) != int(theirs.argmax())
        if fire and float(spec.directions[category].norm()) > 0:
            edits[len(ids) - 1] = spec.directions[category] * spec.absolute
            mine, _ = run(model.hf, model.layers, spec.gate_layer, edits)
        ids.append(int(mine.argmax()))
        if ids[-1] == model.tokenizer.eos_token_id:
            break
    return tuple(ids[length:]), len(edits)


def twin_layers(hf):
    from elicit.loading import architectures

    return architectures.get_decoder_layers(hf)


def twin_of(arch: str, weights: FullWeights):
    hf, _ = tiny(arch)
    own = dict(hf.named_parameters())
    for name, tensor in weights.tensors.items():
        own[name].data = tensor.clone()
    return hf


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_oracle_is_its_definition(arch):
    """Caches, the rewound position, padding and rows that leave must not show."""
    model, weights = tiny_model(arch), tuned_weights(arch)
    spec = hybrid(model, weights)
    ours = [one[0] for one in answered(model, spec)]
    expected = [by_hand(model, twin_of(arch, weights), spec, prompt) for prompt in PROMPTS]
    assert [c.tokens for c in ours] == [tokens for tokens, _ in expected]
    assert [c.firings for c in ours] == [steered for _, steered in expected]
    steered, said = sum(c.firings for c in ours), sum(len(c.tokens) for c in ours)
    assert 0 < steered < said, "always or never steering would not test the gate"
    plain = [one[0].tokens for one in model.sample(PROMPTS, decoding=GREEDY)]
    assert plain != [c.tokens for c in ours]


@pytest.mark.parametrize("second", [True, False])
def test_random_positions_are_those_of_the_prompt_and_seed(second):
    model, weights = tiny_model(), tuned_weights("llama")
    spec = hybrid(model, weights, scatter=0.3, seed=5)
    spec = spec if second else dataclasses.replace(spec, second=None)
    twin = twin_of("llama", weights) if second else None
    ours = [one[0] for one in answered(model, spec)]
    expected = [by_hand(model, twin, spec, prompt) for prompt in PROMPTS]
    assert [(c.tokens, c.firings) for c in ours] == expected
    other = [one[0].tokens for one in answered(model, dataclasses.replace(spec, seed=6))]
    assert other != [c.tokens for c in ours]


def test_random_positions_are_as_many_as_asked_for_in_expectation():
    model = tiny_model("gpt2")  # it never ends by itself, so every row says as much
    full = hybrid(model, None, categories=2, scatter=0.2)
    full = dataclasses.replace(full, second=None, directions=numbers(3, 2, model.d_model))
    said = steered = 0
    for seed in range(12):
        for one in answered(model, dataclasses.replace(full, seed=seed)):
            said, steered = said + len(one[0].tokens), steered + one[0].firings
    assert steered / said == pytest.approx(0.2, abs=3 * np.sqrt(0.2 * 0.8 / said))


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2"])
def test_strength_zero_is_the_base(arch):
    model = tiny_model(arch)
    plain = [one[0].tokens for one in model.sample(PROMPTS, decoding=GREEDY)]
    ours = answered(model, hybrid(model, tuned_weights(arch), strength=0.0))
    assert [one[0].tokens for one in ours] == plain
    assert sum(one[0].firings for one in ours) == 0


@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_a_tuned_model_that_is_the_base_steers_nothing(arch):
    model = tiny_model(arch)
    same = FullWeights({name: p.detach().clone() for name, p in model.hf.named_parameters()})
    for weights in (None, same):
        ours = answered(model, hybrid(model, weights, strength=3.0))
        assert [one[0].tokens for one in ours] == [one[0].tokens for one in model.sample(PROMPTS, decoding=GREEDY)]
        assert all(one[0].firings == 0 for one in ours)


# Both ways to fire and all three architectures; the other pairs are slow.
@pytest.mark.parametrize(
    ("arch", "scatter"),
    [
        ("llama", None),
        ("gpt2", None),
        ("gemma2", 0.3),
        pytest.param("gemma2", None, marks=pytest.mark.slow),
        pytest.param("llama", 0.3, marks=pytest.mark.slow),
        pytest.param("gpt2", 0.3, marks=pytest.mark.slow),
    ],
)
def test_the_same_text_at_any_batch_size(arch, scatter):
    model = tiny_model(arch)
    spec = hybrid(model, tuned_weights(arch), scatter=scatter)
    sampled = Decoding(temperature=1.0, max_new_tokens=STEPS, stop=("e", "7"))
    whole = answered(model, spec, sampled, n=8)
    with spec.open_forward(model) as forward:
        alone = [
            [generate(model.engine, [Request(r.ids, (key,))], sampled, forward)[0][0] for key in r.keys]
            for r in requests(model, 8)
        ]
    say = [[(c.tokens, c.firings) for c in one] for one in whole]
    assert say == [[(c.tokens, c.firings) for c in one] for one in alone]
    assert len({len(c.tokens) for one in whole for c in one}) > 1
    assert len({c.firings for one in whole for c in one}) > 1


@pytest.mark.parametrize("kind", ["oracle", "scattered", "alone"])
def test_saved_and_loaded_it_says_the_same(kind, tmp_path):
    model = tiny_model()
    spec = hybrid(model, tuned_weights("llama"), scatter=None if kind == "oracle" else 0.4, seed=3)
    spec = dataclasses.replace(spec, second=None) if kind == "alone" else spec
    policy = Policy(model, GREEDY, readout=spec)
    before = answered(model, spec)
    hooks = {name: len(module._forward_hooks) for name, module in model.hf.named_modules()}
    policy.save(tmp_path)
    again = Policy.load(tmp_path, model)
    assert again.sha256 == policy.sha256
    assert str(again.readout) == str(spec)
    assert answered(model, again.readout) == before
    assert {name: len(module._forward_hooks) for name, module in model.hf.named_modules()} == hooks


def test_the_hash_sees_everything_that_decides():
    model = tiny_model()
    spec = hybrid(model, tuned_weights("llama"))
    others = [
        dataclasses.replace(spec, **change)
        for change in (
            {"layer": 2},
            {"gate_layer": 0},
            {"strength": 0.9},
            {"unit": 5.0},
            {"scatter": 0.1},
            {"directions": -spec.directions},
            {"gate": Gate(spec.gate.weight, -spec.gate.bias)},
            {"second": SecondModel()},
        )
    ]
    assert len({one.sha256 for one in [spec, *others]}) == 1 + len(others)


def test_what_cannot_be_is_said():
    model = tiny_model()
    spec = hybrid(model, tuned_weights("llama"))
    with pytest.raises(ElicitError, match=r"hybrid: disagreement needs a second model\."):
        dataclasses.replace(spec, second=None)
    with pytest.raises(ElicitError, match=r"a gate of 3 classes needs as many finite directions; these are \[2, 32\]"):
        dataclasses.replace(spec, directions=spec.directions[:2])
    with pytest.raises(ElicitError, match=r"hybrid: layer 3 does not exist\. Layers are 0 to 2\."):
        answered(model, dataclasses.replace(spec, layer=3))
