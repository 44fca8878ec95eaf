"""How trainings end early: the message names the step, what was seen and what to try."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import trl

from elicit.errors import ElicitError
from elicit.steering import Edit, parse
from elicit.training import TrainingFailed
from tests.support.models import tiny_model
from tests.training.support import tiny_training


def test_samples_that_all_earn_the_same() -> None:
    said = (
        r"^step 4: in 4 steps all samples of each problem earned the same reward \(mean 0\), so there is nothing to "
        r"learn from\. Use more generations, easier problems or a lower learning_rate\.$"
    )
    with pytest.raises(TrainingFailed, match=said):
        tiny_training(tiny_model(), reward=lambda _: 0.0, steps=9, patience=4)


def test_a_signal_now_and_then_is_enough() -> None:
    done = tiny_training(
        tiny_model(), reward=lambda r: float(r.step % 3 == 2 and r.sample == 0), steps=7, patience=3, learning_rate=1e-4
    )
    assert [entry["zero_variance"] for entry in done.training.curve] == [1, 1, 0, 1, 1, 0, 1]


def test_completions_that_are_all_cut() -> None:
    said = (
        r"^step 3: in 3 steps every completion was cut at its limit of 1 tokens\. Raise max_completion_length, or give "
        r"the task a stop string\.$"
    )
    with pytest.raises(TrainingFailed, match=said):
        tiny_training(
            tiny_model(), reward=lambda r: float(r.sample == 0), steps=9, patience=3, max_new_tokens=1, seed=5
        )


@pytest.mark.parametrize("rate", [1e3, 1e30])
def test_a_learning_rate_that_breaks_the_weights(rate: float) -> None:
    said = r"^step 1: training diverged: the trained values have norm .*, the limit is .*\. Lower learning_rate"
    with pytest.raises(TrainingFailed, match=rf"{said} \(it is {re.escape(format(rate, 'g'))}\)\.$"):
        tiny_training(tiny_model(), learning_rate=rate)


def test_a_vector_beyond_its_limit() -> None:
    base = tiny_model()
    vector = torch.nn.Parameter(torch.zeros(base.d_model))
    options: dict[str, Any] = {
        "edits": [Edit(1, parse("first"), lambda h: vector, "vector")],
        "extra": {"steer": vector},
    }
    # The first step of Adam moves each of the 32 entries by the rate: 0.1 * sqrt(32) = 0.566.
    said = r"^step 1: training diverged: the trained values have norm 0\.566, the limit is 0\.5\. Lower learning_rate"
    with pytest.raises(TrainingFailed, match=said):
        tiny_training(base, **options, learning_rate=0.1, norm_limit=0.5)


def test_a_loss_that_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    compute = trl.GRPOTrainer._compute_loss

    def broken(self: Any, model: Any, inputs: Any) -> torch.Tensor:
        loss = compute(self, model, inputs)
        return loss * float("nan") if self.state.global_step == 1 else loss

    monkeypatch.setattr(trl.GRPOTrainer, "_compute_loss", broken)
    with pytest.raises(
        TrainingFailed, match=r"^step 2: the gradient of the loss is nan\. Lower learning_rate \(it is 0\.001\)\.$"
    ):
        tiny_training(tiny_model())


def test_weights_that_are_no_numbers_to_begin_with() -> None:
    base = tiny_model()
    with torch.no_grad():
        next(base.hf.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingFailed, match=r"^step 1: the model's activations are not finite numbers any more\."):
        tiny_training(base)


def test_nothing_left_to_learn_is_no_fault(tmp_path: Path) -> None:
    done = tiny_training(tiny_model(), reward=lambda _: 1.0, steps=9, patience=4)
    assert done.training.stopped == "every rollout of 4 steps earned the full reward"
    assert len(done.training.curve) == 4
    # Where it stopped is found again, whatever the checkpoints.
    for _ in range(2):
        again = tiny_training(
            tiny_model(), reward=lambda _: 1.0, steps=9, patience=4, scratch=tmp_path, checkpoint_every=2
        )
        assert again.training == done.training
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-2"]


def test_failures_are_messages_for_people() -> None:
    assert issubclass(TrainingFailed, ElicitError)
    assert not re.search(r"\n", str(TrainingFailed("two\nlines")))
