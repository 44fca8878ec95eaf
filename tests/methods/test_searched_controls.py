"""Controls that are given their parent's search: same settings, same problems, same rule, other directions."""

from __future__ import annotations

import collections
import json

import pytest
import torch

import elicit
from elicit.comparison.planning.token_costs import price_cell
from elicit.comparison.spec import build_task, check_spec
from elicit.comparison.spec.cells import list_cells
from elicit.errors import ElicitError
from elicit.method import TokenLengths
from elicit.methods.catalog import configure_method
from elicit.policy import Policy
from elicit.steering import Steering
from elicit.tasks import Verdict
from tests.methods.test_steering_methods import Watched

GRID = {"strengths": (1.0, 2.0), "train_problems": 16, "select_problems": 8}


@pytest.fixture(scope="module")
def model():
    return elicit.load("cued")


@pytest.fixture(scope="module")
def task(model):
    return build_task({"task": "addition"}, model.card["dialect"], where="test")


@pytest.fixture(scope="module")
def parents(model, task, tmp_path_factory):
    """Fitted arms as a control finds them: read back from their folders."""
    wanted = {
        "mean": ("mean_steering", {**GRID, "positions": "first:2"}),
        "features": ("sae_steering", {**GRID, "candidates": 2, "together": (1, 2)}),
        "clamped": ("sae_steering", {**GRID, "candidates": 2, "modes": ("clamp",), "layers": (1,), "by": "trace_rate"}),
    }
    found = {}
    for name, (method, options) in wanted.items():
        folder = tmp_path_factory.mktemp(name)
        configure_method(method, options).fit(model, task, seed=0, needs={}).save(folder)
        found[name] = Policy.load(folder, model)
    return found


def search(method, model, task, parent, *, seed=0):
    options = {"parent": "p", **({"problems": 32} if method == "searched_random_feature" else {})}
    return configure_method(method, options).fit(model, task, seed=seed, needs={"p": parent})


def in_order(parent):
    """What a parent tried, in the order in which ties are decided: its choice first."""
    chosen = parent.record["chosen"]
    rest = [entry for entry in parent.record["dose_response"] if entry != chosen]
    return [chosen, *sorted(rest, key=lambda entry: (entry["strength"], entry["layer"]))]


def test_a_search_without_success_ends_at_the_parents_setting(model, task, parents, monkeypatch):
    """No answer is ever right, so all settings tie; the smallest dose would be no control of the parent's."""
    monkeypatch.setattr(type(task), "verify", lambda self, problem, completion: Verdict(None, False, False, None))
    policy = search("searched_random_vector", model, task, parents["mean"])
    assert {entry["accuracy"] for entry in policy.record["dose_response"]} == {0.0}
    (ours,), (theirs,) = policy.edits, parents["mean"].edits
    assert (ours.layer, ours.strength, ours.absolute) == (theirs.layer, theirs.strength, pytest.approx(theirs.absolute))
    assert theirs.strength == max(GRID["strengths"])


PAIRS = [
    ("searched_random_vector", "mean"),
    ("searched_random_vector", "features"),
    ("searched_random_vector", "clamped"),
    ("searched_random_feature", "features"),
    ("searched_random_feature", "clamped"),
]


@pytest.mark.parametrize(("method", "kind"), PAIRS)
def test_it_tries_what_its_parent_tried(method, kind, model, task, parents):
    parent, watched = parents[kind], Watched(task, [])
    policy = search(method, model, watched, parent)
    assert "test" not in watched.asked
    tried, others = in_order(parent), policy.record["dose_response"]
    keys = ("layer", "strength", "absolute", "mode", "positions")
    assert [[entry.get(key) for key in keys] for entry in others] == [
        [entry.get(key) for key in keys] for entry in tried
    ]
    assert policy.record["chosen_on"] == parent.record["chosen_on"]
    assert policy.record["tuning"]["trials"] == len(tried)
    assert policy.record["tuning"]["generated_tokens"] == sum(entry["generated_tokens"] for entry in others)
    by = parent.record["chosen_on"]["by"]
    assert policy.record["chosen"][by] == max(entry[by] for entry in others)
    json.dumps(policy.record, allow_nan=False)


@pytest.mark.parametrize("kind", ["mean", "features"])
def test_random_vectors_have_the_lengths_of_the_parents_and_one_direction_serves_all_strengths(
    kind, model, task, parents, monkeypatch
):
    edits = watch_candidates(monkeypatch)
    search("searched_random_vector", model, task, parents[kind])
    tried = in_order(parents[kind])
    assert len(edits) == len(tried)
    directions = collections.defaultdict(list)
    for entry, own in zip(tried, edits, strict=True):
        features = entry.get("features") or [0]
        assert sum(edit.absolute for edit in own) == pytest.approx(entry["absolute"])
        assert [(edit.layer, edit.positions) for edit in own] == [
            (entry["layer"], entry.get("positions", "first:2"))
        ] * len(features)
        for feature, edit in zip(features, own, strict=True):
            directions[entry["layer"], feature].append(edit.direction)
    rows = torch.stack([same[0] for same in directions.values()])
    assert all(torch.equal(same[0], row) for same in directions.values() for row in same)
    assert (rows @ rows.T).fill_diagonal_(0).abs().max() < 0.5


def test_a_clamp_becomes_a_vector_as_long_as_the_clamp_moves(model, task, parents, monkeypatch):
    edits = watch_candidates(monkeypatch)
    search("searched_random_vector", model, task, parents["clamped"])
    (ours,), (theirs,) = edits[0], parents["clamped"].edits
    prompts = [problem.prompt for problem in task.problems("train", 64)]
    before = model.residuals(prompts)[theirs.layer]
    moved = theirs.delta(theirs.direction, before).norm(dim=1).median()
    assert (ours.mode, ours.absolute) == ("add", pytest.approx(float(moved), rel=1e-4))


def watch_candidates(monkeypatch) -> list[tuple[Steering, ...]]:
    """The edits of every candidate that is evaluated from here on."""
    from elicit.fitting import selection

    seen, evaluate = [], selection.evaluate_candidates

    def watch(candidates, *rest):
        seen.extend(candidate.policy.edits for candidate in candidates)
        return evaluate(candidates, *rest)

    monkeypatch.setattr(selection, "evaluate_candidates", watch)
    return seen


@pytest.mark.parametrize("kind", ["features", "clamped"])
def test_each_feature_is_replaced_by_one_that_the_parent_did_not_try(kind, model, task, parents):
    parent = parents[kind]
    policy = search("searched_random_feature", model, task, parent)
    tried, others = (
        [(e["sae"], tuple(e["features"])) for e in entries]
        for entries in (in_order(parent), policy.record["dose_response"])
    )
    singles = {own: other for own, other in zip(tried, others, strict=True) if len(own[1]) == 1}
    assert not set(singles) & set(singles.values())
    assert len(set(singles.values())) == len(singles)
    for (sae, features), other in zip(tried, others, strict=True):
        assert other == (sae, tuple(singles[sae, (feature,)][1][0] for feature in features))
    assert [entry["feature"] for entry in policy.record["features"]] == policy.record["chosen"]["features"]
    assert policy.edits[0].mode == parent.edits[0].mode


def test_each_seed_searches_among_others(model, task, parents):
    for method, kind in (("searched_random_vector", "mean"), ("searched_random_feature", "features")):
        first, again, other = (search(method, model, task, parents[kind], seed=seed) for seed in (0, 0, 1))
        assert first.sha256 == again.sha256
        assert first.record["dose_response"] == again.record["dose_response"]
        assert first.sha256 != other.sha256


def test_an_arm_without_a_search_is_refused(model, task, parents):
    chosen = configure_method("random_vector", {"parent": "p"}).fit(model, task, seed=0, needs={"p": parents["mean"]})
    with pytest.raises(ElicitError, match=r"its parent 'p' has no search to repeat\. Name an arm that chooses"):
        search("searched_random_vector", model, task, chosen)
    with pytest.raises(ElicitError, match=r"boosts no SAE feature"):
        search("searched_random_feature", model, task, parents["mean"])


def test_a_plan_counts_the_parents_search_again():
    lengths = TokenLengths(prompt=10, thinking=12, plain=4, worked=20, thought=30, limit=64, layers=5)
    spec = check_spec(
        {
            "models": ["cued"],
            "task": "addition",
            "arms": {
                "base": {"method": "base"},
                "mean": {"method": "mean_steering", "strengths": [1.0, 2.0], "select_problems": 10},
                "mean/searched": {"method": "searched_random_vector", "parent": "mean"},
            },
        }
    )
    methods = spec.build_methods()
    cells = {cell.arm: cell for cell in list_cells(spec) if cell.seed == 0}
    (mean, searched) = (
        price_cell(methods, cells[arm], spec, 50, lengths, []).work[0].generated for arm in ("mean", "mean/searched")
    )
    assert searched == mean == 4 * 2 * 10 * 17
