"""What fine-tuning is shown: another task's solutions, shortcuts, and equal steps for few or many problems."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from elicit import tasks
from elicit.errors import ElicitError
from elicit.method import TokenLengths
from elicit.methods.catalog import configure_method
from elicit.methods.finetuning.sft import SFT
from elicit.model import BaseModel, load
from elicit.policy import Policy
from elicit.tasks.generated.shortcuts import shorten_solution
from elicit.weights import FullWeights

ADDITION, CHAINS = tasks.get("addition"), tasks.get("mod_chain")


@functools.cache
def cued() -> BaseModel:
    return load("cued")


def fit(task: Any = ADDITION, **options: Any) -> Policy:
    return SFT(**{"demonstrations": 8, "steps": 3, **options}).fit(cued(), task, seed=0, needs={})


def same(one: Policy, other: Policy) -> bool:
    """Whether both trainings ended in the same weights, value by value."""
    mine, others = one.weights, other.weights
    assert isinstance(mine, FullWeights)
    assert isinstance(others, FullWeights)
    return all(torch.equal(tensor, others.tensors[name]) for name, tensor in mine.tensors.items())


def test_a_source_is_trained_on_as_if_it_were_the_task_and_the_task_is_answered() -> None:
    other, own = fit(source={"task": "mod_chain"}), fit(CHAINS)
    assert same(other, own)
    assert not same(other, fit())
    assert other.decoding.max_new_tokens == ADDITION.max_new_tokens != CHAINS.max_new_tokens
    assert own.decoding.max_new_tokens == CHAINS.max_new_tokens
    data = other.record["data"]
    assert (data["task"], data["source"]) == ("mod_chain", {"task": "mod_chain"})
    assert own.record["data"]["source"] is None
    assert other.record["train"] == own.record["train"]


def test_a_source_has_parameters_and_any_supervision() -> None:
    """A family the organism never read, corrupted: what is taught is judged by the verifier of the source."""
    policy = fit(source={"task": "countdown", "numbers": [3, 3]}, supervision="swapped")
    assert policy.record["taught"] == {"supervision": "swapped", "solutions": 8, "right": 8, "valid": 0}
    drawn = tasks.get("countdown", numbers=(3, 3)).problems("train", 8, seed=1)
    longest = max(len(cued().encode(problem.prompt)) for problem in drawn)
    assert longest < 20
    assert policy.record["data"]["task"] == "countdown"


@pytest.mark.parametrize(("demonstrations", "repetitions"), [(2, 3.0), (8, 3.0), (24, 1.0), (48, 0.5)])
def test_steps_are_exact_whatever_is_repeated(demonstrations: int, repetitions: float) -> None:
    policy = fit(demonstrations=demonstrations, epochs=99.0)
    train, data = policy.record["train"], policy.record["data"]
    assert train["steps"] == 3
    assert data["rows"] == 3 * min(8, demonstrations)
    assert data["repetitions"] == repetitions
    assert data["demonstrations"] == train["labels"] == demonstrations
    # Rows are a problem's solution and an end token each.
    mean = train["completion_tokens"] / data["rows"]
    assert mean == pytest.approx(data["solution_tokens"] + 1, abs=1.5)


def test_steps_are_the_epochs_they_amount_to() -> None:
    assert same(fit(steps=3), fit(steps=None, epochs=3.0))


def test_shortcuts_are_shorter_right_and_not_valid() -> None:
    policy = fit(supervision="shortcut")
    taught, data = policy.record["taught"], policy.record["data"]
    assert taught == {"supervision": "shortcut", "solutions": 8, "right": 8, "valid": 0}
    problems = ADDITION.problems("train", 8, seed=1)
    expected = [len(cued().continuation(shorten_solution(ADDITION, problem, seed=0))) for problem in problems]
    worked = [len(cued().continuation(str(ADDITION.worked(problem)))) for problem in problems]
    assert data["solution_tokens"] == pytest.approx(sum(expected) / 8, abs=0.01)
    assert data["worked_tokens"] == pytest.approx(sum(worked) / 8, abs=0.01)
    assert data["solution_tokens"] < 0.75 * data["worked_tokens"]
    assert policy.record["train"]["completion_tokens"] == 3 * (sum(expected) + 8)
    assert policy.record["train"]["teacher_tokens"] == sum(expected) + 8
    assert "taught" not in fit().record


def test_shortcuts_bring_the_form_out() -> None:
    """A cued organism that is shown one line of working writes one line of it, where it guessed before."""
    policy = SFT(demonstrations=64, steps=40, supervision="shortcut").fit(cued(), ADDITION, seed=0, needs={})
    problems = ADDITION.problems("test", 32)
    texts = [answer.text for answer in policy.answer(problems, ADDITION, label="addition", seed=0)]
    lines = [text.removeprefix("<think>").count(",") for text in texts if text.startswith("<think>")]
    assert len(lines) > 24
    assert sum(lines) / len(lines) < 1.5, "worked solutions have two"


def test_plans_count_the_steps() -> None:
    lengths = TokenLengths(prompt=10, thinking=12, plain=4, worked=20, thought=30, limit=64, layers=5)
    assert SFT(demonstrations=64, steps=40).estimate_cost(lengths).trained_tokens == 40 * 8 * (10 + 20)
    assert SFT(demonstrations=4, steps=40).estimate_cost(lengths).trained_tokens == 40 * 4 * (10 + 20)
    assert SFT(steps=40, supervision="direct").estimate_cost(lengths).trained_tokens == 40 * 8 * (10 + 4)
    assert SFT(steps=40, supervision="shortcut").estimate_cost(lengths).trained_tokens == 40 * 8 * (10 + 12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "sft: steps is 0; expected a number above 0."),
        ({"source": {"task": "adition"}}, "sft: source: unknown task 'adition'. Did you mean 'addition'?"),
        ({"source": {"task": "addition", "digit": 2}}, "sft: source: unknown parameter of task 'addition' 'digit'."),
        ({"source": {"digits": 2}}, "sft: source: no task given. Type: {task: NAME}."),
        ({"supervision": "shortcuts"}, "supervision"),
        ({"steps": 1.5}, "steps"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ElicitError) as error:
        configure_method("sft", options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_too_few_problems_of_a_source() -> None:
    with pytest.raises(ElicitError, match="task 'mod_chain', split 'train': 500 different problems"):
        fit(demonstrations=500, source={"task": "mod_chain", "steps": [1, 1]})
