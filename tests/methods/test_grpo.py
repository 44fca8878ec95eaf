"""`grpo` and its controls: the same problems, the same random numbers, another reward; and what their records say."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from elicit import load
from elicit.comparison.spec import build_task
from elicit.errors import ElicitError
from elicit.method import Method, task_decoding
from elicit.methods.catalog import configure_method
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.tasks import Task, get
from elicit.training import TrainingFailed, rollouts
from elicit.training.rewards import Rollout
from elicit.weights import Adapter, FullWeights
from tests.support.models import tiny_model
from tests.training.support import untouched

NAMES = ("grpo", "grpo_random_reward", "grpo_format_only", "grpo_wrong_label")
#: Seconds, on the organism.
SMALL: dict[str, Any] = {"steps": 2, "problems": 3, "generations": 8, "pilot_problems": 24}


def _organism(name: str = "cued", task: str = "addition") -> tuple[BaseModel, Task]:
    base = load(name)
    return base, build_task({"task": task}, base.card.get("dialect"), where="test")


def _fit(name: str, base: BaseModel, task: Task, *, seed: int = 0, **options: Any) -> Policy:
    method: Method = configure_method(name, {**SMALL, **options})
    return method.fit(base, task, seed=seed, needs={})


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, str]]]:
    """(problem, text) of every rollout, step by step."""
    steps: list[list[tuple[str, str]]] = []
    sample = rollouts.sample_rollouts

    def recorded(engine: Any, problems: Any, *args: Any, **options: Any) -> Any:
        drawn = sample(engine, problems, *args, **options)
        steps.append([(p.id, one.text) for p, group in zip(problems, drawn, strict=True) for one in group])
        return drawn

    monkeypatch.setattr(rollouts, "sample_rollouts", recorded)
    return steps


def test_controls_differ_in_the_reward_alone(sampled: list[list[tuple[str, str]]]) -> None:
    base, task = _organism()
    first, rewards, policies = [], {}, {}
    for name in NAMES:
        sampled.clear()
        policies[name] = _fit(name, base, task, steps=3)
        first.append(sampled[0])
        rewards[name] = policies[name].record["curve"][0]["reward"]
    assert all(one == first[0] for one in first), "an arm and its controls start from the same rollouts"
    assert len({str(policy.record["pilot"]) for policy in policies.values()}) == 1
    # (Nearly every trace of this organism is right: form and right answers may be the same rollouts for a few steps.)
    assert len({policies[name].sha256 for name in NAMES if name != "grpo_format_only"}) == 3

    # The rewards of the first step, from the texts alone.
    problems = {problem.id: problem for problem in task.problems("train", 24, seed=1)}
    verdicts = [task.verify(problems[name], text) for name, text in first[0]]
    assert rewards["grpo"] == pytest.approx(sum(v.correct for v in verdicts) / len(verdicts))
    assert rewards["grpo_format_only"] == pytest.approx(sum(v.has_trace for v in verdicts) / len(verdicts))
    assert all(policy.record["curve"][0]["correct"] == pytest.approx(rewards["grpo"]) for policy in policies.values())
    pilot = policies["grpo"].record["pilot"]
    trained_on = {name for step in sampled for name, _ in step}
    assert not trained_on & {*pilot["unsolved"], *pilot["always"]}
    assert trained_on <= problems.keys()


def test_a_wrong_label_is_the_models_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reward 1 belongs to one answer per problem, which is wrong and which the pilot saw most often."""
    from elicit.fitting import rlvr

    base, task = _organism()
    seen: list[tuple[Any, Any]] = []
    build_reward = rlvr.build_reward

    def watched(name: str, task: Any, seed: int, pilot: Any) -> Any:
        seen.append((pilot, build_reward(name, task, seed, pilot)))
        return seen[-1][1]

    monkeypatch.setattr(rlvr, "build_reward", watched)
    _fit("grpo_wrong_label", base, task)
    found, reward = seen[0]
    assert found.learnable
    for problem in found.learnable:
        paid = [a for a in map(str, range(400)) if reward(Rollout(problem, 0, 0, f"#{a}", True)) == 1.0]
        assert len({task.verify(problem, f"#{a}").answer for a in paid}) <= 1
        assert not any(task.verify(problem, f"#{a}").correct for a in paid)


@pytest.mark.parametrize("options", [{}, {"lora_rank": 2}, {"parameters": "attn"}], ids=str)
def test_the_base_is_left_alone_and_nothing_is_printed(
    options: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    base, task = _organism()
    before = untouched(base)
    policy = _fit("grpo", base, task, **options)
    assert untouched(base) == before
    assert capfd.readouterr() == ("", "")
    assert isinstance(policy.weights, Adapter if "lora_rank" in options else FullWeights)
    if options.get("parameters") == "attn":
        assert all(".self_attn." in name for name in policy.weights.tensors)
    assert policy.decoding == task_decoding(task)


def test_seeds_decide_and_policies_come_back(tmp_path: Path) -> None:
    base, task = _organism()
    first, again, other = (_fit("grpo", base, task, seed=seed) for seed in (0, 0, 1))
    assert first.sha256 == again.sha256 != other.sha256
    assert first.record["curve"] == again.record["curve"]
    first.save(tmp_path)
    loaded = Policy.load(tmp_path, base)
    assert loaded.sha256 == first.sha256
    problems = task.problems("test", 5)
    assert loaded.answer(problems, task, label="t", seed=0) == first.answer(problems, task, label="t", seed=0)


def test_what_the_record_says(sampled: list[list[tuple[str, str]]]) -> None:
    base, task = _organism()
    lengths: list[int] = []
    policy = _fit("grpo", base, task, steps=4)
    record = policy.record
    assert [entry["step"] for entry in record["curve"]] == [1, 2, 3, 4]
    rates = [entry["learning_rate"] for entry in record["curve"]]
    assert rates == pytest.approx([5e-4, 3.75e-4, 2.5e-4, 1.25e-4])
    for entry, step in zip(record["curve"], sampled, strict=True):
        lengths += [len(base.continuation(text)) + 1 for _, text in step]  # and the end token
        mean = sum(lengths[-24:]) / 24
        assert entry["length"] == pytest.approx(mean)
        assert entry["clipped"] == 0
        assert entry["entropy"] > 0
        assert entry["grad_norm"] >= 0
        groups = [
            {task.verify(_problem(task, name), text).correct for name, text in step[i : i + 8]} for i in (0, 8, 16)
        ]
        assert entry["zero_variance"] == pytest.approx(sum(len(group) == 1 for group in groups) / 3)
    total = sum(p.numel() for p in copy.deepcopy(base.hf).parameters())
    prompts = sum(len(base.encode(_problem(task, name).prompt)) for step in sampled for name, _ in step)
    pilot_prompts = sum(len(base.encode(problem.prompt)) for problem in task.problems("train", 24, seed=1))
    train = record["train"]
    pilot_tokens = train["generated_tokens"] - sum(lengths)
    assert 24 * 16 <= pilot_tokens <= 24 * 16 * task.max_new_tokens
    assert train["tokens"] == sum(lengths) + prompts
    # A prompt is prefilled once for its eight samples, but trained on with each of them.
    sampling = 2 * total * (train["generated_tokens"] + pilot_prompts + prompts // 8)
    assert train["flops"] == sampling + 6 * total * train["tokens"]
    assert (train["labels"], train["teacher_tokens"], train["steps"]) == (24, 0, 4)
    assert (record["pilot"]["problems"], record["pilot"]["samples"]) == (24, 16)


def _problem(task: Task, name: str) -> Any:
    return next(problem for problem in task.problems("train", 24, seed=1) if problem.id == name)


def test_a_pilot_that_finds_nothing_leaves_the_base() -> None:
    base, task = tiny_model(), get("addition")
    policy = _fit("grpo", base, task, pilot_problems=6, pilot_samples=2)
    assert policy.sha256 == Policy(base, task_decoding(task)).sha256
    assert policy.record["note"] == (
        "grpo: nothing was trained. Of 6 problems the untrained model always solved 0 and never solved 6 in 2 samples "
        "each, so no group of answers would differ in reward."
    )
    assert policy.record["pilot"]["kept"] == 0
    assert len(policy.record["pilot"]["unsolved"]) == 6
    assert policy.record["train"]["tokens"] == 0
    assert policy.record["train"]["generated_tokens"] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, r"grpo: steps is 0; expected a number above 0\."),
        ({"generations": 1}, r"grpo: generations is 1; an answer is judged against the others of its group"),
        ({"learning_rate": -1.0}, r"grpo: learning_rate is -1\.0; expected a number above 0\."),
        ({"learning_rat": 1.0}, r"unknown field of method 'grpo' 'learning_rat'\. Did you mean 'learning_rate'\?"),
    ],
    ids=str,
)
def test_numbers_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ElicitError, match=said):
        configure_method("grpo", options)


def test_divergence_is_a_clear_failure() -> None:
    base, task = _organism()
    with pytest.raises(TrainingFailed, match=r"^step \d: training diverged: .* Lower learning_rate \(it is 1000\)\.$"):
        _fit("grpo", base, task, learning_rate=1000.0)


def _accuracy(policy: Policy, task: Task, n: int = 100) -> float:
    problems = task.problems("test", n)
    answers = policy.answer(problems, task, label=task.name, seed=0)
    return sum(task.verify(p, a.text).correct for p, a in zip(problems, answers, strict=True)) / n


@pytest.mark.slow
def test_it_unlocks_what_a_random_reward_does_not() -> None:
    base, task = _organism()
    for seed in range(3):
        assert _accuracy(configure_method("grpo", {}).fit(base, task, seed=seed, needs={}), task) >= 0.8
        control = configure_method("grpo_random_reward", {}).fit(base, task, seed=seed, needs={})
        assert _accuracy(control, task) <= 0.1
    assert torch.get_num_threads() == 1
