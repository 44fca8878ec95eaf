"""Hybrid steering as a method: steps, categories, gates and controls on the built-in organism."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elicit import seeds
from elicit.errors import ElicitError
from elicit.fitting import gate as gating
from elicit.fitting import trace_categories
from elicit.method import task_decoding
from elicit.methods.catalog import configure_method, load_config_class
from elicit.model import BaseModel, load
from elicit.policy import Policy
from elicit.readouts import HybridReadout
from elicit.report.data.families import classify_arm
from elicit.sampling import Scored
from elicit.sampling.states import read_token_states
from elicit.steering import Gate, GatedEdit
from elicit.tasks import get
from elicit.weights import FullWeights
from saes.training.matrix import train_on_vectors
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES

TASK = get("addition", max_new_tokens=40)
SMALL = {"tuned": "sft", "train_problems": 32, "select_problems": 16, "strengths": (1.5,), "layers": (1,)}


@functools.cache
def cued() -> BaseModel:
    model = load("cued")
    torch.set_num_threads(1)
    return model


@functools.cache
def sft() -> Policy:
    return configure_method("sft", {"demonstrations": 16}).fit(cued(), TASK, seed=0, needs={})


@functools.cache
def hybrid(gate: str, vectors: str = "disagreements") -> Policy:
    config = configure_method("hybrid_steering", {**SMALL, "gate": gate, "vectors": vectors})
    return config.fit(cued(), TASK, seed=0, needs={"sft": sft()})


@functools.cache
def read() -> trace_categories.TraceTokens:
    found = trace_categories.generate_traces(sft(), TASK, problems=24, decoding=task_decoding(TASK), seed=0)
    return trace_categories.read_traces(cued(), sft(), found, [0, 1], ("\n", ","))


@functools.cache
def clustered() -> trace_categories.StepCategories:
    return trace_categories.cluster_steps(read(), 1, width=4, k=1, least=3, seed=0)


def accuracy(policy: Policy, n: int = 32) -> float:
    problems = TASK.problems("test", n)
    answers = policy.answer(problems, TASK, label="x", seed=0)
    return sum(TASK.verify(p, a.text).correct for p, a in zip(problems, answers, strict=True)) / n


# --- states, steps, categories -----------------------------------------------------------------------------------


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


# --- the method --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["oracle", "learned"])
def test_it_brings_the_tuned_arms_accuracy_with_few_tokens_steered(gate):
    policy = hybrid(gate)
    assert accuracy(Policy(cued(), policy.decoding)) < 0.1
    assert accuracy(policy) > 0.6
    record = policy.record
    assert 0.02 < record["fraction_steered"]["of_tokens"] < 0.2
    assert record["recovered_of_tuned"]["gap_recovered"] > 0.6
    assert record["recovered_of_tuned"]["n"] == 16
    assert record["tuning"]["n"] == 16
    assert record["train"]["labels"] == 0  # its own alone: the summary counts the arms it was made from
    assert record["train"]["tokens"] > record["train"]["generated_tokens"] > 0
    assert sum(entry["steps"] for entry in record["categories"]) > 32
    assert policy.weights is None
    assert policy.has_distribution == (gate == "learned")


@pytest.mark.parametrize("gate", ["oracle", "learned"])
def test_firings_are_the_steered_tokens_of_each_answer(gate):
    policy = hybrid(gate)
    problems = TASK.problems("test", 8)
    answers = policy.answer(problems, TASK, label="x", seed=0)
    assert all(0 < answer.firings < answer.tokens for answer in answers)
    one_by_one = [policy.answer([problem], TASK, label="x", seed=0)[0] for problem in problems]
    assert one_by_one == answers


@pytest.mark.parametrize("gate", ["oracle", "learned"])
def test_saved_and_loaded_it_says_the_same(gate, tmp_path: Path):
    policy = hybrid(gate)
    policy.save(tmp_path)
    again = Policy.load(tmp_path, cued())
    problems = TASK.problems("test", 6)
    assert again.sha256 == policy.sha256
    assert again.record == policy.record
    assert again.answer(problems, TASK, label="x", seed=0) == policy.answer(problems, TASK, label="x", seed=0)


@pytest.mark.parametrize("gate", ["oracle", "learned"])
def test_a_tuned_arm_that_changes_nothing_is_the_base(gate):
    same = FullWeights({name: p.detach().clone() for name, p in cued().hf.named_parameters()})
    tuned = Policy(cued(), task_decoding(TASK), weights=same)
    config = configure_method("hybrid_steering", {**SMALL, "gate": gate, "categories": 2})
    policy = config.fit(cued(), TASK, seed=0, needs={"sft": tuned})
    problems = TASK.problems("test", 8)
    ours = policy.answer(problems, TASK, label="x", seed=0)
    plain = Policy(cued(), policy.decoding).answer(problems, TASK, label="x", seed=0)
    assert ours == plain
    assert policy.record["fraction_steered"]["of_tokens"] == 0
    assert policy.record["disagreement"]["of_tokens"] == 0
    assert policy.record["recovered_of_tuned"]["gap_recovered"] is None


def test_a_steering_arm_may_be_followed_too():
    """The tuned model is then the same base with the edits of another arm."""
    mean = configure_method("mean_steering", {"strengths": (1.5,), "layers": (1,), "select_problems": 8}).fit(
        cued(), TASK, seed=0, needs={}
    )
    policy = configure_method("hybrid_steering", {**SMALL, "tuned": "mean"}).fit(
        cued(), TASK, seed=0, needs={"mean": mean}
    )
    assert policy.readout.second.steering == mean.steering
    assert accuracy(policy) > 0.6


# --- controls ----------------------------------------------------------------------------------------------------


def control(change: str, gate: str, seed: int = 0, vectors: str = "disagreements") -> Policy:
    config = configure_method("hybrid_control", {"change": change, "parent": "h"})
    return config.fit(cued(), TASK, seed=seed, needs={"h": hybrid(gate, vectors)})


def edit_of(policy: Policy) -> HybridReadout | GatedEdit:
    return policy.readout or policy.steering[0]


@pytest.mark.parametrize("gate", ["oracle", "learned"])
def test_controls_change_one_thing(gate):
    parent = edit_of(hybrid(gate, "steps"))
    for change in ("random_vectors", "random_categories"):
        ours = edit_of(control(change, gate, vectors="steps"))
        assert dataclasses.replace(ours, directions=parent.directions).sha256 == parent.sha256
        assert ours.sha256 != parent.sha256
        assert torch.allclose(ours.directions.norm(dim=1), parent.directions.norm(dim=1), atol=1e-5)
        assert edit_of(control(change, gate, seed=1, vectors="steps")).sha256 != ours.sha256
    dealt = edit_of(control("random_categories", gate, vectors="steps")).directions
    steered = parent.directions.norm(dim=1) > 0
    assert steered.sum() > 2
    assert not any(torch.equal(a, b) for a, b in zip(dealt[steered], parent.directions[steered], strict=True))
    assert sorted(map(tuple, dealt.tolist())) == sorted(map(tuple, parent.directions.tolist()))


@pytest.mark.parametrize("gate", ["oracle", "learned"])
def test_one_vector_at_one_token_is_said(gate):
    """On this organism the models disagree at the first token alone, so a single direction is all that it has."""
    policy = hybrid(gate)
    assert policy.record["directions"] == int((edit_of(policy).directions.norm(dim=1) > 0).sum()) == 1
    answers = policy.answer(TASK.problems("test", 20), TASK, label="x", seed=0)
    firings = sum(answer.firings for answer in answers) / len(answers)
    assert classify({"directions": 1, "firings_per_problem": firings}) == "steering"
    assert classify({"directions": 1, "firings_per_problem": 2.0}) == "hybrid"
    assert classify({"directions": 2, "firings_per_problem": firings}) == "hybrid"
    assert classify({"firings_per_problem": firings}) == "hybrid"
    with pytest.raises(ElicitError, match="the parent steers 1 of"):
        control("random_categories", gate)


def classify(data: dict[str, Any]) -> str:
    """The family of a hybrid arm with these figures."""
    return classify_arm(load_config_class("hybrid_steering").traits, data, trained=True, ceiling=False).key


def test_a_lone_direction_has_none_to_be_exchanged_with():
    """Put where it is never added, it would be a control that cannot fail."""
    from elicit.methods.controls.hybrid_control import _permute_directions

    rows = torch.zeros(4, 3)
    for steered in (0, 1):
        with pytest.raises(ElicitError, match=f"the parent steers {steered} of 4 categories, too few to exchange"):
            _permute_directions(rows, 0)
        rows[2 - steered] = torch.eye(3)[steered]
    dealt = _permute_directions(rows, 0)
    assert torch.equal(dealt[2], rows[1])
    assert torch.equal(dealt[1], rows[2])
    assert not dealt[[0, 3]].any()


def test_a_gate_does_not_fire_for_categories_without_a_direction():
    tokens, found = read(), clustered()
    sizes = torch.bincount(found.token[tokens.disagree], minlength=found.gate.classes)
    common = int(sizes.argmax())
    steered = torch.arange(found.gate.classes) == common
    gate, record = gating.fit_gate(tokens, found, 1, steered, 1.0)
    assert set(gate.decide_class(tokens.base[1]).tolist()) <= {0, common + 1}
    rest, other_record = gating.fit_gate(tokens, found, 1, ~steered, 1.0)
    assert common + 1 not in rest.decide_class(tokens.base[1]).tolist()
    held_out = tokens.trace % 5 == 0
    for one, wanted in ((record, found.token == common), (other_record, found.token != common)):
        share = (wanted & tokens.disagree)[held_out].float().mean()
        assert one["share_wanted"] == pytest.approx(float(share))
        assert float(share) > 0


@pytest.mark.parametrize("gate", ["oracle", "learned"])
def test_random_positions_steer_as_large_a_share_of_tokens(gate):
    share = hybrid(gate).record["fraction_steered"]["of_tokens"]
    said = steered = 0
    for seed in range(6):
        answers = control("random_positions", gate, seed).answer(TASK.problems("test", 60), TASK, label="x", seed=0)
        said, steered = said + sum(a.tokens for a in answers), steered + sum(a.firings for a in answers)
    # A steered position changes how long the answer is: so three standard errors and a little more.
    assert steered / said == pytest.approx(share, abs=3 * np.sqrt(share * (1 - share) / said) + 0.01)


@pytest.mark.parametrize("gate", ["oracle", "learned"])
def test_random_vectors_and_positions_do_not_bring_the_accuracy(gate):
    for change in ("random_vectors", "random_positions"):
        assert accuracy(control(change, gate)) < 0.3


@pytest.mark.parametrize("gate", ["oracle", "learned"])
def test_random_vectors_with_the_parents_search(gate):
    """The same gate, layers, strengths and problems; only the directions differ, and with them the seed's draw."""
    options = {**SMALL, "gate": gate, "layers": (0, 1), "strengths": (1.0, 1.5), "select_problems": 8}
    parent, searched, other = (
        configure_method("hybrid_steering", {**options, "vectors": vectors}).fit(
            cued(), TASK, seed=seed, needs={"sft": sft()}
        )
        for vectors, seed in (("disagreements", 0), ("random", 0), ("random", 1))
    )
    keys = ("layer", "strength", "absolute", "gate")
    grids = [[[e.get(key) for key in keys] for e in p.record["dose_response"]] for p in (parent, searched)]
    assert grids[0] == grids[1]
    assert searched.record["tuning"]["trials"] == parent.record["tuning"]["trials"] == 4
    rows, others = ((p.readout or p.steering[0]).directions for p in (searched, other))
    layer = searched.record["chosen"]["layer"]
    if layer == parent.record["chosen"]["layer"]:
        theirs = (parent.readout or parent.steering[0]).directions
        assert ((rows.norm(dim=1) > 0) == (theirs.norm(dim=1) > 0)).all()
    assert not torch.equal(rows, others)
    assert accuracy(searched) < 0.3 < accuracy(parent)
    traits = configure_method("hybrid_steering", {"vectors": "random"}).traits
    assert (traits.is_control, traits.control_of, traits.varies) == (True, "hybrid_steering", ("vectors",))


def test_what_cannot_be_is_said():
    with pytest.raises(ElicitError, match=r"its parent 'h' does not steer by category\. Name an arm"):
        configure_method("hybrid_control", {"parent": "h"}).fit(cued(), TASK, seed=0, needs={"h": sft()})
    with pytest.raises(ElicitError, match="this arm steers through a gate"):
        configure_method("random_vector", {"parent": "h"}).fit(cued(), TASK, seed=0, needs={"h": hybrid("learned")})
    with pytest.raises(ElicitError, match="arm 'sft' is the base itself"):
        configure_method("hybrid_steering", SMALL).fit(
            cued(), TASK, seed=0, needs={"sft": Policy(cued(), task_decoding(TASK))}
        )
    with pytest.raises(ElicitError, match=r"layer 9 does not exist"):
        configure_method("hybrid_steering", {**SMALL, "layers": (9,)}).fit(cued(), TASK, seed=0, needs={"sft": sft()})
    with pytest.raises(ElicitError, match="fewer than the 500 categories asked for"):
        configure_method("hybrid_steering", {**SMALL, "categories": 500}).fit(
            cued(), TASK, seed=0, needs={"sft": sft()}
        )
    with pytest.raises(ElicitError, match="hybrid_steering: categories is 0; expected a number above 0"):
        configure_method("hybrid_steering", {"categories": 0})
