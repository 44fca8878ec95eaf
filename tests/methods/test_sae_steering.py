"""SAE feature steering: found on train, chosen on select, with controls that match it and evidence read right."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import elicit
import saes
from elicit.comparison.spec import build_task
from elicit.errors import ElicitError
from elicit.methods.catalog import configure_method
from elicit.methods.steering.sae_steering import SaeSteering
from elicit.policy import Policy
from elicit.steering import feature_edit
from tests.methods.test_steering_methods import Watched, last_hidden

SMALL = {"strengths": (1.0, 2.0, 3.0), "train_problems": 32, "select_problems": 16}


@pytest.fixture(scope="module")
def model():
    return elicit.load("cued")


@pytest.fixture(scope="module")
def task(model):
    return build_task({"task": "addition"}, model.card["dialect"], where="test")


@pytest.fixture(scope="module")
def parent(model, task):
    return SaeSteering(**SMALL).fit(model, task, seed=0, needs={})


@pytest.fixture(scope="module")
def chosen(parent):
    """The feature that was chosen."""
    (entry,) = parent.record["features"]
    return saes.load(entry["sae"]).feature(entry["feature"])


def fitted(name, model, task, arm, /, *, seed=0, **options):
    return configure_method(name, options).fit(model, task, seed=seed, needs={"sae_steering": arm})


def solved(policy, task, n=100):
    """(accuracy, trace rate) on test problems."""
    problems = task.problems("test", n)
    answers = policy.answer(problems, task, label="addition", seed=0)
    verdicts = [task.verify(p, a.text) for p, a in zip(problems, answers, strict=True)]
    return sum(v.correct for v in verdicts) / n, sum(v.has_trace for v in verdicts) / n


def test_candidates_are_the_largest_differences_of_means(model, task, parent):
    """By brute force: transformers' hidden states, SAELens's own encoder."""
    from sae_lens import SAE as SAELensSAE

    train = task.problems("train", 32)
    for name, entries in parent.record["candidates"].items():
        layer = entries[0]["layer"]
        if layer == model.n_layers - 1:
            continue  # transformers' last hidden state is the one after the final norm
        theirs = SAELensSAE.load_from_disk(Path(saes.__file__).parent / "weights" / name, dtype="float32")
        means = []
        for prompts in ([p.cue_prompt for p in train], [p.prompt for p in train]):
            h = torch.stack([last_hidden(model, prompt)[layer] for prompt in prompts])
            with torch.no_grad():
                means.append(theirs.encode(h).mean(0))
        difference = means[0] - means[1]
        order = [entry["feature"] for entry in entries]
        assert order[0] == int(difference.argmax())
        assert np.allclose([e["train"]["contrast"] for e in entries], difference[order], rtol=1e-3, atol=1e-2)
        assert sorted((e["train"]["contrast"] for e in entries), reverse=True) == [
            e["train"]["contrast"] for e in entries
        ]


def test_chosen_on_select_and_test_never_asked_for(model, task):
    watched = Watched(task, [])
    policy = SaeSteering(**{**SMALL, "strengths": (2.0,), "candidates": 1}).fit(model, watched, seed=0, needs={})
    assert set(watched.asked) == {"train", "select"}
    assert len(policy.record["dose_response"]) == 2  # the last layer is not tried
    assert policy.record["chosen_on"] == {"split": "select", "n": 16, "by": "accuracy", "of": 2}
    assert policy.record["chosen"]["accuracy"] == max(e["accuracy"] for e in policy.record["dose_response"])


def test_what_is_added_is_the_decoder_row_at_the_strength_said(model, task, parent, chosen):
    (edit,) = parent.steering
    row = chosen.sae.coder.W_dec[chosen.index]
    assert torch.allclose(edit.direction, row / row.norm(), atol=1e-6)
    median = parent.record["residual_norms"]["medians"][edit.layer]
    assert edit.absolute == pytest.approx(parent.record["chosen"]["strength"] * median)
    assert (edit.mode, edit.positions) == ("add", "first")


def test_one_feature_switches_the_organism_on_and_its_controls_do_not(model, task, parent):
    """The published effect in miniature (He et al., 2601.08058), on test problems."""
    assert solved(Policy(model, parent.decoding), task)[0] < 0.1
    assert solved(parent, task)[0] >= 0.9
    drawn = [solved(fitted("random_feature", model, task, parent, seed=seed), task)[0] for seed in range(3)]
    assert np.mean(drawn) < 0.1
    for name, options in (
        ("same_vector", {"parent": "sae_steering", "positions": "first", "factor": -1.0}),
        ("same_vector", {"parent": "sae_steering", "positions": "all"}),
        ("random_vector", {"parent": "sae_steering"}),
        ("covariance_vector", {}),
        ("error_vector", {}),
    ):
        assert solved(fitted(name, model, task, parent, **options), task)[0] < 0.1, name


def test_random_features_match_and_differ_by_seed(model, task, parent, chosen):
    drawn = [fitted("random_feature", model, task, parent, seed=seed) for seed in range(4)]
    indices = [policy.record["features"][0]["feature"] for policy in drawn]
    assert chosen.index not in indices
    assert len(set(indices)) > 1
    for policy in drawn:
        (edit,) = policy.steering
        found = policy.record["features"][0]
        assert edit.absolute == pytest.approx(parent.steering[0].absolute)
        assert torch.allclose(edit.direction, chosen.sae.feature(found["feature"]).direction)
        ratio = found["density"] / found["density_of"]
        assert 1 / found["matched_within_factor"] - 1e-9 <= ratio <= found["matched_within_factor"] + 1e-9


def test_the_error_vector_is_the_unexplained_part_of_the_contrast(model, task, parent, chosen):
    train = task.problems("train", 16)
    policy = fitted("error_vector", model, task, parent, problems=16)
    layer = chosen.sae.layer
    errors = []
    for prompts in ([p.cue_prompt for p in train], [p.prompt for p in train]):
        h = torch.stack([last_hidden(model, prompt)[layer] for prompt in prompts])
        with torch.no_grad():
            errors.append((h - chosen.sae.coder(h)).mean(0))
    direction = torch.nn.functional.normalize(errors[0] - errors[1], dim=0)
    assert torch.allclose(policy.steering[0].direction, direction, atol=1e-3)
    assert policy.steering[0].absolute == pytest.approx(parent.steering[0].absolute)


def test_the_twin_is_the_nearest_decoder_row_of_the_second_sae(model, task, parent, chosen):
    policy = fitted("twin_feature", model, task, parent)
    other = saes.load(f"{chosen.sae.name}-s1")
    cosines = torch.nn.functional.cosine_similarity(other.directions, chosen.direction[None], dim=1)
    (found,) = policy.record["features"]
    assert found["feature"] == int(cosines.argmax())
    assert found["cosine"] == pytest.approx(float(cosines.max()), abs=1e-5)


def test_ablating_and_clamping_act_on_the_features_named(model, task, parent, chosen):
    best = parent.record["candidates"][chosen.sae.name]
    without = fitted("ablate_feature", model, task, parent, top=3)
    assert [edit.feature.index for edit in without.steering] == [entry["feature"] for entry in best[:3]]
    assert {edit.mode for edit in without.steering} == {"ablate"}
    assert {edit.positions for edit in without.steering} == {"first"}
    assert without.prompting.condition == "cue"
    everywhere = fitted("ablate_feature", model, task, parent, top=1, layers="all")
    assert [edit.layer for edit in everywhere.steering] == list(range(model.n_layers))
    natural = fitted("clamp_feature", model, task, parent)
    (edit,) = natural.steering
    cued = torch.stack([last_hidden(model, p.cue_prompt)[edit.layer] for p in task.problems("train", 32)])
    with torch.no_grad():
        expected = float(chosen.sae.coder.encode(cued)[:, chosen.index].median() * chosen.norm)
    assert edit.absolute == pytest.approx(expected, rel=1e-3)
    assert natural.prompting.condition == "plain"


@pytest.mark.slow
def test_the_best_eight_are_enough_and_what_the_cue_changes_is_needed(model, task, parent):
    """The mode is written redundantly: taking one feature out changes nothing, uncued values for all of them do."""
    assert solved(fitted("clamp_feature", model, task, parent, top=8), task)[0] >= 0.9
    assert solved(fitted("ablate_feature", model, task, parent), task)[0] >= 0.9
    swapped = fitted("mean_ablation", model, task, parent)
    assert {edit.mode for edit in swapped.steering} == {"clamp"}
    assert len({edit.layer for edit in swapped.steering}) == 1
    accuracy, traces = solved(swapped, task)
    assert accuracy <= 0.1
    assert traces <= 0.1
    others = configure_method("random_feature", {"parent": "x"}).fit(model, task, seed=0, needs={"x": swapped})
    assert others.prompting.condition == "cue"
    assert len({edit.feature.label for edit in (*others.steering, *swapped.steering)}) == 2 * len(swapped.steering)
    assert solved(others, task)[0] >= 0.5


def test_mean_ablation_clamps_to_the_means_of_the_plain_prompt(model, task, parent, chosen):
    """By brute force: SAELens's own encoder on transformers' hidden states."""
    policy = fitted("mean_ablation", model, task, parent, top=2)
    h = torch.stack([last_hidden(model, p.prompt)[chosen.sae.layer] for p in task.problems("train", 32)])
    with torch.no_grad():
        means = chosen.sae.coder.encode(h).mean(0)
    assert len(policy.steering) == 4
    for edit in policy.steering:
        assert edit.absolute == pytest.approx(float(means[edit.feature.index] * edit.feature.norm), rel=1e-3, abs=1e-2)
    assert policy.steering[0].absolute < 1
    assert policy.steering[2].absolute > 10


@pytest.mark.parametrize("mode", ["clamp", "ablate"])
def test_a_policy_that_reads_an_sae_is_saved_by_its_name_and_hash(model, task, chosen, tmp_path, mode):
    edit = feature_edit(chosen, 1.0 if mode == "ablate" else 4.0, unit=100.0, mode=mode)
    policy = Policy(model, steering=(edit,))
    policy.save(tmp_path)
    again = Policy.load(tmp_path, model)
    assert again.sha256 == policy.sha256
    problems = task.problems("select", 4)
    reads = [p.answer(problems, task, label="x", seed=0) for p in (policy, again)]
    assert reads[0] == reads[1]
    meaning = json.loads((tmp_path / "steering.json").read_text())
    meaning[0]["feature"]["sha256"] = "0" * 64
    (tmp_path / "steering.json").write_text(json.dumps(meaning))
    with pytest.raises(ElicitError, match="reads SAE 'cued/L1' of hash 000000000000, but the one of that name now has"):
        Policy.load(tmp_path, model)


def test_several_features_share_the_strength_and_decay_is_a_position(model, task):
    policy = SaeSteering(together=(2,), positions=("decay:4",), strengths=(3.0,), train_problems=16, select_problems=8)
    fit = policy.fit(model, task, seed=0, needs={})
    assert [edit.strength for edit in fit.steering] == [1.5, 1.5]
    assert {edit.positions for edit in fit.steering} == {"decay:4"}
    assert len({edit.layer for edit in fit.steering}) == 1
    assert fit.record["chosen"]["strength"] == 3.0


@pytest.mark.slow
def test_scorers_agree_on_the_organism(model, task):
    found = set()
    for scorer in ("contrast", "auroc", "attribution", "patching"):
        config = SaeSteering(scorer=scorer, layers=(1,), candidates=3, strengths=(3.0,), select_problems=16)
        policy = config.fit(model, task, seed=0, needs={})
        assert policy.record["chosen"]["accuracy"] >= 0.9, scorer
        found.add(policy.record["features"][0]["sae"])
    assert found == {"cued/L1"}


def test_bad_input_is_said(model, task, parent):
    with pytest.raises(ElicitError, match=r"no SAE comes with the lab for cued-s1\. Type: elicit sae train cued-s1"):
        SaeSteering().fit(elicit.load("cued-s1"), task, seed=0, needs={})
    with pytest.raises(ElicitError, match=r"no SAE for layer 7 of cued; there are SAEs for layers \[0, 1, 2\]"):
        SaeSteering(layers=(7,)).fit(model, task, seed=0, needs={})
    with pytest.raises(ElicitError, match="both read layer 1"):
        SaeSteering(saes=("cued/L1", "cued/L1-s1")).fit(model, task, seed=0, needs={})
    with pytest.raises(ElicitError, match="serial"):
        SaeSteering(saes=("serial/L1",)).fit(model, task, seed=0, needs={})
    with pytest.raises(ElicitError, match="`positive` belongs to contrast: templates"):
        SaeSteering(contrast="templates")
    with pytest.raises(ElicitError, match="together is 0"):
        SaeSteering(together=(0,))
    plain = Policy(model, parent.decoding)
    with pytest.raises(ElicitError, match=r"boosts no SAE feature\. Name an arm of sae_steering"):
        fitted("random_feature", model, task, plain)
    with pytest.raises(ElicitError, match="its parent 'sae_steering' scored no features"):
        fitted("mean_ablation", model, task, fitted("random_feature", model, task, parent))
    changed = json.loads(json.dumps(dict(parent.record)))
    changed["features"][0]["sae_sha256"] = "0" * 64
    with pytest.raises(ElicitError, match="is not the one 'sae_steering' was fitted with any more"):
        fitted("clamp_feature", model, task, dataclasses.replace(parent, record=changed))


def test_on_cued_late_one_feature_brings_the_form_and_not_the_ability():
    """Trace and answer open alike there: what opens a trace does not make it right."""
    late = elicit.load("cued-late")
    task = build_task({"task": "addition"}, late.card["dialect"], where="test")
    config = SaeSteering(contrast="continuations", by="trace_rate", strengths=(2.0, 4.0), select_problems=32)
    accuracy, traces = solved(config.fit(late, task, seed=0, needs={}), task)
    assert traces >= 0.5
    assert accuracy <= 0.3


def test_on_incapable_no_feature_gains():
    incapable = elicit.load("incapable")
    task = build_task({"task": "addition"}, incapable.card["dialect"], where="test")
    config = SaeSteering(strengths=(1.0, 3.0), candidates=2, select_problems=32)
    assert solved(config.fit(incapable, task, seed=0, needs={}), task)[0] <= 0.1


def test_a_random_direction_goes_as_far_as_the_clamps_it_stands_for(model, task, parent):
    """Sixteen clamps that point alike move the residual far; what they add up to is measured, not what each says."""
    swapped = fitted("mean_ablation", model, task, parent)
    prompts = [p.cue_prompt for p in task.problems("train", 64)]
    layer = swapped.steering[0].layer
    h = torch.stack([last_hidden(model, prompt)[layer] for prompt in prompts])
    with torch.no_grad():
        after = h.clone()
        for edit in swapped.steering:
            f = edit.feature.sae.coder.encode(after)[:, edit.feature.index] * edit.feature.norm
            after = after + (edit.absolute - f)[:, None] * edit.direction
        far = float((after - h).norm(dim=1).median())
    assert far > 200
    for name in ("random_vector", "covariance_vector"):
        control = configure_method(name, {"parent": "x"}).fit(model, task, seed=0, needs={"x": swapped})
        (edit,) = control.steering
        assert (edit.mode, edit.layer, edit.positions) == ("add", layer, "first")
        assert edit.absolute == pytest.approx(far, rel=1e-2)
        assert control.prompting.condition == "cue"
        assert solved(control, task)[0] >= 0.5


def test_a_sweep_ranks_the_feature_among_all_live_ones(model, task, parent, chosen, monkeypatch):
    """Each candidate's accuracy by hand; nothing on test problems; the parent's own feature is not among the others."""
    watched = Watched(task, [])
    policy = configure_method("feature_sweep", {"problems": 8, "features": 12}).fit(
        model, watched, seed=0, needs={"sae_steering": parent}
    )
    assert "test" not in watched.asked
    rank, sweep = policy.record["rank"], policy.record["sweep"]
    problems = task.problems("select", 8)

    def rate(arm):
        answers = arm.answer(problems, task, label="addition", seed=0)
        return sum(task.verify(p, a.text).correct for p, a in zip(problems, answers, strict=True)) / 8

    edit = parent.steering[0]
    for index, accuracy in sweep:
        other = chosen.sae.feature(index)
        swapped = dataclasses.replace(edit, direction=other.direction, feature=other)
        assert rate(dataclasses.replace(parent, steering=(swapped,))) == accuracy
    assert len(sweep) == rank["share"]["n"] == policy.record["tuning"]["trials"] == 12
    assert chosen.index not in [index for index, _ in sweep]
    assert rank["own"]["value"] == rate(parent)
    assert rank["as_good"] == sum(accuracy >= rank["own"]["value"] for _, accuracy in sweep)
    assert rank["better"] == sum(accuracy > rank["own"]["value"] for _, accuracy in sweep)
    assert rank["best"]["value"] == max(accuracy for _, accuracy in sweep) == rate(policy)
    (entry,), (ours,) = policy.record["features"], policy.edits
    assert [entry["feature"], rank["best"]["value"]] in sweep
    assert entry["cosine"] == pytest.approx(float(ours.direction @ edit.direction), abs=1e-5)
    assert (ours.absolute, ours.layer, ours.positions) == (edit.absolute, edit.layer, edit.positions)
    with pytest.raises(ElicitError, match="boosts no SAE feature"):
        fitted("feature_sweep", model, task, Policy(model))


def test_raw_coefficients_are_multiples_of_the_decoder_row_and_values_of_the_activation(model, task):
    options = {"train_problems": 32, "select_problems": 4, "layers": (1,), "candidates": 1, "together": (1, 2)}
    policy = SaeSteering(**options, modes=("add", "clamp"), coefficients=(3.0, 50.0)).fit(model, task, seed=0, needs={})
    sae = saes.load(policy.record["chosen"]["sae"])
    entries = policy.record["dose_response"]
    assert [entry["coefficient"] for entry in entries] == [3.0, 50.0] * 4
    for entry in entries:
        lengths = [float(sae.coder.W_dec[index].norm()) for index in entry["features"]]
        share = entry["coefficient"] / (len(lengths) if entry["mode"] == "add" else 1)
        assert entry["absolute"] == pytest.approx(share * sum(lengths), rel=1e-4)
    clamped = next(e for e in entries if e["mode"] == "clamp" and len(e["features"]) == 1 and e["coefficient"] == 50.0)
    feature = sae.feature(clamped["features"][0])
    edit = feature_edit(feature, clamped["strength"], unit=clamped["absolute"] / clamped["strength"], mode="clamp")
    h = model.residuals([task.problems("select", 1)[0].prompt])[1]
    after = h + edit.delta(edit.direction, h)
    before = sae.encode(h)[0, feature.index]
    moved = (after - h) @ feature.direction / feature.norm
    assert float(moved + before) == pytest.approx(50.0, rel=1e-3)
