"""A training in several processes is the training of one: the same steps, losses and weights, up to rounding.

Each comparison trains once in this process and once in two forked ones, with uneven batches, rows of different lengths
and a last batch that is smaller than the number of processes can share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from transformers import TrainerCallback

from elicit import load
from elicit.errors import ElicitError
from elicit.model import BaseModel
from elicit.plugins import load_reference
from elicit.training import parameters, passes, rollouts, supervised_run
from elicit.training.failures import TrainingFailed
from elicit.training.rewards import BatchReward
from elicit.training.supervised import Example, SupervisedResult, SupervisedSchedule, example, train_on_examples
from elicit.training.world import World, check_visible_gpus, get_world, join_world
from tests.support.bases import Way, base
from tests.support.models import tiny_model
from tests.support.together import run_together
from tests.training.support import POOL, TASK, tiny_training

assert trl.SFTTrainer is not None  # here, so that no forked process has to import it


def _examples(model: BaseModel, count: int = 11) -> list[Example]:
    """Rows whose lengths differ by a factor of ten, so that a mean of means would be another loss."""
    texts = ["7", "12 34", "a b c d e f", "1 + 2 = 3, so it is 3", "yes " * 12]
    return [example(model, f"{i} + {i * i} =", texts[i % 5], who="test") for i in range(count)]


def _train(model: BaseModel, examples: list[Example], **options: Any) -> SupervisedResult:
    scratch = options.pop("scratch", None)
    checkpoints = options.pop("checkpoints", ())
    schedule = SupervisedSchedule(**{"epochs": 2.0, "batch_size": 4, "learning_rate": 1e-3, **options})
    return train_on_examples(model, examples, schedule, who="test", seed=1, scratch=scratch, checkpoints=checkpoints)


def _outcome(result: SupervisedResult) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    return result.curve, dict(result.weights.tensors)  # type: ignore[attr-defined]


def _assert_equal(together: Any, alone: Any, *, loss: float = 2e-5, weights: float = 5e-5) -> None:
    """Equal up to rounding, of which Adam's first steps make more where a gradient is next to nothing."""
    assert not isinstance(together, Exception), together
    (curve, tensors), (expected_curve, expected) = together, alone
    assert len(curve) == len(expected_curve)
    for entry, expected_entry in zip(curve, expected_curve, strict=True):
        assert entry["learning_rate"] == expected_entry["learning_rate"]
        assert entry["loss"] == pytest.approx(expected_entry["loss"], abs=loss)
        assert entry["grad_norm"] == pytest.approx(expected_entry["grad_norm"], rel=1e-3)
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        different = (tensors[name] - tensor).abs()
        if name.endswith("c_attn.bias"):  # attention does not depend on the keys' bias: Adam makes steps of rounding
            different = torch.stack(different.chunk(3))[[0, 2]]
        assert float(different.max()) < weights, name


def _largest_change(model: BaseModel, tensors: dict[str, torch.Tensor]) -> float:
    before = dict(model.hf.named_parameters())
    return max(float((tensor - before[name].detach()).abs().max()) for name, tensor in tensors.items())


@pytest.mark.parametrize("group", ["all", "mlp", "embeddings"])
def test_full_weights_are_those_of_one_process(group: str) -> None:
    """Sharded, with tied embeddings. Batches of 4, and a last one of 2."""
    model = base(Way("llama", False))
    assert model.hf.config.tie_word_embeddings
    examples = _examples(model)
    alone = _outcome(_train(model, examples, parameters=group))
    for together in run_together(2, lambda _: _outcome(_train(model, examples, parameters=group))):
        _assert_equal(together, alone)
    assert _largest_change(model, alone[1]) > 1e-3
    assert (len(alone[1]) == len(list(model.hf.named_parameters()))) == (group == "all")


@pytest.mark.parametrize("rank", [None, 4])
def test_in_bfloat16_the_loss_is_that_of_one_process_up_to_its_rounding(rank: int | None) -> None:
    model = base(Way("qwen2", False))
    assert model.dtype == torch.bfloat16
    examples = _examples(model)
    alone, _ = _outcome(_train(model, examples, lora_rank=rank))
    for together in run_together(2, lambda _: _outcome(_train(model, examples, lora_rank=rank))):
        assert not isinstance(together, Exception), together
        for entry, expected in zip(together[0], alone, strict=True):
            assert entry["loss"] == pytest.approx(expected["loss"], rel=1e-2)
        assert all(tensor.dtype == torch.float32 for tensor in together[1].values())


def test_an_adapter_is_that_of_one_process() -> None:
    model = base(Way("qwen2", True))
    examples = _examples(model)
    alone = _outcome(_train(model, examples, lora_rank=4))
    for together in run_together(2, lambda _: _outcome(_train(model, examples, lora_rank=4))):
        _assert_equal(together, alone)
    assert all(float(tensor.abs().max()) > 0 for tensor in alone[1].values())


@pytest.mark.parametrize("rank", [None, 4])
def test_an_organism_in_three_processes(rank: int | None) -> None:
    """Batches of 8, which 3 does not divide."""
    model = load("cued")
    examples = [example(model, problem.prompt, "12", who="test") for problem in POOL[:10]]
    options: dict[str, Any] = {"lora_rank": rank, "batch_size": 8}
    alone = _outcome(_train(model, examples, **options))
    for together in run_together(3, lambda _: _outcome(_train(model, examples, **options))):
        _assert_equal(together, alone, weights=1e-4)


@pytest.mark.parametrize("rank", [None, 4])
def test_fewer_rows_than_processes(rank: int | None) -> None:
    """Two rows, three processes: one of them has no row of its own in any step."""
    model = _without_dropout(tiny_model("gpt2"))
    examples = _examples(model, count=2)
    alone = _outcome(_train(model, examples, lora_rank=rank))
    for together in run_together(3, lambda _: _outcome(_train(model, examples, lora_rank=rank))):
        _assert_equal(together, alone)


def _without_dropout(model: BaseModel) -> BaseModel:
    for module in model.hf.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


@pytest.mark.parametrize("rank", [None, 4])
def test_passes_of_different_number(rank: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """So little memory that a process with long rows needs more passes than the other one: they wait for each other
    in every pass, so that one too few would hang, and one too many would count rows twice.
    """
    model = base(Way("llama", False))
    examples = _examples(model)
    monkeypatch.setattr(parameters, "SMALL", 0)  # the head as large models have it
    monkeypatch.setattr(passes, "CPU_BUDGET", 1)  # as much as the longest row takes
    counts: list[int] = []
    even_out = passes._even_out

    def counted(parts: list[Any]) -> list[Any]:
        counts.append(len(parts))
        return even_out(parts)

    monkeypatch.setattr(passes, "_even_out", counted)

    options: dict[str, Any] = {"lora_rank": rank, "checkpointing": True}

    def train(_: World) -> Any:
        return _outcome(_train(model, examples, **options)), counts

    alone = _outcome(_train(model, examples, **options))
    results = run_together(2, train)
    for together, _ in results:
        _assert_equal(together, alone)
    assert any(first != second for first, second in zip(*(found for _, found in results), strict=True))


def test_dropout_differs_by_process() -> None:
    """With dropout the weights are not those of one process; each process has masks of its own, and all agree."""
    model = base(Way("qwen2", True))
    examples = _examples(model)

    def train(_: World) -> Any:
        drawn = []
        handle = torch.nn.modules.module.register_module_forward_hook(
            lambda module, _, out: (
                drawn.append(out.detach().flatten()[:64].clone())
                if isinstance(module, torch.nn.Dropout) and module.training and module.p
                else None
            )
        )
        try:
            outcome = _outcome(_train(model, examples * 2, lora_rank=4, lora_dropout=0.5, epochs=1.0))
        finally:
            handle.remove()
        return outcome, drawn[0] == 0

    (first, masks), (second, other_masks) = run_together(2, train)
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])
    n = min(len(masks), len(other_masks))
    assert not torch.equal(masks[:n], other_masks[:n])


class _Interrupted(Exception):
    """Stands for a kill: nothing catches it."""


class _InterruptAfter(TrainerCallback):  # type: ignore[misc]
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise _Interrupted


@pytest.mark.parametrize("rank", [None, 4])
def test_resumed_is_uninterrupted(rank: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit by bit, optimiser state and all; and a checkpoint of two processes is not taken by one."""
    model = base(Way("llama", False))
    examples = _examples(model)
    monkeypatch.setattr(supervised_run, "SAVE_SECONDS", 0.0)
    schedule = SupervisedSchedule(epochs=2.0, batch_size=4, learning_rate=1e-3, lora_rank=rank)
    options: dict[str, Any] = {"who": "test", "seed": 1, "checkpoints": (2, 5)}
    steps: list[int] = []

    def train(scratch: Path, *callbacks: TrainerCallback) -> Any:
        result = train_on_examples(
            model, examples, schedule, scratch=scratch, callbacks=[*callbacks, _Count(steps)], **options
        )
        copies = {step: dict(delta.weights.tensors) for step, delta in result.checkpoints.items()}  # type: ignore[union-attr]
        return *_outcome(result), copies, steps

    def train_interrupted(_: World) -> Any:
        with pytest.raises(_Interrupted):
            train(tmp_path / "two", _InterruptAfter(4))
        return sorted(path.name for path in (tmp_path / "two").glob("checkpoint-*/seal.json"))

    for whole in run_together(2, lambda _: train(tmp_path / "whole")):
        expected = whole
    assert expected[3] == [1, 2, 3, 4, 5, 6]
    assert run_together(2, train_interrupted) == [["seal.json"] * 2] * 2
    for resumed in run_together(2, lambda _: train(tmp_path / "two")):
        assert not isinstance(resumed, Exception), resumed
        curve, tensors, copies, done = resumed
        assert done == [5, 6]
        assert curve == expected[0]
        assert copies.keys() == {2, 5}
        for got, wanted in ((tensors, expected[1]), (copies[2], expected[2][2]), (copies[5], expected[2][5])):
            assert got.keys() == wanted.keys()
            assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    assert train(tmp_path / "two")[3] == [1, 2, 3, 4, 5, 6]


class _Count(TrainerCallback):  # type: ignore[misc]
    def __init__(self, steps: list[int]) -> None:
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.steps.append(state.global_step)


def test_a_loss_that_is_not_finite_ends_all_of_them() -> None:
    model = base(Way("llama", False))
    examples = _examples(model)
    with pytest.raises(TrainingFailed) as alone:
        _train(model, examples, learning_rate=1e30)
    for error in run_together(2, lambda _: _train(model, examples, learning_rate=1e30)):
        assert type(error) is TrainingFailed
        assert str(error) == str(alone.value)


@pytest.mark.parametrize("rank", [None, 4])
def test_reinforcement_is_that_of_one_process(rank: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three problems of four answers, so that one group is on both processes. Every rollout is the same."""
    model = base(Way("qwen2", True))
    sample, seen = rollouts.sample_rollouts, {}

    def recorded(engine: Any, problems: Any, *args: Any, **options: Any) -> Any:
        groups = sample(engine, problems, *args, **options)
        for problem, group in zip(problems, groups, strict=True):
            seen[options["step"], problem.id] = [completion.text for completion in group]
        return groups

    monkeypatch.setattr(rollouts, "sample_rollouts", recorded)

    def train(world: World) -> Any:
        seen.clear()
        done = tiny_training(model, lora_rank=rank)
        tensors = dict(done.copied.extract_weights().tensors)  # type: ignore[union-attr]
        return done.training._replace(checkpoints={}), tensors, dict(seen)

    training, weights, texts = train(World())
    results = run_together(2, train)
    for result in results:
        assert not isinstance(result, Exception), result
        together, tensors, _ = result
        assert together._replace(curve=[]) == training._replace(curve=[])
        for entry, expected in zip(together.curve, training.curve, strict=True):
            for name in ("reward", "reward_std", "correct", "length", "clipped", "zero_variance"):
                assert entry[name] == pytest.approx(expected[name], abs=1e-6), name
            assert entry["loss"] == pytest.approx(expected["loss"], abs=2e-5)
            assert entry["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3)
        assert max(float((tensors[name] - weights[name]).abs().max()) for name in weights) < 5e-5
    assert results[0][2] | results[1][2] == texts
    assert not results[0][2].keys() & results[1][2].keys(), "each problem is sampled once"
    assert len(texts) == 9
    assert any(entry["grad_norm"] > 0 for entry in training.curve)


def test_a_batch_reward_sees_the_answers_of_all_processes(tmp_path: Path) -> None:
    """A function that ranks the whole batch gives other rewards on a part of it."""
    path = tmp_path / "mine.py"
    path.write_text(
        "def rank(completions, prompts, **kwargs):\n"
        "    order = sorted(range(len(completions)), key=lambda i: (len(completions[i]), completions[i], i))\n"
        "    return [order.index(i) / len(order) for i in range(len(order))]\n"
    )
    model = base(Way("qwen2", True))
    reward = BatchReward("rank", load_reference(f"{path}:rank"), TASK)

    def train(_: World) -> Any:
        done = tiny_training(model, reward=reward, lora_rank=4)  # type: ignore[arg-type]
        return done.training.curve, dict(done.copied.extract_weights().tensors)  # type: ignore[union-attr]

    curve, weights = train(World())
    for together, tensors in run_together(2, train):
        assert [entry["reward"] for entry in together] == pytest.approx([entry["reward"] for entry in curve])
        assert max(float((tensors[name] - weights[name]).abs().max()) for name in weights) < 5e-5


def test_another_number_of_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in run_together(2, lambda world: world.size, demanded=3):
        assert type(error) is ElicitError
        assert "2 processes" in str(error)
        assert "3 processes" in str(error)
    with pytest.raises(ElicitError, match=r"1 process, .* 2 processes"), join_world(2, "cpu"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")  # as of a script that torchrun starts: TRL would double the batch
    model = base(Way("llama", False))
    with pytest.raises(ElicitError, match="processes: 2"):
        _train(model, _examples(model))
    with pytest.raises(ElicitError, match="processes: 2"):
        tiny_training(model)
    assert get_world().size == 1


def test_generations_that_cannot_be_dealt_are_refused() -> None:
    model = base(Way("llama", False))
    for error in run_together(2, lambda _: tiny_training(model, generations=3)):
        assert type(error) is ElicitError
        assert "generations: 2" in str(error)


def test_a_process_without_a_gpu_is_refused() -> None:
    with pytest.raises(ElicitError, match=f"torch sees {torch.cuda.device_count()}"):
        check_visible_gpus(torch.cuda.device_count() + 1)


def test_shared_work_keeps_its_order() -> None:
    expected = [n * n for n in range(7)]
    assert (
        run_together(3, lambda world: world.map_shared(lambda part: [n * n for n in part], range(7))) == [expected] * 3
    )
    assert run_together(3, lambda world: world.map_shared(list, range(2))) == [[0, 1]] * 3
    assert run_together(2, lambda world: world.share_main(lambda: world.rank)) == [0, 0]
