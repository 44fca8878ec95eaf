"""The parts of hybrid steering: states, steps, categories, directions and gates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elicit import seeds
from elicit.errors import ElicitError
from elicit.fitting import gate as gating
from elicit.fitting import trace_categories
from elicit.method import task_decoding
from elicit.sampling import Scored
from elicit.sampling.states import read_token_states
from elicit.steering import Gate
from saes.training.matrix import train_on_vectors
from tests.methods.hybrid_arms import TASK, clustered, cued, read, sft
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_states_are_those_of_each_text_alone(arch):
    """Residuals that produce each completion token, and the model's prediction there, out of a padded batch."""
    model = tiny_model(arch)
    texts = [("ab", "cde"), ("1+2=", "3"), ("x", "yz12")]
    sequences = [Scored(model.encode(p), model.continuation(c)) for p, c in texts]
    ours = read_token_states(model.engine, model.layers, [2, 0], sequences)
    caught: dict[int, torch.Tensor] = {}
    for (prompt, completion), found in zip(sequences, ours, strict=True):
        handles = [
            model.layers[i].register_forward_hook(
                lambda m, a, out, i=i, caught=caught: caught.update({i: out[0] if isinstance(out, tuple) else out})
            )
            for i in (0, 2)
        ]
        with torch.no_grad():
            logits = model.hf(torch.tensor([[*prompt, *completion]]), use_cache=False).logits[0]
        for handle in handles:
            handle.remove()
        logits[:, model.tokenizer.pad_token_id] = -torch.inf
        here = slice(len(prompt) - 1, len(prompt) + len(completion) - 1)
        assert found.top.tolist() == logits[here].argmax(-1).tolist()
        for row, layer in enumerate((2, 0)):
            torch.testing.assert_close(found.residuals[row], caught[layer][0, here], atol=1e-3, rtol=1e-3)


def test_a_trace_is_cut_after_its_separators_and_no_token_is_lost():
    tokens = read()
    whole = ["".join(tokens.texts[i] for i in sorted(set(tokens.step[tokens.trace == n].tolist()))) for n in range(24)]
    drawn = sft().draw(TASK.problems("train", 24, seed=1), task="addition", seed=0, n=1, decoding=task_decoding(TASK))
    assert [text.rstrip("\n") for text in whole] == [one[0].text for _, _, one in drawn]
    assert all(text.endswith(("\n", ",")) or "," not in text for text in tokens.texts)
    assert all("," not in text[:-1] for text in tokens.texts)
    assert any(text.startswith("<think>") for text in tokens.texts)
    assert tokens.base.shape == tokens.tuned.shape == (2, len(tokens.step), cued().d_model)


def test_both_models_disagree_where_their_greedy_tokens_differ():
    """At the first token of nearly every trace, where the mode is decided."""
    tokens = read()
    firsts = [int((tokens.trace == n).nonzero()[0, 0]) for n in range(24)]
    assert float(tokens.disagree[firsts].float().mean()) > 0.9
    assert float(tokens.disagree.float().mean()) < 0.2


def test_the_autoencoder_finds_planted_clusters():
    """Five directions far apart: no category holds two of them (but a cluster may have two categories)."""
    rng = seeds.make_generator("planted")
    centres = np.linalg.qr(rng.standard_normal((20, 5)))[0].T * 10
    label = rng.integers(0, 5, 400)
    vectors = torch.from_numpy(centres[label] + rng.standard_normal((400, 20))).float()
    latents = train_on_vectors(vectors, width=10, k=1, seed=0)
    found = Gate(latents.weight, latents.bias).decide_class(vectors).numpy()
    from sklearn.metrics import homogeneity_score

    assert homogeneity_score(label, found) > 0.95
    assert latents.explained_variance > 0.5
    again = train_on_vectors(vectors, width=10, k=1, seed=0)
    assert torch.equal(again.weight, latents.weight)
    with pytest.raises(ElicitError, match="3 vectors are too few for 5 latents"):
        train_on_vectors(vectors[:3], width=5, k=1, seed=0)


def test_the_category_is_the_largest_latent_of_saelens():
    """Our affine argmax against the trained module itself."""
    from saes.plan import Plan
    from saes.training import matrix, trainer

    h = torch.from_numpy(seeds.make_generator("sae check").standard_normal((300, 16))).float() + 3
    at = trainer.build_trainer(Plan(layer=0, width=6, k=2, tokens=256 * 40, seed=1, lr=3e-3, batch=256), h)
    for _ in range(40):
        at.step(h[:256])
        at.n_training_steps += 1
    trainer.fold_input_scaling(at)
    latents = matrix._extract_latents(at.sae, h)
    with torch.no_grad():
        f = at.sae.encode(h) * at.sae.W_dec.norm(dim=-1) / at.sae.W_dec.norm(dim=-1)
        pre = at.sae.encode_with_hidden_pre(h)[1]
    torch.testing.assert_close(h @ latents.weight.T + latents.bias, pre, atol=1e-4, rtol=1e-4)
    active = f.max(-1).values > 0
    assert torch.equal(Gate(latents.weight, latents.bias).decide_class(h)[active], f.argmax(-1)[active])
    assert bool(active.any())


@pytest.mark.parametrize("least", [1, 8])
def test_directions_are_differences_of_means(least):
    """Of enough tokens: a category with fewer is not steered."""
    tokens = read()
    found = clustered()
    assert found.gate.classes <= 4
    for over in ("disagreements", "steps"):
        rows = gating.compute_directions(tokens, found, 0, over, least=least)
        for category in range(found.gate.classes):
            if over == "steps":
                mine = [i for i in range(len(tokens.step)) if int(found.step[tokens.step[i]]) == category]
            else:
                mine = [i for i in range(len(tokens.step)) if found.token[i] == category and tokens.disagree[i]]
            expected = torch.zeros(cued().d_model)
            if len(mine) >= least:
                expected = tokens.tuned[0][mine].mean(0) - tokens.base[0][mine].mean(0)
            torch.testing.assert_close(rows[category], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("classes", [4, 2, 1])
def test_gate_decisions_are_scikit_learns(classes):
    """Several categories, one (scikit-learn keeps a single row then), and no disagreement at all."""
    tokens = read()
    found = clustered()
    if classes < 4:
        found = found._replace(
            gate=Gate(found.gate.weight[:1], found.gate.bias[:1]), token=torch.zeros_like(found.token)
        )
    if classes == 1:
        tokens = tokens._replace(disagree=torch.zeros_like(tokens.disagree))
    steered = torch.ones(found.gate.classes, dtype=torch.bool)
    gate, record = gating.fit_gate(tokens, found, 1, steered, 1.0)
    label = torch.where(tokens.disagree, found.token + 1, 0)
    if classes == 1:
        assert gate.decide_class(tokens.base[1]).sum() == 0
        assert record["share_fired"] == 0
        return
    theirs = gating.fit_logistic_pipeline(tokens.base[1], label, 1.0).predict(tokens.base[1].double().numpy())
    assert gate.decide_class(tokens.base[1]).tolist() == theirs.tolist()
    assert set(theirs.tolist()) > {0}
    assert 0 <= record["accuracy"] <= 1


def test_trained_directions_make_the_tuned_models_text_likelier(monkeypatch):
    from elicit.fitting import direction_training
    from elicit.training import passes

    found_traces = trace_categories.generate_traces(sft(), TASK, problems=24, decoding=task_decoding(TASK), seed=0)
    tokens = read()
    found = clustered()
    start = gating.compute_directions(tokens, found, 1, "disagreements", least=1)
    before = [p.requires_grad for p in cued().hf.parameters()]
    fit = direction_training.train_directions(
        cued(), found_traces, tokens, found, 1, start, norm=100.0, steps=20, seed=0
    )
    assert [p.requires_grad for p in cued().hf.parameters()] == before
    assert all(p.grad is None for p in cued().hf.parameters())
    # Within a memory of two traces a step is the same step.
    monkeypatch.setattr(passes, "CPU_BUDGET", 2 * 60 * passes.activation_bytes_per_token(cued().hf))
    piecewise = direction_training.train_directions(
        cued(), found_traces, tokens, found, 1, start, norm=100.0, steps=3, seed=0
    )
    assert [one["loss"] for one in piecewise.curve] == pytest.approx([one["loss"] for one in fit.curve[:3]], rel=1e-4)
    where = torch.where(tokens.disagree, found.token + 1, 0)
    split = [where[tokens.trace == i] for i in range(24)]
    none, first, last = (
        float(direction_training.compute_negative_log_likelihood(cued(), found_traces, split, 1, rows).detach())
        for rows in (0 * start, torch.nn.functional.normalize(start, dim=1) * 100, fit.rows)
    )
    assert last < first < none
    scored = cued().score([p.prompt for p in TASK.problems("train", 2, seed=1)], ["#1", "#2"])
    assert scored  # nothing is left on the model
    unsteered = start.norm(dim=1) == 0
    assert bool((fit.rows[unsteered] == 0).all())
