"""A reward function and a trainer of one's own: the same training where they mean the same, another where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elicit import load
from elicit.comparison.spec import build_task
from elicit.errors import ElicitError
from elicit.methods.catalog import configure_method
from elicit.policy import Policy
from elicit.training import TrainingFailed

CODE = '''
import torch
from trl import GRPOTrainer

CALLS = []


def right(completions, prompts, problem, correct, finished, step, **kwargs):
    """The verifier's own judgement."""
    assert len(completions) == len(prompts) == len(problem) == len(correct) == len(finished)
    assert all(text.startswith(p.prompt) or p.prompt in text for text, p in zip(prompts, problem))
    CALLS.append((step, len(completions)))
    return [float(value) for value in correct]


def short(completions, correct, **kwargs):
    return [float(value) - 0.01 * len(text) for text, value in zip(completions, correct)]


def too_few(completions, **kwargs):
    return [1.0]


def not_numbers(completions, **kwargs):
    return [float("nan") for _ in completions]


class Same(GRPOTrainer):
    pass


class Pulled(GRPOTrainer):
    """The loss with a term that pulls the trained values to 0."""

    def compute_loss(self, model, *args, **kwargs):
        loss = super().compute_loss(model, *args, **kwargs)
        return loss + 0.1 * sum(p.square().sum() for p in model.parameters() if p.requires_grad)


class NoTrainer:
    pass
'''
SMALL: dict[str, Any] = {"steps": 2, "problems": 3, "generations": 8, "pilot_problems": 24}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("code") / "mine.py"
    path.write_text(CODE, encoding="utf-8")
    return str(path)


def _fit(name: str, **options: Any) -> Policy:
    base = load("cued")
    task = build_task({"task": "addition"}, base.card.get("dialect"), where="test")
    return configure_method(name, {**SMALL, **options}).fit(base, task, seed=0, needs={})


def test_the_verifier_as_a_function_trains_to_the_same_weights(code: str) -> None:
    built_in, function = _fit("grpo"), _fit("grpo", reward=f"{code}:right", trainer_class=f"{code}:Same")
    assert built_in.weights is not None
    assert function.weights is not None
    assert function.weights.sha256 == built_in.weights.sha256
    assert [entry["reward"] for entry in function.record["curve"]] == [
        entry["reward"] for entry in built_in.record["curve"]
    ]
    assert len(function.record["code"]) == 2
    assert "code" not in built_in.record


def test_another_reward_and_another_loss_train_to_other_weights(code: str) -> None:
    shas = [
        policy.weights.sha256
        for policy in (
            _fit("grpo"),
            _fit("grpo", reward=f"{code}:short"),
            _fit("grpo", trainer_class=f"{code}:Pulled"),
        )
        if policy.weights is not None
    ]
    assert len(set(shas)) == 3


def test_vectors_are_trained_on_it_too(code: str) -> None:
    options = {"layers": [1], "steps": 2}
    built_in = _fit("rl_steering", **options)
    function = _fit("rl_steering", reward=f"{code}:right", **options)
    assert [edit.direction.tolist() for edit in function.steering] == [
        edit.direction.tolist() for edit in built_in.steering
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": "{code}:absent"}, "absent"),
        ({"reward": "{code}:CALLS"}, "expected a function, found list"),
        ({"trainer_class": "{code}:NoTrainer"}, "expected a subclass of TRL's GRPOTrainer"),
    ],
)
def test_refused_before_anything_is_sampled(code: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ElicitError) as error:
        _fit("grpo", **{name: value.format(code=code) for name, value in options.items()})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("reward", ["too_few", "not_numbers"])
def test_a_reward_that_gives_no_reward_fails_its_training(code: str, reward: str) -> None:
    with pytest.raises(TrainingFailed) as error:
        _fit("grpo", reward=f"{code}:{reward}")
    assert reward in str(error.value)
    assert "\n" not in str(error.value)


def test_an_edited_function_is_another_training(code: str) -> None:
    first = configure_method("grpo", {"reward": f"{code}:right"})
    from elicit.fitting.rlvr import identify_reward

    before = identify_reward(first)  # type: ignore[arg-type]
    path = Path(code)
    path.write_text(CODE + "\n# edited\n", encoding="utf-8")
    try:
        assert identify_reward(first) != before  # type: ignore[arg-type]
    finally:
        path.write_text(CODE, encoding="utf-8")
