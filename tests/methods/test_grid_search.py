"""A search over a method's options: the same fits as one by one, chosen on select, all of them paid for."""

from __future__ import annotations

from pathlib import Path

import pytest

import elicit
from elicit.comparison.run import open_run
from elicit.comparison.spec.dependencies import check_controls
from elicit.errors import ElicitError
from elicit.fitting.selection import Candidate, evaluate_candidate
from elicit.method import TokenLengths
from elicit.methods.catalog import configure_method, describe_config
from elicit.methods.finetuning.sft import SFT
from elicit.methods.grid_search import SELECT_PROBLEMS, GridSearch
from elicit.model import load
from elicit.tasks import get

TASK = get("addition")
LENGTHS = TokenLengths(12, 13, 5, 21, 21, 40, 3)


def test_the_best_of_its_fits_is_the_fit_alone() -> None:
    """Against each combination fitted and judged by itself."""
    base = load("cued")
    options = {"demonstrations": 16, "search": {"learning_rate": [1e-7, 1e-3], "epochs": [1, 10]}}
    search = configure_method("sft", options)
    policy = search.fit(base, TASK, seed=3, needs={})
    alone, entries = {}, {}
    for rate in (1e-7, 1e-3):
        for epochs in (1, 10):
            fitted = SFT(demonstrations=16, learning_rate=rate, epochs=epochs).fit(base, TASK, seed=3, needs={})
            values = {"learning_rate": rate, "epochs": epochs}
            alone[rate, epochs] = fitted
            entries[rate, epochs] = evaluate_candidate(
                Candidate(fitted, values), TASK, TASK.problems("select", SELECT_PROBLEMS)
            ).entry
    assert policy.record["search"]["tried"] == list(entries.values())
    best = max(entries, key=lambda key: entries[key]["accuracy"])
    assert best == (1e-3, 10)
    assert policy.record["search"]["chosen"] == {"learning_rate": 1e-3, "epochs": 10}
    problems = TASK.problems("test", 40)
    texts = [
        [answer.text for answer in one.answer(problems, TASK, label="addition", seed=0)]
        for one in (policy, alone[best], alone[1e-7, 1])
    ]
    assert texts[0] == texts[1] != texts[2]
    assert policy.record["train"] == alone[best].record["train"]
    tuning = policy.record["tuning"]
    others = [one.record["train"] for key, one in alone.items() if key != best]
    assert tuning["flops"] == sum(one["flops"] for one in others) > 0
    assert tuning["generated_tokens"] == sum(entry["generated_tokens"] for entry in entries.values())
    assert (tuning["labels"], tuning["n"], tuning["trials"]) == (SELECT_PROBLEMS, SELECT_PROBLEMS, 4)
    assert policy.record["edges"] == [
        "learning_rate 0.001 is the largest of those tried (1e-07 to 0.001)",
        "epochs 10 is the largest of those tried (1 to 10)",
    ]


def test_ties_go_to_the_first() -> None:
    policy = configure_method("min_p", {"search": {"min_p": [0.9, 0.8, 1.0]}}).fit(
        load("incapable"), TASK, seed=0, needs={}
    )
    accuracies = [entry["accuracy"] for entry in policy.record["search"]["tried"]]
    assert policy.record["search"]["chosen"]["min_p"] == (0.9, 0.8, 1.0)[accuracies.index(max(accuracies))]


def test_it_is_written_as_it_is_read_and_costs_what_its_fits_cost() -> None:
    options = {"demonstrations": 8, "search": {"learning_rate": [1e-4, 1e-3], "epochs": [2.0, 4.0, 6.0]}}
    search = configure_method("sft", options)
    assert isinstance(search, GridSearch)
    described = describe_config(search)
    assert described.pop("method") == "sft"
    assert configure_method("sft", described) == search
    one = configure_method("sft", {"demonstrations": 8, "epochs": 4.0}).estimate_cost(LENGTHS)
    cost = search.estimate_cost(LENGTHS)
    assert cost.trained_tokens == 6 * one.trained_tokens
    assert sum(generation.completions for generation in cost.fitting) == 6 * SELECT_PROBLEMS


def test_values_may_be_lists() -> None:
    """As the strengths of a steering arm are."""
    options = {"search": {"strengths": [[0.5, 1.0], [1.5]], "layers": [[0], [1]]}}
    search = configure_method("mean_steering", options)
    assert isinstance(search, GridSearch)
    assert search.searched == {"strengths": ((0.5, 1.0), (1.5,)), "layers": ((0,), (1,))}
    described = describe_config(search)
    assert configure_method(described.pop("method"), described) == search


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": 3}, r"arm 'x': search is 3; expected options with the values to try"),
        ({"search": {"epochs": 3}}, "expected options with the values to try"),
        ({"search": {"epochs": []}}, "expected options with the values to try"),
        ({"search": {"epoch": [3]}}, "unknown field of method 'sft' 'epoch'"),
        ({"epochs": 3, "search": {"epochs": [3]}}, "epochs is given and searched too"),
        ({"search": {"epochs": list(range(1, 100))}}, "99 combinations; name at most 64"),
        ({"search": {"epochs": [1, -1]}}, "epochs"),
    ],
)
def test_what_cannot_be_searched_is_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ElicitError, match=message):
        configure_method("sft", options, where="arm 'x'")


def test_another_kind_of_arm_is_no_setting() -> None:
    with pytest.raises(ElicitError, match="with reward random this would be another kind of arm than with reward veri"):
        configure_method("grpo", {"search": {"reward": ["verifier", "random"]}})


def test_a_control_is_given_its_parent_s_search() -> None:
    searched = {"search": {"learning_rate": [1e-4, 1e-3]}}
    methods = {"grpo": configure_method("grpo", searched), "grpo/random": configure_method("grpo_random_reward", {})}
    with pytest.raises(ElicitError, match=r"Type: search: \{learning_rate: \[0.0001, 0.001\]\}"):
        check_controls(methods)
    check_controls({**methods, "grpo/random": configure_method("grpo_random_reward", searched)})


def test_a_run_pays_for_what_was_thrown_away(tmp_path: Path) -> None:
    """Against the fits' own records, in the summary that every report and comparison reads."""
    arms = {
        "base": {"method": "base"},
        "sft": {"method": "sft", "demonstrations": 4, "search": {"epochs": [1, 2, 3]}},
        **{f"sft_{n}": {"method": "sft", "demonstrations": 4, "epochs": n} for n in (1, 2, 3)},
    }
    elicit.compare("cued", "addition", arms=arms, test=8, workers=1, out=tmp_path / "run")
    with open_run(tmp_path / "run") as run:
        arms = run.summary["models"]["cued"]["tasks"]["addition"]["arms"]
    for cost in ("train_tokens", "train_flops"):
        assert arms["sft"]["budget"][cost] == sum(arms[f"sft_{n}"]["budget"][cost] for n in (1, 2, 3))
    assert arms["sft"]["budget"]["labels"] == 4 + SELECT_PROBLEMS
