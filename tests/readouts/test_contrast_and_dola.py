"""Contrastive decoding and DoLa against their papers' formulas on plain, uncached transformers passes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elicit import seeds
from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.methods.decoding.contrastive_decoding import ContrastReadout
from elicit.methods.decoding.dola import (
    DolaReadout,
    jensen_shannon_divergence,
    list_bucket_exits,
    reversed_divergence,
)
from elicit.model import BaseModel, load
from elicit.policy import Policy
from elicit.readouts import SecondModel
from elicit.sampling import Decoding, Request, generate
from elicit.steering import Steering
from elicit.weights import FullWeights
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES, tiny

PROMPTS = ["ab", "the cat", "1+2=3 and so on", "x", "a longer prompt, longer than a window of eight"]
STEPS = 14
SAMPLED = Decoding(temperature=1.0, max_new_tokens=STEPS, stop=("e", "7"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory):
    """arch -> (expert, amateur) as folders: two tiny models with one tokenizer."""
    made: dict[str, tuple[Path, Path]] = {}

    def folder(arch: str) -> tuple[Path, Path]:
        if arch not in made:
            places = []
            for seed in (0, 1):
                hf, tokenizer = tiny(arch, seed=seed)
                place = tmp_path_factory.mktemp(f"{arch}-{seed}")
                hf.save_pretrained(place)
                tokenizer.save_pretrained(place)
                places.append(place)
            made[arch] = (places[0], places[1])
        return made[arch]

    return folder


def pair(folders, arch: str) -> tuple[BaseModel, BaseModel, SecondModel]:
    one, other = folders(arch)
    expert, amateur = load(str(one)), load(str(other))
    torch.set_num_threads(1)
    return expert, amateur, SecondModel.from_name(expert, str(other))


def whole_pass(model: BaseModel, ids: list[int]):
    """The model's own uncached forward pass."""
    with torch.no_grad():
        return model.hf(torch.tensor([ids]), use_cache=False, output_hidden_states=True)


def written(model: BaseModel, prompt: str, scores) -> tuple[int, ...]:
    """Greedy text by a rule from (ids so far) to scores, one uncached pass after another."""
    ids = list(model.encode(prompt))
    length = len(ids)
    for _ in range(STEPS):
        s = scores(ids).clone()
        s[model.tokenizer.pad_token_id] = -torch.inf
        ids.append(int(s.argmax()))
        if ids[-1] == model.tokenizer.eos_token_id:
            break
    return tuple(ids[length:])


def log_p(model: BaseModel, logits: torch.Tensor) -> torch.Tensor:
    logits = logits.double().clone()
    logits[model.tokenizer.pad_token_id] = -torch.inf
    return logits.log_softmax(-1)


def by_policy(model: BaseModel, readout, decoding: Decoding | None = None):
    asked = [Request(model.encode(prompt), (0,)) for prompt in PROMPTS]
    with readout.open_forward(model) as forward:
        return generate(model.engine, asked, decoding or Decoding(max_new_tokens=STEPS), forward)


@pytest.mark.parametrize("formula", ["original", "adjusted"])
@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2", "qwen3"])
def test_contrast_is_the_papers_formula_on_two_uncached_passes(arch, formula, folders):
    expert, amateur, second = pair(folders, arch)
    alpha, beta, temperature = 0.05, 0.7, 0.6
    readout = ContrastReadout(second, formula, alpha, beta, temperature)

    def scores(ids):
        own, raw = (whole_pass(model, ids).logits[0, -1] for model in (expert, amateur))
        e = log_p(expert, own)
        keep = e.exp() >= alpha * e.exp().max()
        if formula == "original":
            return torch.where(keep, e - log_p(amateur, raw / temperature), -torch.inf)
        # The adjusted form on raw logits, as that paper writes it.
        return torch.where(keep, (1 + beta) * own - beta * raw, -torch.inf)

    expected = [written(expert, prompt, scores) for prompt in PROMPTS]
    assert [one[0].tokens for one in by_policy(expert, readout)] == expected
    plain = [one[0].tokens for one in expert.sample(PROMPTS, decoding=Decoding(max_new_tokens=STEPS))]
    assert plain != expected, "the contrast changed nothing: the test would pass without it"


def test_swapped_roles_are_the_same_contrast_the_other_way_round(folders):
    expert, amateur, _ = pair(folders, "llama")
    forth = by_policy(expert, ContrastReadout(SecondModel.from_name(expert, amateur.name), beta=0.9))
    back = by_policy(amateur, ContrastReadout(SecondModel.from_name(amateur, expert.name), beta=0.9, swapped=True))
    assert [one[0].tokens for one in forth] == [one[0].tokens for one in back]


def test_without_subtraction_or_without_a_difference_it_is_the_expert(folders):
    expert, _, second = pair(folders, "llama")
    plain = [one[0].tokens for one in expert.sample(PROMPTS, decoding=Decoding(max_new_tokens=STEPS))]
    assert [one[0].tokens for one in by_policy(expert, ContrastReadout(second, beta=0.0))] == plain
    assert [one[0].tokens for one in by_policy(expert, ContrastReadout(SecondModel(), beta=3.0))] == plain
    assert [one[0].tokens for one in by_policy(expert, ContrastReadout(second, beta=3.0, alpha=1.0))] == plain


# Without the norm, GPT-2's tied embeddings are as far from the last layer as can be, and so is the next exit: a tie.
@pytest.mark.parametrize(
    ("arch", "norm"), [*((arch, True) for arch in ARCHITECTURES), ("llama", False), ("phi3", False)]
)
def test_dola_is_the_papers_formula_on_hidden_states(arch, norm):
    model = tiny_model(arch)
    exits, alpha = (0, 1, 2), 0.02
    chosen = set()

    def logits_of(h):
        logits = architectures.get_lm_head(model.hf)(h)
        cap = getattr(model.hf.config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def scores(ids):
        out = whole_pass(model, ids)
        p = log_p(model, out.logits[0, -1])
        early = []
        with torch.no_grad():
            for place in exits:
                h = out.hidden_states[place][0, -1]
                h = architectures.get_final_norm(model.hf)(h) if norm else h
                early.append(log_p(model, logits_of(h)))
        distances = []
        for q in early:
            m = 0.5 * (p.exp() + q.exp())
            kl = [torch.nansum(x.exp() * (x - m.log())) for x in (p, q)]
            distances.append(float(0.5 * (kl[0] + kl[1])))
        best = max(range(len(exits)), key=distances.__getitem__)
        chosen.add(best)
        return torch.where(p.exp() >= alpha * p.exp().max(), p - early[best], -torch.inf)

    expected = [written(model, prompt, scores) for prompt in PROMPTS]
    assert [one[0].tokens for one in by_policy(model, DolaReadout(exits, alpha, norm))] == expected
    plain = [one[0].tokens for one in model.sample(PROMPTS, decoding=Decoding(max_new_tokens=STEPS))]
    assert plain != expected
    if norm and arch in ("llama", "qwen2"):
        assert len(chosen) > 1, "one premature layer for all tokens would not test the choice"


def test_divergence_is_symmetric_bounded_and_scipys():
    from scipy.spatial.distance import jensenshannon

    p, q = torch.randn(2, 5, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    ours = jensen_shannon_divergence(p, q)
    theirs = [jensenshannon(a.exp().numpy(), b.exp().numpy()) ** 2 for a, b in zip(p, q, strict=True)]
    assert ours.tolist() == pytest.approx(theirs)
    far = torch.full((1, 2), -torch.inf, dtype=torch.float64)
    left, right = far.clone(), far.clone()
    left[0, 0] = right[0, 1] = 0.0
    assert float(jensen_shannon_divergence(left, right)) == pytest.approx(float(torch.log(torch.tensor(2.0))))


def test_the_reversed_divergence_is_that_of_the_authors_call_and_may_choose_another_layer():
    """`F.kl_div(input, target)` is KL(target || exp(input)); the code's input is log q, its target the mean."""
    from torch.nn.functional import kl_div

    p, q = torch.randn(2, 5, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    mean = (p.exp() + q.exp()) / 2
    theirs = [kl_div(a, mean, reduction="none").sum(-1) for a in (p, q)]
    assert reversed_divergence(p, q).tolist() == pytest.approx((0.5 * (theirs[0] + theirs[1])).tolist())
    assert reversed_divergence(p, q).tolist() != pytest.approx(jensen_shannon_divergence(p, q).tolist(), rel=1e-2)
    final = torch.tensor([[0.89, 0.1, 0.01]]).log()
    early = torch.tensor([[[0.1, 0.1, 0.8]], [[1.0, 1e-30, 1e-30]]]).log()
    chosen = {}
    for name in ("jensen_shannon", "reversed"):
        scores = DolaReadout((0, 1), alpha=1e-9, divergence=name).contrast_logits(final, early)
        chosen[name] = [i for i in (0, 1) if torch.allclose(scores, final - early[i], atol=1e-4)]
    js = [float(jensen_shannon_divergence(final, layer)) for layer in early]
    back = [float(reversed_divergence(final, layer)) for layer in early]
    assert chosen["jensen_shannon"] != chosen["reversed"]
    assert chosen == {"jensen_shannon": [js.index(max(js))], "reversed": [back.index(max(back))]}


def test_a_policy_keeps_the_hash_that_it_had_before_there_was_a_choice():
    assert DolaReadout((0,)).to_json() == {"exits": [0], "alpha": 0.1, "norm": True}
    other = DolaReadout((0,), divergence="reversed")
    assert other.sha256 != DolaReadout((0,)).sha256
    assert DolaReadout.from_json(other.to_json(), None) == other


def test_buckets_leave_tied_embeddings_out():
    assert list_bucket_exits(tiny_model("llama"), "low") == (0,)
    assert list_bucket_exits(tiny_model("llama"), "high") == (1,)
    assert (
        list_bucket_exits(tiny_model("qwen2"), "low") == ()
    )  # its embeddings are the head, and there is nothing after them


# Each readout and each kind of cache once; the other pairs are slow.
@pytest.mark.parametrize(
    ("kind", "arch"),
    [
        ("contrast", "gemma2"),
        ("dola", "llama"),
        pytest.param("contrast", "llama", marks=pytest.mark.slow),
        pytest.param("contrast", "gpt2", marks=pytest.mark.slow),
        pytest.param("dola", "gemma2", marks=pytest.mark.slow),
        pytest.param("dola", "gpt2", marks=pytest.mark.slow),
    ],
)
def test_the_same_text_at_any_batch_size(arch, kind, folders):
    """Rows end at different times here, so they leave both caches."""
    model, _, second = pair(folders, arch)
    readout = ContrastReadout(second) if kind == "contrast" else DolaReadout((0, 1), alpha=0.01)
    requests = [Request(model.encode(p), tuple(seeds.derive_key(0, p, i) for i in range(8))) for p in PROMPTS]
    with readout.open_forward(model) as forward:
        whole = generate(model.engine, requests, SAMPLED, forward)
        alone = [
            [generate(model.engine, [Request(request.ids, (key,))], SAMPLED, forward)[0][0] for key in request.keys]
            for request in requests
        ]
    assert [[c.tokens for c in one] for one in whole] == [[c.tokens for c in one] for one in alone]
    assert len({len(c.tokens) for one in whole for c in one}) > 1


@pytest.mark.parametrize("kind", ["named", "weights", "steered", "dola"])
def test_saved_and_loaded_it_says_the_same(kind, folders, tmp_path):
    model, amateur, second = pair(folders, "llama")
    weights = FullWeights({n: p.detach() for n, p in amateur.hf.named_parameters() if "mlp" in n})
    direction = torch.ones(model.d_model)
    readout = {
        "named": ContrastReadout(second, "original", 0.2, 0.3, 0.9),
        "weights": ContrastReadout(SecondModel(weights=weights), swapped=True),
        "steered": ContrastReadout(SecondModel(steering=(Steering(direction, 1, 2.0, "add", "generated", 3.0),))),
        "dola": DolaReadout((1, 2), 0.3, norm=False),
    }[kind]
    policy = Policy(model, Decoding(max_new_tokens=STEPS), readout=readout)
    before = by_policy(model, readout)
    state = {name: len(module._forward_hooks) for name, module in model.hf.named_modules()}
    policy.save(tmp_path)
    again = Policy.load(tmp_path, model)
    assert again.sha256 == policy.sha256
    assert str(again.readout) == str(readout)
    assert [one[0].tokens for one in by_policy(model, again.readout)] == [one[0].tokens for one in before]
    assert {name: len(module._forward_hooks) for name, module in model.hf.named_modules()} == state
    assert not again.has_distribution


def test_a_second_model_with_weights_is_that_model(folders):
    """The twin shares what is not changed, and neither sees the other."""
    model, amateur, _ = pair(folders, "llama")
    whole = FullWeights({name: p.detach() for name, p in amateur.hf.named_parameters()})
    named = by_policy(model, ContrastReadout(SecondModel.from_name(model, amateur.name)))
    assert [one[0].tokens for one in by_policy(model, ContrastReadout(SecondModel(weights=whole)))] == [
        one[0].tokens for one in named
    ]
    partial = FullWeights({n: p.detach() for n, p in amateur.hf.named_parameters() if "mlp" in n})
    with SecondModel(weights=partial).open_model(model) as running, Policy(model, weights=partial).apply():
        ids = torch.tensor([[4, 5, 6]])
        with torch.no_grad():
            assert torch.equal(running.engine.hf(ids).logits, model.hf(ids).logits)
    attention = dict(running.engine.hf.named_parameters())["model.layers.0.self_attn.q_proj.weight"]
    assert attention is model.hf.model.layers[0].self_attn.q_proj.weight


def test_what_cannot_be_is_said(folders, tmp_path):
    model, *_ = pair(folders, "llama")
    hf, tokenizer = tiny("llama", vocab="abc")
    hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ElicitError, match=r"different tokenizers .* their logits cannot be compared token by token"):
        SecondModel.from_name(model, str(tmp_path))
    with pytest.raises(ElicitError, match="an early exit after 3 blocks does not exist: this model has 3"):
        by_policy(model, DolaReadout((3,)))
    with pytest.raises(ElicitError, match=r"dola: exits are \[1, 1\]; expected at least one number of blocks"):
        DolaReadout((1, 1))
    with pytest.raises(ElicitError, match=r"contrastive_decoding: alpha is 2; expected 0 to 1\."):
        ContrastReadout(SecondModel(), alpha=2)


@pytest.mark.parametrize("kind", ["contrast", "dola"])
def test_as_a_loop_of_transformers_generate(kind, folders):
    """The same text from `model.generate(custom_generate=...)` on a left-padded batch."""
    from elicit.search.custom import custom_generate

    model, _, second = pair(folders, "llama")
    readout = ContrastReadout(second) if kind == "contrast" else DolaReadout((0, 1), alpha=0.01)
    tok = model.tokenizer
    rows = [list(model.encode(prompt)) for prompt in PROMPTS]
    width = max(map(len, rows))
    ids = torch.tensor([[tok.pad_token_id] * (width - len(row)) + row for row in rows])
    with readout.open_forward(model) as forward:
        loop = custom_generate(None, tok, forward=forward)
        out = model.hf.generate(
            ids, attention_mask=(ids != tok.pad_token_id).long(), custom_generate=loop, max_new_tokens=STEPS,
            do_sample=False, pad_token_id=tok.pad_token_id,
        )  # fmt: skip
    cut = []
    for row in out[:, width:].tolist():
        end = row.index(tok.eos_token_id) + 1 if tok.eos_token_id in row else len(row)
        cut.append(tuple(t for t in row[:end] if t != tok.pad_token_id))
    assert cut == [one[0].tokens for one in by_policy(model, readout)]
