"""Steering under every way of running a model: cached, uncached, transformers' generate, the bridge."""

from __future__ import annotations

import pytest
import torch

from elicit import seeds
from elicit.errors import ElicitError
from elicit.sampling import Decoding, Request, Scored, generate, logprobs
from elicit.steering import Edit, Steering, parse, steer, to_hook_edit
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES

FORMS = ("all", "prompt", "generated", "first", "first:3", "decay:4")
PROMPTS = ["ab", "the cat", "1+2=3 and"]
STEPS = 10


def direction(model, seed=0):
    return torch.from_numpy(seeds.make_generator("test direction", seed).standard_normal(model.d_model)).float()


def spec(model, positions, mode="add", strength=2.0, layer=1):
    return Steering(direction(model), layer, strength if mode != "ablate" else 1.0, mode, positions, unit=3.0)


def by_hand(model, edits, prompt, steps):
    """Greedy, one prompt, no cache: the definition, with the edit written out per absolute position."""
    ids = list(model.encode(prompt))
    length = len(ids)
    for _ in range(steps):

        def hook(module, args, output, edit, length=length):
            h = (output[0] if isinstance(output, tuple) else output).clone()
            v = edit.direction
            for p in range(h.shape[1]):
                offset = p - (length - 1)
                k = int(edit.positions.split(":")[1]) if ":" in edit.positions else 1
                weight = {
                    "all": 1.0,
                    "prompt": float(offset < 0),
                    "generated": float(offset >= 0),
                    "first": float(0 <= offset < k),
                    "decay": (1 - offset / k) * (0 <= offset < k),
                }[edit.positions.split(":")[0]]
                c = h[:, p] @ v
                change = {
                    "add": edit.strength * edit.unit * torch.ones_like(c),
                    "clamp": edit.strength * edit.unit - c,
                    "scale": (edit.strength - 1) * c,
                    "ablate": -c,
                }[edit.mode]
                h[:, p] = h[:, p] + weight * change[:, None] * v
            return (h, *output[1:]) if isinstance(output, tuple) else h

        handles = [model.layers[e.layer].register_forward_hook(lambda m, a, o, e=e: hook(m, a, o, e)) for e in edits]
        with torch.no_grad():
            logits = model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1]
        for handle in handles:
            handle.remove()
        logits[model.tokenizer.pad_token_id] = -torch.inf
        ids.append(int(logits.argmax()))
        if ids[-1] == model.tokenizer.eos_token_id:
            break
    return tuple(ids[length:])


def through_transformers(model, edit, use_cache):
    tok = model.tokenizer
    rows = [list(model.encode(prompt)) for prompt in PROMPTS]
    width = max(map(len, rows))
    ids = torch.tensor([[tok.pad_token_id] * (width - len(row)) + row for row in rows])
    mask = (ids != tok.pad_token_id).long()
    with model.steer(edit, prompt_lengths=[len(row) for row in rows]):
        out = model.hf.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=STEPS, do_sample=False, use_cache=use_cache,
            suppress_tokens=[tok.pad_token_id], pad_token_id=tok.pad_token_id,
        )  # fmt: skip
    cut = []
    for row in out[:, width:].tolist():
        end = row.index(tok.eos_token_id) + 1 if tok.eos_token_id in row else len(row)
        cut.append(tuple(row[:end]))
    return cut


def through_bridge(model, edit, prompt):
    """The same edit on the bridge's own blocks, one growing prompt without cache."""
    bridge = model.bridge
    ids = list(model.encode(prompt))
    length = len(ids)
    hook_name = f"blocks.{edit.layer}.hook_out"
    assert hook_name in bridge.hook_dict
    window = parse(edit.positions)
    plain = to_hook_edit(edit)

    def hook(h, hook):
        offsets = torch.arange(h.shape[1])[None] - (length - 1)
        weights = window.weights_at(offsets)
        return torch.where((weights != 0)[..., None], h + weights[..., None] * plain.delta(h), h)

    for _ in range(STEPS):
        with torch.no_grad():
            logits = bridge.run_with_hooks(torch.tensor([ids]), fwd_hooks=[(hook_name, hook)])[0, -1].clone()
        logits[model.tokenizer.pad_token_id] = -torch.inf
        ids.append(int(logits.argmax()))
        if ids[-1] == model.tokenizer.eos_token_id:
            break
    return tuple(ids[length:])


#: In the quick run every architecture meets two of the forms, and every form three of the architectures.
PAIRS = [
    pytest.param(arch, positions, marks=() if (i + j) % 3 == 0 else pytest.mark.slow)
    for i, arch in enumerate(ARCHITECTURES)
    for j, positions in enumerate(FORMS)
]


@pytest.mark.parametrize(("arch", "positions"), PAIRS)
def test_every_way_of_running_agrees_token_for_token(arch, positions):
    model = tiny_model(arch)
    edit = spec(model, positions)
    with model.steer(edit) as firings:
        sampled = [one[0] for one in model.sample(PROMPTS, decoding=Decoding(max_new_tokens=STEPS))]
    expected = [by_hand(model, [edit], prompt, STEPS) for prompt in PROMPTS]
    assert [c.tokens for c in sampled] == expected
    assert through_transformers(model, edit, use_cache=True) == expected
    assert through_transformers(model, edit, use_cache=False) == expected
    assert through_bridge(model, edit, PROMPTS[1]) == expected[1]
    assert firings.total == sum(c.firings for c in sampled)


@pytest.mark.parametrize("positions", FORMS)
def test_firings_are_the_positions_touched(positions):
    model = tiny_model()
    with model.steer(spec(model, positions)):
        sampled = [c for one in model.sample(PROMPTS, n=2, decoding=Decoding(1.0, max_new_tokens=STEPS)) for c in one]
    lengths = [len(model.encode(prompt)) for prompt in PROMPTS for _ in range(2)]
    for c, length in zip(sampled, lengths, strict=True):
        fed = length + len(c.tokens) - 1  # the last token is never fed back
        offsets = [p - (length - 1) for p in range(fed)]
        assert c.firings == sum(parse(positions).weight_at(offset) > 0 for offset in offsets)


@pytest.mark.parametrize("mode", ["add", "clamp", "scale", "ablate"])
def test_modes_do_what_they_say(mode):
    model = tiny_model("qwen2")
    edit = spec(model, "generated", mode)
    with model.steer(edit):
        sampled = [one[0].tokens for one in model.sample(PROMPTS, decoding=Decoding(max_new_tokens=STEPS))]
    assert sampled == [by_hand(model, [edit], prompt, STEPS) for prompt in PROMPTS]


@pytest.mark.parametrize("mode", ["add", "scale"])
def test_strength_that_changes_nothing_is_the_base(mode):
    model = tiny_model()
    base = model.sample(PROMPTS, n=2, decoding=Decoding(1.0, max_new_tokens=STEPS))
    with model.steer(spec(model, "all", mode, strength=0.0 if mode == "add" else 1.0)):
        same = model.sample(PROMPTS, n=2, decoding=Decoding(1.0, max_new_tokens=STEPS))
    assert [[c.tokens for c in one] for one in same] == [[c.tokens for c in one] for one in base]
    assert [[c.logprobs for c in one] for one in same] == [[c.logprobs for c in one] for one in base]


WINDOWS = [
    pytest.param(arch, positions, marks=() if i == j else pytest.mark.slow)
    for i, arch in enumerate(("gpt2", "gemma2", "llama"))
    for j, positions in enumerate(("first:3", "decay:4", "generated"))
]


@pytest.mark.parametrize(("arch", "positions"), WINDOWS)
def test_windows_follow_their_rows_when_rows_leave(arch, positions):
    """Sampled rows end at different times under the window; each alone must give the same text."""
    model = tiny_model(arch)
    prompts = [*PROMPTS, "zz top", "q", "hello you"]
    asked = [Request(model.encode(p), tuple(seeds.derive_key(p, i) for i in range(6))) for p in prompts]
    decoding = Decoding(temperature=1.5, max_new_tokens=16)
    with model.steer(spec(model, positions)):
        whole = generate(model.engine, asked, decoding)
        alone = [
            [generate(model.engine, [Request(request.ids, (key,))], decoding)[0][0] for key in request.keys]
            for request in asked
        ]
    lengths = {len(c.tokens) for one in whole for c in one}
    assert len(lengths) > 2, "rows must end at different times"
    assert [[(c.tokens, c.firings) for c in one] for one in whole] == [
        [(c.tokens, c.firings) for c in one] for one in alone
    ]


def test_forced_openings_count_as_generated():
    model = tiny_model()
    edit = spec(model, "generated")
    prompt, forced = model.encode("the"), model.continuation("xyz")
    other, longer = model.encode("a b"), model.continuation("vwxyz")
    asked = [Request(prompt + forced, (1,), len(forced)), Request(other + longer, (2,), len(longer))]
    with model.steer(edit):
        found = generate(model.engine, asked, Decoding(max_new_tokens=6))
        scored = logprobs(
            model.engine, [Scored(ids, tail + one[0].tokens) for ids, tail, one in
                           zip((prompt, other), (forced, longer), found, strict=True)]
        )  # fmt: skip
    for one, row in zip(found, scored, strict=True):
        assert list(one[0].logprobs) == pytest.approx(row[-len(one[0].tokens) :], abs=2e-4)


def test_nested_contexts_and_several_edits_are_one():
    model = tiny_model()
    one, two = spec(model, "first"), spec(model, "all", "scale", 0.5, layer=2)
    decoding = Decoding(max_new_tokens=STEPS)
    with model.steer([one, two]):
        together = model.sample(PROMPTS, decoding=decoding)
    with model.steer(one), model.steer(two):
        nested = model.sample(PROMPTS, decoding=decoding)
        inner = model.layers[2]._forward_hooks
    assert together == nested
    assert [c[0].tokens for c in together] == [by_hand(model, [one, two], prompt, STEPS) for prompt in PROMPTS]
    assert not inner, "hooks stay after the context"
    assert model.clock.frame is None


def test_foreign_hooks_are_left_alone():
    model = tiny_model()
    seen = []
    handle = model.layers[1].register_forward_hook(lambda *a: seen.append(1))
    with model.steer(spec(model, "all")):
        model.sample(["ab"], decoding=Decoding(max_new_tokens=2))
    before = len(seen)
    model.sample(["ab"], decoding=Decoding(max_new_tokens=2))
    assert len(seen) > before > 0
    handle.remove()


@pytest.mark.parametrize("arch", ["llama", "gpt_neox"])
def test_gradients_reach_a_trainable_vector(arch):
    """The hook's gradient equals a finite difference of the loss."""
    model = tiny_model(arch)
    model.hf.requires_grad_(False)
    vector = torch.nn.Parameter(torch.zeros(model.d_model))
    ids = torch.tensor([model.encode("abcdef")])

    def loss():
        edit = Edit(1, parse("generated"), lambda h: vector.to(h.dtype), "trained")
        with steer(model.hf.base_model, model.layers, model.clock, [edit], prompt_lengths=[4]):
            return model.hf(ids, labels=ids).loss

    loss().backward()
    gradient = vector.grad.clone()
    assert gradient.norm() > 0
    along = gradient / gradient.norm()
    step = 1e-2
    with torch.no_grad():
        vector += step * along
        up = loss()
        vector -= 2 * step * along
        down = loss()
    assert float((up - down) / (2 * step)) == pytest.approx(float(gradient.norm()), rel=2e-2)


def test_bfloat16_is_steered_in_its_own_dtype():
    model = tiny_model()
    model.hf.to(torch.bfloat16)
    for mode in ("add", "clamp", "scale", "ablate"):
        with model.steer(spec(model, "all", mode)) as firings:
            model.sample(PROMPTS, decoding=Decoding(max_new_tokens=3))
        assert firings.total > 0


class TestErrors:
    def test_an_edit_that_never_fires(self):
        model = tiny_model()
        with pytest.raises(ElicitError, match="never touched a forward pass: add vector at layer 1, first"):
            with model.steer(spec(model, "first")):
                pass

    def test_a_fault_inside_is_not_hidden(self):
        model = tiny_model()
        with pytest.raises(ZeroDivisionError), model.steer(spec(model, "first")):
            1 / 0  # noqa: B018

    def test_unknown_layer(self):
        model = tiny_model()
        with pytest.raises(ElicitError, match=r"layer 7 does not exist\. Layers are 0 to 2"):
            with model.steer(spec(model, "first", layer=7)):
                pass

    def test_prompt_lengths_are_needed(self):
        model = tiny_model()
        ids = torch.tensor([model.encode("abc")])
        with pytest.raises(ElicitError, match="pass prompt_lengths="), model.steer(spec(model, "first")):
            model.hf(ids)
        with model.steer(spec(model, "all")) as firings:
            model.hf(ids)
        assert firings.total == ids.numel()

    def test_wrong_number_of_prompt_lengths(self):
        model = tiny_model()
        ids = torch.tensor([model.encode("abc")] * 3)
        with pytest.raises(ElicitError, match="prompt_lengths has 2 entries, but the forward pass has 3 rows"):
            with model.steer(spec(model, "first"), prompt_lengths=[4, 4]):
                model.hf(ids)

    @pytest.mark.parametrize("text", ["last", "first:0", "first:-1", "decay", "decay:x", "", None, 3])
    def test_position_forms(self, text):
        with pytest.raises(ElicitError, match=r"is not a position form\. Expected one of: all, prompt, generated"):
            parse(text)

    def test_directions(self):
        with pytest.raises(ElicitError, match="finite length above 0"):
            Steering(torch.zeros(4), 0)
        with pytest.raises(ElicitError, match=r"unknown steering mode 'ad'\. Did you mean 'add'\?"):
            Steering(torch.ones(4), 0, mode="ad")
        model = tiny_model()
        with pytest.raises(ElicitError, match="has 4 entries, but d_model of tiny-llama is 32"):
            with model.steer(Steering(torch.ones(4), 0)):
                pass


def test_an_edit_that_reads_the_residual_sees_the_touched_positions_alone():
    """An SAE's encoder over every token of a long prompt would cost more than the model."""
    model = tiny_model("llama")
    seen = []

    def delta(h):
        seen.append(tuple(h.shape))
        return torch.zeros_like(h)

    requests = [Request(model.encode(p), (i,)) for i, p in enumerate(PROMPTS)]
    for positions, rows in (("first", 3), ("first:2", 3)):
        seen.clear()
        with model.steer(Edit(1, parse(positions), delta, "probe", reads=True)):
            generate(model.engine, requests, Decoding(max_new_tokens=4))
        tokens = sum(shape[0] if len(shape) == 2 else shape[0] * shape[1] for shape in seen)
        assert tokens == rows * (1 if positions == "first" else 2)
