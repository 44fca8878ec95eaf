"""A training that was killed goes on, and ends exactly where an uninterrupted one does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from elicit.model import BaseModel
from elicit.steering import Edit, parse
from elicit.training.rewards import Rollout
from tests.support.models import tiny_model
from tests.training import support
from tests.training.support import Done, tiny_training, vowels


class _Killed(BaseException):
    pass


def _dying(step: int) -> Any:
    def reward(rollout: Rollout) -> float:
        if rollout.step == step:
            raise _Killed
        return vowels(rollout)

    return reward


def _same(first: Done, second: Done) -> None:
    assert first.training == second.training
    assert first.values.keys() == second.values.keys()
    for name, value in first.values.items():
        assert torch.equal(value, second.values[name]), name


def _vector(base: BaseModel) -> dict[str, Any]:
    """Options that train a steering vector instead of weights."""
    vector = torch.nn.Parameter(torch.full((base.d_model,), 0.1))
    return {"edits": [Edit(1, parse("first"), lambda h: vector, "vector")], "extra": {"steer": vector}}


@pytest.mark.parametrize(
    "kind",
    [
        "weights",
        pytest.param("in passes of 4", marks=pytest.mark.slow),
        pytest.param("lora", marks=pytest.mark.slow),
        pytest.param("vector", marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_step_equals_uninterrupted(tmp_path: Path, kind: str) -> None:
    base = tiny_model("qwen2")
    same: dict[str, Any] = {"steps": 7, "learning_rate": 3e-3}
    same |= {"in passes of 4": {"rows": 4}, "lora": {"lora_rank": 2}}.get(kind, {})

    def tiny_training(base: BaseModel, **options: Any) -> Done:
        return support.tiny_training(base, **same, **options, **(_vector(base) if kind == "vector" else {}))

    whole = tiny_training(base)
    for deaths in ([1], [3, 4], [0, 2, 6]):
        scratch = tmp_path / "-".join(map(str, deaths))
        for death in deaths:
            with pytest.raises(_Killed):
                tiny_training(base, reward=_dying(death), scratch=scratch, checkpoint_every=2)
        asked: list[int] = []

        def watched(rollout: Rollout, asked: list[int] = asked) -> float:
            asked.append(rollout.step)
            return vowels(rollout)

        _same(tiny_training(base, reward=watched, scratch=scratch, checkpoint_every=2), whole)
        assert min(asked) == deaths[-1] // 2 * 2, "it began again instead of going on"
    # The end has a checkpoint too: a policy that was not saved in time costs no training.
    _same(tiny_training(base, reward=_dying(6), scratch=scratch, checkpoint_every=2), whole)


def _lose_the_seal(folder: Path) -> None:
    (folder / "seal.json").unlink()


def _cut_a_file(folder: Path) -> None:
    path = folder / "optimizer.pt"
    path.write_bytes(path.read_bytes()[:-100])


def _lose_a_file(folder: Path) -> None:
    (folder / "trainer_state.json").unlink()


_SIX: dict[str, Any] = {"steps": 6, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def six_steps() -> Done:
    return tiny_training(tiny_model(), **_SIX)


@pytest.fixture(scope="module")
def killed_at_five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of the same training up to step 4, to be copied."""
    scratch = tmp_path_factory.mktemp("killed")
    with pytest.raises(_Killed):
        tiny_training(tiny_model(), reward=_dying(5), scratch=scratch, checkpoint_every=2, **_SIX)
    return scratch


@pytest.mark.parametrize("damage", [_lose_the_seal, _cut_a_file, _lose_a_file])
def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, damage: Any, six_steps: Done, killed_at_five: Path) -> None:
    scratch = tmp_path / "scratch"
    shutil.copytree(killed_at_five, scratch)
    damage(scratch / "checkpoint-4")
    asked: list[int] = []

    def watched(rollout: Rollout) -> float:
        asked.append(rollout.step)
        return vowels(rollout)

    _same(tiny_training(tiny_model(), reward=watched, scratch=scratch, checkpoint_every=2, **_SIX), six_steps)
    assert min(asked) == 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of every step of a training, to be copied."""
    scratch = tmp_path_factory.mktemp("finished")
    tiny_training(tiny_model(), scratch=scratch, checkpoint_every=1)
    return scratch


@pytest.mark.parametrize("other", [{"identity": ("another reward",)}, {"seed": 1}, {"learning_rate": 1e-2}], ids=str)
def test_checkpoints_of_another_training_are_not_gone_on_from(
    tmp_path: Path, other: dict[str, Any], finished: Path
) -> None:
    whole = tiny_training(tiny_model(), **other)
    shutil.copytree(finished, tmp_path / "b")
    _same(tiny_training(tiny_model(), scratch=tmp_path / "b", checkpoint_every=1, **other), whole)


def test_pickles_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_model()
    with pytest.raises(_Killed):
        tiny_training(base, reward=_dying(2), scratch=tmp_path, checkpoint_every=2)
    loads: list[bool] = []
    load = torch.load

    def watched(*args: Any, **options: Any) -> Any:
        loads.append(options.get("weights_only") is True)
        return load(*args, **options)

    monkeypatch.setattr(torch, "load", watched)
    tiny_training(base, scratch=tmp_path, checkpoint_every=2)
    assert loads
    assert all(loads)
