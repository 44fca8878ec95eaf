"""Hybrid steering as a method, and its controls, on the built-in organism."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elicit.errors import ElicitError
from elicit.fitting import gate as gating
from elicit.fitting import trace_categories
from elicit.method import task_decoding
from elicit.methods.catalog import configure_method, load_config_class
from elicit.policy import Policy
from elicit.readouts import HybridReadout
from elicit.report.data.families import classify_arm
from elicit.steering import GatedEdit
from elicit.weights import FullWeights
from tests.methods.hybrid_arms import SMALL, TASK, accuracy, cluster_once, clustered, cued, hybrid, read, sft


@pytest.fixture(autouse=True)
def _categories_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_categories, "cluster_steps", cluster_once)


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
