"""Steering methods: the vectors are what they claim, chosen where they claim, and their controls match them."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import elicit
from elicit import tasks
from elicit.errors import ElicitError
from elicit.fitting.selection import TIES, find_best
from elicit.methods.controls.random_vector import RandomVector
from elicit.methods.controls.same_vector import SameVector
from elicit.methods.steering.mean_steering import MeanSteering
from elicit.methods.steering.sae_steering import SaeSteering
from elicit.steering import vector_edit
from elicit.steering.residuals import residuals_at
from tests.support.models import tiny_model

SMALL = {"layers": (0, 1), "strengths": (0.5, 1.0), "train_problems": 8, "select_problems": 8}


@dataclasses.dataclass(frozen=True)
class Watched:
    """A task that notes which splits it was asked for."""

    inner: object
    asked: list

    def problems(self, split, n=None, seed=0):
        self.asked.append(split)
        return self.inner.problems(split, n, seed)

    def __getattr__(self, name):
        return getattr(self.inner, name)


@pytest.fixture(scope="module")
def model():
    return elicit.load("cued")


def last_hidden(model, prompt):
    """Residual after every layer at the last token, from transformers' own outputs (the last is after the norm)."""
    with torch.no_grad():
        ids = torch.tensor([model.encode(prompt)])
        states = model.hf(ids, output_hidden_states=True).hidden_states
    return [state[0, -1] for state in states[1:-1]]


def test_the_vector_is_the_difference_of_means(model):
    task = tasks.get("addition")
    policy = MeanSteering(**SMALL).fit(model, task, seed=0, needs={})
    train = task.problems("train", 8)
    (edit,) = policy.steering
    cued = torch.stack([last_hidden(model, p.cue_prompt)[edit.layer] for p in train])
    plain = torch.stack([last_hidden(model, p.prompt)[edit.layer] for p in train])
    difference = (cued - plain).mean(0)
    assert torch.nn.functional.cosine_similarity(difference, edit.direction, dim=0) > 0.9999
    assert float(edit.direction.norm()) == pytest.approx(1, abs=1e-5)
    assert policy.record["difference_norms"][edit.layer] == pytest.approx(float(difference.norm()), rel=1e-4)


def test_chosen_on_select_and_test_never_asked_for(model):
    task = Watched(tasks.get("addition"), [])
    policy = MeanSteering(**SMALL).fit(model, task, seed=0, needs={})
    assert set(task.asked) == {"train", "select"}
    curve = policy.record["dose_response"]
    assert len(curve) == 4
    assert policy.record["chosen"] in curve
    best = max(point["accuracy"] for point in curve)
    assert policy.record["chosen"]["accuracy"] == best
    ties = [point for point in curve if point["accuracy"] == best]
    assert policy.record["chosen"]["strength"] == min(point["strength"] for point in ties)


def test_the_last_layer_is_tried_only_when_asked_for(model):
    few = {"strengths": (1.0,), "train_problems": 4, "select_problems": 4}
    tried = MeanSteering(**few).fit(model, tasks.get("addition"), seed=0, needs={}).record["dose_response"]
    assert {point["layer"] for point in tried} == {0, 1}
    asked = MeanSteering(layers=(2,), **few).fit(model, tasks.get("addition"), seed=0, needs={})
    assert asked.steering[0].layer == 2


def test_units_are_median_residual_norms(model):
    """Brute force over single texts, first two tokens left out."""
    texts = ["Q:47+38\nA:#85", "the old fox saw the red dog."]
    norms = model.residual_norms_of(texts)
    for layer in range(model.n_layers - 1):
        seen = []
        for text in texts:
            with torch.no_grad():
                states = model.hf(torch.tensor([model.encode(text)]), output_hidden_states=True).hidden_states
            seen.append(states[layer + 1][0, 2:].norm(dim=-1))
        assert norms.medians[layer] == pytest.approx(float(torch.cat(seen).median()), rel=1e-4)


def test_two_continuations_are_equal_before_their_first_token(model):
    """Causality: the contrast must be read one token later, or it is zero."""
    task = tasks.get("addition")
    problem = task.problems("train", 1)[0]
    prompt = model.encode(problem.prompt)
    sides = [prompt + model.continuation(text) for text in (task.worked(problem), task.direct(problem))]
    at = [len(prompt) - 1] * 2
    residuals = residuals_at(model.hf, model.layers, sides, at)
    assert torch.allclose(residuals[:, 0], residuals[:, 1], atol=1e-3)
    policy = MeanSteering(contrast="continuations", **SMALL).fit(model, task, seed=0, needs={})
    assert policy.record["difference_norms"][0] > 1e-2
    assert policy.steering[0].positions == "first"


def test_templates_contrast(model):
    task = tasks.get("addition")
    by_template = MeanSteering(contrast="templates", positive="<cue>{prompt}", **SMALL)
    by_cue = MeanSteering(**SMALL)
    one = by_template.fit(model, task, seed=0, needs={}).steering[0]
    other = by_cue.fit(model, task, seed=0, needs={}).steering[0]
    assert torch.allclose(one.direction, other.direction, atol=1e-5)


def test_given_prompts_contrast(model):
    task = tasks.get("addition")
    train = task.problems("train", 8)
    by_list = MeanSteering(
        contrast="prompts",
        positive_prompts=tuple(p.cue_prompt for p in train),
        negative_prompts=tuple(p.prompt for p in train),
        **SMALL,
    )
    one = by_list.fit(model, task, seed=0, needs={}).steering[0]
    other = MeanSteering(**SMALL).fit(model, task, seed=0, needs={}).steering[0]
    assert torch.allclose(one.direction, other.direction, atol=1e-5)
    with pytest.raises(ElicitError, match="belong to contrast: prompts, which needs both"):
        MeanSteering(contrast="prompts", positive_prompts=("a",))


def test_controls_match_their_parent(model):
    task = tasks.get("addition")
    parent = MeanSteering(**SMALL).fit(model, task, seed=0, needs={})
    needs = {"mean_steering": parent}
    drawn = [RandomVector(draw=draw) for draw in range(3)]
    randoms = [RandomVector().fit(model, task, seed=seed, needs=needs).steering[0] for seed in range(3)]
    randoms += [one.fit(model, task, seed=0, needs=needs).steering[0] for one in drawn[1:]]
    assert torch.equal(drawn[0].fit(model, task, seed=0, needs=needs).steering[0].direction, randoms[0].direction)
    moved = SameVector(positions="all", factor=-1.0).fit(model, task, seed=0, needs=needs).steering[0]
    own = parent.steering[0]
    for control in [*randoms, moved]:
        assert control.layer == own.layer
        assert abs(control.absolute) == pytest.approx(abs(own.absolute))
        assert float(control.direction.norm()) == pytest.approx(1, abs=1e-5)
    for i, one in enumerate(randoms):
        assert one.positions == own.positions
        assert abs(float(one.direction @ own.direction)) < 0.5
        for other in randoms[:i]:
            assert abs(float(one.direction @ other.direction)) < 0.5
    assert moved.positions == "all"
    assert moved.absolute == pytest.approx(-own.absolute)
    assert torch.equal(moved.direction, own.direction)


class TestErrors:
    def test_layer(self):
        with pytest.raises(ElicitError, match="layer"):
            MeanSteering(layers=(9,)).fit(tiny_model(), tasks.get("addition"), seed=0, needs={})

    def test_options(self):
        with pytest.raises(ElicitError, match="`positive` belongs to contrast: templates"):
            MeanSteering(contrast="templates")
        with pytest.raises(ElicitError, match="positions: 'frist' is not a position form"):
            MeanSteering(positions="frist")
        with pytest.raises(ElicitError, match="need at least one value"):
            MeanSteering(strengths=())

    def test_a_control_needs_a_parent_that_steers(self):
        from elicit.methods.baselines.base import Base

        model, task = tiny_model(), tasks.get("addition")
        plain = {"sft": Base().fit(model, task, seed=0, needs={})}
        for control in (RandomVector(parent="sft"), SameVector(parent="sft")):
            with pytest.raises(ElicitError, match="its parent 'sft' does not steer"):
                control.fit(model, task, seed=0, needs=plain)


@pytest.mark.parametrize(("ties", "strength"), [("smallest", 0.5), ("largest", 3.0)])
@pytest.mark.parametrize("method", [MeanSteering, SaeSteering])
def test_where_nothing_gains_the_rule_for_ties_says_at_which_dose_it_is_tested(method, ties, strength):
    """On the organism that cannot add all settings are equally bad: the record says so; the largest can be taken."""
    model, task = elicit.load("incapable"), tasks.get("addition")
    options = {"layers": (0, 1), "strengths": (0.5, 3.0), "train_problems": 16, "select_problems": 16}
    policy = method(**options, ties=ties).fit(model, task, seed=0, needs={})
    accuracies = {entry["accuracy"] for entry in policy.record["dose_response"]}
    assert accuracies == {0.0}
    assert sum(edit.strength for edit in policy.edits) == strength
    tied = policy.record["tied"]
    assert tied["candidates"] == tied["of"] == len(policy.record["dose_response"])
    assert (tied["strength"], tied["strengths"]) == (strength, [0.5, 3.0])
    assert (tied["rate"]["value"], tied["rate"]["n"]) == (0.0, 16)


def test_a_lone_best_setting_is_no_tie_and_ties_decide_nothing_else():
    entries = [
        {"strength": strength, "layer": layer, "accuracy": accuracy, "n": 8, "ci": [0.0, 1.0]}
        for strength, layer, accuracy in ((2.0, 1, 0.5), (1.0, 2, 0.5), (2.0, 0, 0.5), (3.0, 0, 0.25), (1.0, 1, 0.5))
    ]
    assert [find_best(entries, ties=TIES[ties]) for ties in ("smallest", "largest")] == [4, 2]
    better = [*entries, {"strength": 0.5, "layer": 0, "accuracy": 0.75, "n": 8, "ci": [0.0, 1.0]}]
    assert [find_best(better, ties=TIES[ties]) for ties in ("smallest", "largest")] == [5, 5]


def test_raw_coefficients_multiply_the_difference_itself():
    """On an ordinary small model: what is added is c * (mu_positive - mu_negative), at its own length."""
    model, task = tiny_model(), tasks.get("addition")
    prompts = {"contrast": "prompts", "positive_prompts": ("1+1=", "2+3="), "negative_prompts": ("ab", "cd", "ef")}
    options = {"layers": (0, 1), "train_problems": 4, "select_problems": 4, **prompts}
    policy = MeanSteering(**options, coefficients=(0.5, 4.0)).fit(model, task, seed=0, needs={})
    lengths, medians = (policy.record[key] for key in ("difference_norms", "residual_norms"))
    for entry in policy.record["dose_response"]:
        length = lengths[entry["layer"]]
        assert entry["absolute"] == pytest.approx(entry["coefficient"] * length, rel=1e-5)
        assert entry["strength"] == pytest.approx(entry["absolute"] / medians["medians"][entry["layer"]], rel=1e-5)
    assert [entry["coefficient"] for entry in policy.record["dose_response"]] == [0.5, 4.0, 0.5, 4.0]
    (edit,) = policy.edits
    positive, negative = (
        torch.stack([last_hidden(model, text)[edit.layer] for text in prompts[f"{side}_prompts"]]).mean(0)
        for side in ("positive", "negative")
    )
    added = edit.delta(edit.direction, torch.zeros(model.d_model))
    torch.testing.assert_close(
        added, policy.record["chosen"]["coefficient"] * (positive - negative), atol=1e-4, rtol=1e-3
    )
    assert any("coefficient" in edge for edge in policy.record["edges"])
    with pytest.raises(ElicitError, match="coefficients need at least one value"):
        MeanSteering(coefficients=())


def test_a_raw_coefficient_adds_the_vector_as_it_is():
    model = tiny_model()
    vector = 3.0 * torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    prompts = ["1+1=", "ab"]
    with model.steer(vector, layer=1, coefficient=-2.5, positions="all"):
        ours = model.score(prompts, ["2", "c"])
    with model.steer(vector, layer=1, strength=-2.5, unit=float(vector.norm()), positions="all"):
        assert model.score(prompts, ["2", "c"]) == [pytest.approx(row, abs=1e-5) for row in ours]
    assert ours != model.score(prompts, ["2", "c"])
    edit = vector_edit(vector, 1, -2.5, unit=2.0)
    torch.testing.assert_close(edit.delta(edit.direction, torch.zeros(model.d_model)), -2.5 * vector)
    for wrong in ({"strength": 2.0}, {"unit": 1.0}, {"mode": "clamp"}):
        with (
            pytest.raises(ElicitError, match=r"a coefficient stands alone"),
            model.steer(vector, layer=1, coefficient=1.0, **wrong),
        ):
            pass
    with pytest.raises(ElicitError, match=r"a coefficient belongs to a direction"), model.steer(edit, coefficient=1.0):
        pass
