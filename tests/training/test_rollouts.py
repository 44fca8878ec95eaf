"""Rollouts come from exactly the distribution that is trained, and belong to identities."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import trl

from elicit.sampling import Completion, Decoding
from elicit.steering import Edit, Steering, parse, to_hook_edit
from elicit.training import rollouts
from elicit.training.rollouts import sample_rollouts, schedule_problems, training_engine
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES
from tests.training.support import POOL, tiny_training

ROTARY = [arch for arch in ARCHITECTURES if arch != "gpt2"]


class Seen:
    """What the sampler said of every rollout, and what the trainer computed for every row it trained on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sampled: dict[tuple[int, ...], tuple[float, ...]] = {}
        self.trained: dict[tuple[int, ...], tuple[float, ...]] = {}
        self.rows: list[int] = []
        sample, compute = rollouts.sample_rollouts, trl.GRPOTrainer._get_per_token_logps_and_entropies

        def sampling(engine: Any, problems: Any, encode: Any, **options: Any) -> list[list[Completion]]:
            drawn = sample(engine, problems, encode, **options)
            for problem, group in zip(problems, drawn, strict=True):
                for one in group:
                    self.sampled[(options["step"], *encode(problem), *one.tokens)] = one.logprobs
            return drawn

        def computing(this: Any, model: Any, ids: Any, mask: Any, keep: int, *args: Any, **options: Any) -> Any:
            found = compute(this, model, ids, mask, keep, *args, **options)
            self.rows.append(len(ids))
            for row, real, logps in zip(ids, mask.bool(), found[0], strict=True):
                key = (this.state.global_step, *row[real].tolist())
                self.trained[key] = tuple(logps[real[-keep:]].tolist())
            return found

        monkeypatch.setattr(rollouts, "sample_rollouts", sampling)
        monkeypatch.setattr(trl.GRPOTrainer, "_get_per_token_logps_and_entropies", computing)

    def check(self, at_least: int, *, passes: bool = False) -> None:
        """In several passes, rollouts without an advantage are left out."""
        if passes:
            assert self.trained.keys() < self.sampled.keys()
        else:
            assert self.trained.keys() == self.sampled.keys()
        assert len(self.trained) >= at_least
        for key, logps in self.trained.items():
            assert logps == pytest.approx(self.sampled[key], abs=2e-4), key
            assert len(logps) > 0


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(monkeypatch)


@pytest.mark.parametrize("arch", ROTARY)
def test_log_probabilities_are_those_the_trainer_recomputes(arch: str, seen: Seen) -> None:
    """Also after the first step, when the weights have moved."""
    assert len({len(problem.prompt) for problem in POOL}) > 1
    tiny_training(tiny_model(arch), learning_rate=3e-3)
    seen.check(at_least=30)


def test_with_lora(seen: Seen) -> None:
    done = tiny_training(tiny_model("qwen2"), lora_rank=4, learning_rate=0.05)
    seen.check(at_least=30)
    assert any(bool(value.any()) for name, value in done.values.items() if "lora_B" in name)


@pytest.mark.parametrize("positions", ["first", "generated", "prompt", "decay:3", "all"])
def test_under_steering(positions: str, seen: Seen) -> None:
    base = tiny_model("llama")
    direction = torch.linspace(-1, 1, base.d_model)
    edit = to_hook_edit(Steering(direction, 1, 1.0, "add", positions, unit=3.0))
    tiny_training(base, edits=[edit], rows=4)  # rows are shuffled and sorted before they are cut
    seen.check(at_least=12, passes=True)
    assert max(seen.rows) == 4
    steered = dict(seen.sampled)
    seen.sampled.clear()
    seen.trained.clear()
    tiny_training(base)
    assert steered != seen.sampled, "the edit changed nothing, so the test cannot tell"


def test_a_vector_that_is_trained(seen: Seen) -> None:
    """The vector lives on the copy, moves, and nothing else does."""
    base = tiny_model("llama")
    vector = torch.nn.Parameter(torch.full((base.d_model,), 0.1))
    edit = Edit(1, parse("generated"), lambda h: vector.to(h.dtype), "vector")
    done = tiny_training(base, edits=[edit], extra={"steer": vector}, learning_rate=0.1)
    seen.check(at_least=30)
    assert list(done.values) == ["steer"]
    assert float((vector - 0.1).detach().abs().min()) > 0.01
    own = dict(base.hf.named_parameters())
    assert all(torch.equal(own[name], p) for name, p in done.copied.hf.named_parameters() if name != "steer")


def test_absolute_positions_and_the_trainers_padding(seen: Seen) -> None:
    """Prompts of different lengths never share a pass, so none is padded on the left and none is shifted."""
    base = tiny_model("gpt2")
    assert len({len(problem.prompt) for problem in POOL}) > 2
    tiny_training(base)
    seen.check(at_least=12, passes=True)
    assert len(seen.rows) > 3
    seen.sampled.clear()
    seen.trained.clear()
    equal = [problem for problem in POOL if len(problem.prompt) == len(POOL[0].prompt)]
    assert len(equal) >= 3
    tiny_training(base, problems=equal)
    seen.check(at_least=30)


def test_against_a_plain_forward_pass(seen: Seen) -> None:
    """Row by row, without padding, on the base's own weights: the first step's."""
    base = tiny_model("qwen3")
    tiny_training(base, steps=1)
    for (_, *ids), logps in seen.sampled.items():
        with torch.no_grad():
            truth = base.hf(torch.tensor([ids])).logits[0].log_softmax(-1)
        count = len(logps)
        picked = truth[-count - 1 : -1].gather(1, torch.tensor(ids[-count:])[:, None])[:, 0]
        assert picked.tolist() == pytest.approx(logps, abs=2e-4)


def test_without_dropout(seen: Seen) -> None:
    base = tiny_model("phi3")
    for layer in base.layers:
        layer.self_attn.attention_dropout = 0.5  # type: ignore[union-attr,assignment]
        layer.resid_attn_dropout.p = 0.5  # type: ignore[union-attr,assignment]
    tiny_training(base)
    seen.check(at_least=30)
    assert base.layers[0].self_attn.attention_dropout == 0.5, "the base's own was changed"  # type: ignore[union-attr]


def test_a_batch_of_one_samples_the_same() -> None:
    base = tiny_model("llama")
    engine = training_engine(base, base.hf)
    small = dataclasses.replace(engine, cache_budget=1)
    options: dict[str, Any] = {"generations": 4, "step": 5, "seed": 1, "decoding": Decoding(1.0, max_new_tokens=8)}

    def encode(problem: Any) -> tuple[int, ...]:
        return base.encode(problem.prompt)

    def tokens(engine: Any, problems: Any = POOL, **changes: Any) -> list[list[tuple[int, ...]]]:
        drawn = sample_rollouts(engine, problems, encode, **{**options, **changes})
        return [[one.tokens for one in group] for group in drawn]

    whole = tokens(engine)
    assert tokens(small) == whole
    assert [tokens(engine, [problem])[0] for problem in POOL] == whole
    assert tokens(engine, step=6) != whole
    assert tokens(engine, seed=2) != whole
    assert len(set(whole[0])) > 1


def test_every_step_draws_different_problems_by_its_own_number() -> None:
    long, short = (schedule_problems(POOL, steps=steps, per_step=5, seed=2) for steps in (8, 3))
    assert long[:15] == short
    steps = [tuple(p.id for p in long[i : i + 5]) for i in range(0, 40, 5)]
    assert all(len(set(step)) == 5 for step in steps)
    assert len(set(steps)) == 8
    assert schedule_problems(POOL, steps=3, per_step=5, seed=3) != short
    assert len(schedule_problems(POOL[:2], steps=3, per_step=5, seed=2)) == 6
