"""Checkpoints are what an independent training had at that step, whatever happened on the way."""

from __future__ import annotations

import copy
import dataclasses
import gc
import math
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from peft import LoraConfig, get_peft_model
from transformers import get_linear_schedule_with_warmup

from elicit import checkpoints, seeds
from elicit.checkpoints import PolicyDelta
from elicit.errors import ElicitError
from elicit.methods.controls.random_vector import RandomVector
from elicit.methods.finetuning.sft import SFT
from elicit.methods.steering.rl_steering import RlSteering
from elicit.model import BaseModel
from elicit.training import supervised_run
from elicit.training.checkpoint_callback import SnapshotCallback
from elicit.weights import FullWeights
from tests.methods.test_rl_steering import SMALL
from tests.methods.test_rl_steering import TASK as VOWELS
from tests.support.models import tiny_model
from tests.training.kept import KINDS, OPTIONS, STEPS, TASK, base_model, equal, fit, tensors, trained
from tests.training.support import Done, tiny_training, vowels

# --- independent references --------------------------------------------------------------------------------------


def _plain(kind: str) -> list[dict[str, torch.Tensor]]:
    """Fine-tuning written out with nothing of the lab's but its rows: what is trained after 0, 1, ... 12 steps."""
    base = base_model()
    model = copy.deepcopy(base.hf)
    if kind == "lora":
        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        torch.manual_seed(seeds.derive_small_seed("lora", 3))
        model = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=names, task_type="CAUSAL_LM"))
    model.train()
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(learning.values(), lr=3e-3, weight_decay=0.0)
    rates = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=2, num_training_steps=12)
    rows = []
    for problem in TASK.problems("train", 8, seed=4):
        prompt = base.encode(problem.prompt)
        rows.append((prompt, (*base.continuation(TASK.worked(problem) or ""), base.tokenizer.eos_token_id)))
    order = [
        i
        for epoch in range(6)
        for i in torch.randperm(
            8, generator=torch.Generator().manual_seed(seeds.derive_small_seed("sft", 3) + epoch)
        ).tolist()
    ]
    seen = [_named(learning)]
    for step in range(12):
        batch = [rows[i] for i in order[4 * step : 4 * step + 4]]
        losses = []
        for prompt, completion in batch:  # one by one, without padding
            logits = model(input_ids=torch.tensor([prompt + completion])).logits[0]
            targets = torch.tensor(completion)
            losses.append(torch.nn.functional.cross_entropy(logits[len(prompt) - 1 : -1], targets, reduction="sum"))
        (sum(losses) / sum(len(completion) for _, completion in batch)).backward()
        torch.nn.utils.clip_grad_norm_(learning.values(), 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        seen.append(_named(learning))
    return seen


def _named(trained: dict[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    return {name.replace(".default", ""): p.detach().clone() for name, p in trained.items()}


def _distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    assert first.keys() == second.keys()
    return math.hypot(*(float((first[name] - second[name]).norm()) for name in first))


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_where_plain_training_stopped(kind: str) -> None:
    policy, plain = trained(kind), _plain(kind)
    for step in (*STEPS, 12):
        found = tensors(policy.at(step))
        near = min(_distance(found, other) for i, other in enumerate(plain) if i != step)
        assert _distance(found, plain[step]) < 1e-3 * near, "not the weights of that step"


def _caught(monkeypatch: pytest.MonkeyPatch, trainer: type, read: Callable[[Any], Any]) -> dict[int, Any]:
    """What `read` gives of the model whenever a step is about to begin: that is after as many steps as are done."""
    seen: dict[int, Any] = {}
    step = trainer.training_step  # type: ignore[attr-defined]

    def spying(self: Any, model: Any, *args: Any, **options: Any) -> Any:
        seen[self.state.global_step] = read(model)
        return step(self, model, *args, **options)

    monkeypatch.setattr(trainer, "training_step", spying)
    return seen


def test_by_reinforcement_it_is_where_the_trainer_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the parameters that TRL's trainer was seen with, and against trainings that ended there."""
    base = tiny_model("qwen2")
    seen = _caught(monkeypatch, trl.GRPOTrainer, lambda hf: {n: p.detach().clone() for n, p in hf.named_parameters()})
    done = _reinforced(base, checkpoints=(2, 4), steps=5, decay=False)
    assert list(done.training.checkpoints) == [2, 4]
    for step, change in done.training.checkpoints.items():
        assert isinstance(change.weights, FullWeights)
        assert all(torch.equal(tensor, seen[step][name]) for name, tensor in change.weights.tensors.items())
    # At a rate that stays, a training of that many steps goes the same way.
    ended = _reinforced(base, steps=2, decay=False)
    assert equal(done.training.checkpoints[2], PolicyDelta(FullWeights(ended.values)))
    assert not equal(*done.training.checkpoints.values())


def test_vectors_are_where_the_trainer_was(monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_model("llama")
    seen = _caught(monkeypatch, trl.GRPOTrainer, lambda hf: hf.steering_vectors.detach().clone())
    policy = RlSteering(**SMALL, checkpoints=(1, 2, 3)).fit(base, VOWELS, seed=0, needs={})
    assert list(policy.checkpoints) == [1, 2], "the end is the policy itself"
    for step, then in policy.checkpoints.items():
        assert [edit.layer for edit in then.edits] == [edit.layer for edit in policy.edits]
        for edit, vector in zip(then.edits, seen[step], strict=True):
            assert torch.allclose(edit.direction * edit.strength, vector, atol=1e-6)
    assert policy.at(3) is policy
    assert policy.at(0).steering == ()
    plain = RlSteering(**SMALL).fit(base, VOWELS, seed=0, needs={})
    assert plain.sha256 == policy.sha256
    # A control steers another way: where its parent was on the way says nothing of it.
    control = RandomVector("parent").fit(base, VOWELS, seed=0, needs={"parent": policy})
    assert not control.checkpoints
    # What only decodes differently was on the same way.
    warm = dataclasses.replace(policy, decoding=policy.decoding.replace(temperature=1.0))
    assert warm.at(2).decoding == warm.decoding
    assert warm.at(2).steering[0].sha256 == policy.at(2).steering[0].sha256


# --- memory and the disk -----------------------------------------------------------------------------------------


def test_copies_are_on_the_disk_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    copies: list[weakref.ref[Any]] = []
    write = checkpoints.save_delta

    def writing(change: PolicyDelta, folder: Path) -> None:
        assert not [one for one in copies if one() is not None], "earlier copies were still in memory"
        copies.append(weakref.ref(change.weights))
        write(change, folder)

    monkeypatch.setattr("elicit.training.checkpoint_callback.save_delta", writing)
    policy = fit(checkpoints=(1, 2, 3, 4))
    assert len(copies) == 4
    (place,) = tmp_path.glob("elicit-snapshots-*")
    read = weakref.ref(policy.at(3).weights)
    assert not [one for one in (*copies, read) if one() is not None]
    kept = policy.checkpoints
    del policy
    assert kept[3].sha256 != kept[4].sha256, "whoever holds checkpoints can read them"
    del kept
    gc.collect()
    assert not place.exists()


def test_in_a_scratch_folder_that_is_gone(tmp_path: Path) -> None:
    policy = SFT(**OPTIONS, checkpoints=(2,)).fit(base_model(), TASK, seed=3, needs={}, scratch=tmp_path / "scratch")
    assert policy.at(2).weights is not None
    shutil.rmtree(tmp_path / "scratch")
    with pytest.raises(ElicitError, match=r"step 2 was kept in .*scratch/snapshots/000002, which is gone\. Save the"):
        policy.at(2)


# --- interruptions -----------------------------------------------------------------------------------------------


class _Killed(BaseException):
    pass


def _reinforced(base: BaseModel, **options: Any) -> Done:
    return tiny_training(base, learning_rate=3e-3, **options)


def _dying(step: int) -> Any:
    def reward(rollout: Any) -> float:
        if rollout.step == step:
            raise _Killed
        return vowels(rollout)

    return reward


def test_reinforcement_killed_and_resumed(tmp_path: Path) -> None:
    """Killed between a copy (of step 2) and the trainer's checkpoint (every 3 steps), and again after both."""
    base = tiny_model("qwen2")
    whole = _reinforced(base, steps=6, checkpoints=(2, 3, 5))
    again: dict[str, Any] = {"steps": 6, "scratch": tmp_path, "checkpoint_every": 3}
    for death in (2, 4):
        with pytest.raises(_Killed):
            _reinforced(base, reward=_dying(death), checkpoints=(2, 3, 5), **again)
    resumed = _reinforced(base, reward=_dying(2), checkpoints=(2, 3, 5), **again)  # from step 3 on
    assert all(torch.equal(value, resumed.values[name]) for name, value in whole.values.items())
    first, second = whole.training.checkpoints, resumed.training.checkpoints
    assert list(first) == list(second) == [2, 3, 5]
    assert all(equal(first[step], second[step]) for step in first)
    # All is there: nothing is sampled again.
    _reinforced(base, reward=_dying(0), checkpoints=(2, 3, 5), **again)
    # A copy that nobody asked for before is made up for, from the checkpoint of step 3; step 3's own is not wanted.
    more = _reinforced(base, reward=_dying(2), checkpoints=(2, 4, 5), **again).training.checkpoints
    assert list(more) == [2, 4, 5]
    assert equal(more[2], first[2])
    assert equal(more[5], first[5])
    assert not equal(more[4], first[3])


@pytest.mark.parametrize("kind", ["full", pytest.param("lora", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "moment", [pytest.param("in a step", marks=pytest.mark.slow), "while a copy is written", "a torn copy"]
)
def test_fine_tuning_killed_and_resumed(
    kind: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(kind)
    options = {**OPTIONS, **KINDS[kind]}
    method = SFT(**options, checkpoints=STEPS)
    monkeypatch.setattr(supervised_run, "SAVE_SECONDS", 0.0)  # a trainer's checkpoint after every step
    step, write = trl.SFTTrainer.training_step, checkpoints.save_delta
    asked: list[int] = []
    dead: list[bool] = []

    def stepping(self: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(self.state.global_step)
        if moment != "while a copy is written" and len(asked) == 7 and not dead:
            dead.append(True)
            raise _Killed
        return step(self, *args, **kwargs)

    def writing(change: PolicyDelta, folder: Path) -> None:
        write(change, folder)
        if moment == "while a copy is written" and len(asked) == 5 and not dead:
            dead.append(True)
            raise _Killed

    monkeypatch.setattr(trl.SFTTrainer, "training_step", stepping)
    monkeypatch.setattr("elicit.training.checkpoint_callback.save_delta", writing)
    with pytest.raises(_Killed):
        method.fit(base_model(), TASK, seed=3, needs={}, scratch=tmp_path)
    if moment == "a torn copy":
        path = next((tmp_path / "snapshots" / "000005").glob("*.safetensors"))
        path.write_bytes(path.read_bytes()[:-8])
    first = {"in a step": 6, "while a copy is written": 4}.get(moment, 0)  # two checkpoints are kept, of steps 5 and 6
    asked.clear()
    resumed = method.fit(base_model(), TASK, seed=3, needs={}, scratch=tmp_path)
    assert asked == list(range(first, 12))
    assert resumed.sha256 == whole.sha256
    assert resumed.record["curve"] == whole.record["curve"]
    assert [resumed.at(step).sha256 for step in STEPS] == [whole.at(step).sha256 for step in STEPS]
    if moment != "a torn copy":
        return
    # Another seed is another training: its copies are not taken for this one's.
    other = method.fit(base_model(), TASK, seed=4, needs={}, scratch=tmp_path)
    assert not equal(other.at(2), whole.at(2))


def test_a_training_that_ends_early_keeps_what_it_came_to() -> None:
    """Four steps of full reward end this one: the copies up to there are its checkpoints."""
    base = tiny_model("qwen2")
    done = tiny_training(base, reward=lambda rollout: 1.0, steps=14, patience=4, checkpoints=(2, 4, 9))
    assert done.training.stopped is not None
    assert len(done.training.curve) == 4
    assert list(done.training.checkpoints) == [2], "the step it ended with is the policy itself"


def test_copies_of_others_are_removed(tmp_path: Path) -> None:
    change = PolicyDelta(FullWeights({"w": torch.ones(2)}))
    state = type("State", (), {"global_step": 2})()
    first = SnapshotCallback((2, 3), lambda: change, identity="one", scratch=tmp_path)
    first.on_step_end(None, state, None)
    assert first.first_missing == 3
    assert SnapshotCallback((2,), lambda: change, identity="one", scratch=tmp_path).first_missing is None
    assert SnapshotCallback((2,), lambda: change, identity="other", scratch=tmp_path).first_missing == 2
    assert not list((tmp_path / "snapshots").iterdir())
