"""Watching a training: the numbers are those of calculus done by hand, and the training does not notice."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from transformers import TrainerCallback

from elicit.errors import ElicitError
from elicit.fitting.other_task import bind_described_task
from elicit.methods.finetuning.sft import SFT
from elicit.model import load
from elicit.policy import Policy
from elicit.tasks import get
from elicit.training import gradients, supervised_run
from elicit.training.passes import PassLimits
from elicit.training.supervised import Example, SupervisedSchedule, example, train_on_examples
from tests.support.models import tiny_model

TASK = get("addition", digits=(1, 3))
CHAINS = {"task": "mod_chain"}


def by_hand(model: Any, rows: list[Example]) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradient from plain logits, a row at a time: no padding, no passes, no fused head."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    count = sum(len(row.completion) for row in rows)
    with torch.enable_grad():
        losses = []
        for row in rows:
            ids = torch.tensor([[*row.prompt, *row.completion]])
            table = model(input_ids=ids).logits[0].float().log_softmax(-1)
            losses += [-table[len(row.prompt) - 1 + i, token] for i, token in enumerate(row.completion)]
        loss = torch.stack(losses).sum() / count
        parts = torch.autograd.grad(loss, parameters)
    for module, mode in modes:
        module.training = mode
    return float(loss.detach()), [part.detach() for part in parts]


class Hand(TrainerCallback):  # type: ignore[misc]
    """At step 0 and after every step: all parameters, and loss and gradient of two tasks, by hand."""

    def __init__(self, inside: list[Example], outside: list[Example]) -> None:
        self.rows, self.seen = (inside, outside), []  # type: ignore[var-annotated]

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        self.look(model)

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        self.look(model)

    def look(self, model: Any) -> None:
        values = [p.detach().clone() for p in model.parameters() if p.requires_grad]
        self.seen.append((values, *(by_hand(model, rows) for rows in self.rows)))


def dot(ones: list[torch.Tensor], others: list[torch.Tensor]) -> float:
    return float(sum((a.double() * b.double()).sum() for a, b in zip(ones, others, strict=True)))


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("gpt2", {}),  # dropout, tied weights, learned positions
        ("gemma2", {"lora_rank": 2, "lora_dropout": 0.3}),  # capped logits, sliding windows
        ("qwen3", {"parameters": "mlp", "checkpointing": True}),
    ],
    ids=str,
)
def test_every_number_is_that_of_calculus_by_hand(
    arch: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_model(arch)
    outside = bind_described_task(base, CHAINS, "x")
    rows = [
        [example(base, p.prompt, task.worked(p) or "", who="x") for p in task.problems("select", 3)]
        for task in (TASK, outside)
    ]
    hand = Hand(*rows)
    monkeypatch.setattr(supervised_run, "_LossGuardCallback", _beside(hand))
    two_rows = 2 * max(len(row.prompt) + len(row.completion) for one in rows for row in one)
    monkeypatch.setattr(gradients, "choose_pass_limits", lambda *_, **__: PassLimits(two_rows))
    config = SFT(demonstrations=6, epochs=5, batch_size=6, learning_rate=2e-3, **options)
    config = SFT(**{**vars(config), "warn": {"chains": CHAINS}, "warn_every": 2, "warn_problems": 3})
    found = config.fit(base, TASK, seed=0, needs={}).record["warning"]
    assert found["steps"] == [0, 2, 4, 5], "the end is looked at too"
    assert found["problems"] == {"in": 3, "chains": 3}
    looks = [hand.seen[step] for step in found["steps"]]
    out = found["out"]["chains"]
    assert found["in"]["loss"] == pytest.approx([inside[0] for _, inside, _ in looks], rel=1e-5)
    assert out["loss"] == pytest.approx([outside[0] for _, _, outside in looks], rel=1e-5)
    cosines = [dot(a, b) / (dot(a, a) * dot(b, b)) ** 0.5 for _, (_, a), (_, b) in looks]
    assert out["cosine"] == pytest.approx(cosines, abs=1e-4)
    moved = [[b - a for a, b in zip(x[0], y[0], strict=True)] for x, y in itertools.pairwise(looks)]
    starts = [dot(step, look[2][1]) for step, look in zip(moved, looks, strict=False)]
    ends = [dot(step, look[2][1]) for step, look in zip(moved, looks[1:], strict=True)]
    assert out["predicted"] == pytest.approx(starts, rel=1e-3, abs=1e-6)
    means = [(a + b) / 2 for a, b in zip(starts, ends, strict=True)]
    assert out["trapezoid"] == pytest.approx(means, rel=1e-3, abs=1e-6)
    assert min(map(abs, starts)) > 1e-4, "there was something to predict"
    assert 0 < found["share"] < 1
    assert found["seconds"] > 0


def _beside(hand: TrainerCallback) -> Callable[..., TrainerCallback]:
    """The trainer's own guard, which calls `hand` too."""
    guard = supervised_run._LossGuardCallback

    class Both(guard):  # type: ignore[misc, valid-type]
        def on_train_begin(self, *args: Any, **options: Any) -> None:
            hand.on_train_begin(*args, **options)

        def on_step_end(self, *args: Any, **options: Any) -> None:
            hand.on_step_end(*args, **options)
            super().on_step_end(*args, **options)

    return Both


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("gpt2", {}),
        ("gpt2", {"checkpointing": True}),
        ("qwen2 in bfloat16", {"lora_rank": 2, "lora_dropout": 0.3}),
    ],
    ids=str,
)
def test_a_watched_training_is_the_same_bit_by_bit(arch: str, options: dict[str, Any]) -> None:
    """Dropout draws random numbers at every step: one draw more or fewer and the weights would differ."""
    base = tiny_model(arch.split()[0])
    if "bfloat16" in arch:
        base.hf.to(torch.bfloat16)
    config = SFT(demonstrations=8, epochs=2, batch_size=4, learning_rate=1e-3, **options)
    plain = config.fit(base, TASK, seed=3, needs={})
    watched = SFT(**{**vars(config), "warn": {"chains": CHAINS}, "warn_problems": 4}).fit(base, TASK, seed=3, needs={})
    assert len(watched.record["warning"]["steps"]) == 5
    assert _tensors(plain).keys() == _tensors(watched).keys()
    assert all(torch.equal(value, _tensors(watched)[name]) for name, value in _tensors(plain).items())
    assert watched.record["curve"] == plain.record["curve"]
    assert watched.record["train"] == plain.record["train"], "watching is no training"


def _tensors(policy: Policy) -> dict[str, torch.Tensor]:
    return policy.weights.tensors  # type: ignore[union-attr, no-any-return]


def _errors(name: str, rate: float, steps: int, rows: int, seed: int = 0) -> tuple[float, float]:
    """How far the two integrals end from the measured change of the out-of-domain loss, over one long interval."""
    base = load("cued") if name == "cued" else tiny_model(name)
    task = get("addition")
    config = SFT(demonstrations=8 if rows == 6 else rows, batch_size=8, epochs=steps, learning_rate=rate, lora_rank=2)
    config = SFT(**{**vars(config), "warn": {"o": CHAINS}, "warn_problems": rows, "warn_every": steps})
    out = config.fit(base, task, seed=seed, needs={}).record["warning"]["out"]["o"]
    change = out["loss"][-1] - out["loss"][0]
    return abs(sum(out["predicted"]) - change), abs(sum(out["trapezoid"]) - change)


def test_the_integral_is_the_measured_change_to_first_order() -> None:
    """The integral's error is of second order in the learning rate, a quarter at half the rate; the trapezoid's of
    third, an eighth. A step of Adam is about as long as the rate, so all steps scale."""
    rates = (4e-3, 2e-3, 1e-3)
    first, third = zip(*(_errors("cued", rate, 3, 4) for rate in rates), strict=True)
    assert first[0] / first[1] == pytest.approx(4, rel=0.05)
    assert first[1] / first[2] == pytest.approx(4, rel=0.05)
    assert max(third) < 0.02 * first[0], "here the trapezoid is as good as the losses' rounding"
    rougher = [sum(_errors("qwen2", rate, 6, 6, seed)[1] for seed in range(4)) for rate in (8e-4, 2e-4)]
    # 64 by the third order and 16 by the second; how far rounding blurs it depends on the machine's kernels, and on
    # the problems, over which the sum evens it out.
    assert 24 < rougher[0] / rougher[1] < 110


class Killed(Exception):
    pass


@pytest.mark.parametrize("options", [{"lora_rank": 2}, {"protect": CHAINS, "protect_problems": 3}], ids=str)
def test_an_interrupted_training_has_the_same_record(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of an interval: the parameters at its start come from the checkpoint."""
    config = SFT(demonstrations=8, epochs=4, batch_size=4, warn={"o": CHAINS}, warn_every=3, warn_problems=3, **options)
    whole = config.fit(tiny_model("qwen2"), TASK, seed=0, needs={})
    monkeypatch.setattr(supervised_run, "SAVE_SECONDS", 0.0)
    compute, calls = trl.SFTTrainer.compute_loss, iter(range(100))

    def dies(self: Any, *args: Any, **rest: Any) -> Any:
        if next(calls) == 5:
            raise Killed
        return compute(self, *args, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(trl.SFTTrainer, "compute_loss", dies)
        with pytest.raises(Killed):
            config.fit(tiny_model("qwen2"), TASK, seed=0, needs={}, scratch=tmp_path)
    assert (tmp_path / "checkpoint-5" / "watch.safetensors").exists()
    again = config.fit(tiny_model("qwen2"), TASK, seed=0, needs={}, scratch=tmp_path)
    assert all(torch.equal(value, _tensors(again)[name]) for name, value in _tensors(whole).items())
    for name in ("warning", "protect"):
        first, second = whole.record.get(name), again.record.get(name)
        assert (first is None) == (second is None)
        if first is not None and second is not None:
            assert {**first, "seconds": 0, "share": 0} == {**second, "seconds": 0, "share": 0}
    assert again.record["warning"]["steps"] == [0, 3, 6, 8]


def test_other_tasks_are_put_as_the_model_is_asked() -> None:
    """An organism in its own dialect, another model in English; what cannot be built is said by its place."""
    assert bind_described_task(load("cued"), CHAINS, "x").problems("test", 1)[0].prompt.endswith("\nA:")
    assert "A:" not in bind_described_task(tiny_model("llama"), CHAINS, "x").problems("test", 1)[0].prompt
    with pytest.raises(ElicitError, match=r"sft: warn 'far': unknown task 'mod_chian'.*mod_chain"):
        SFT(warn={"far": {"task": "mod_chian"}})
    with pytest.raises(ElicitError, match="sft: protect: no task given"):
        SFT(protect={"digits": 2})
    with pytest.raises(ElicitError, match="warn_every is 0"):
        SFT(warn_every=0)


def test_a_projected_step_is_the_one_worked_out_by_hand() -> None:
    """Inside a real training, on the clipped gradients that the trainer has ready for its optimizer."""
    from elicit.training.projection import GradientProjectionCallback

    base, task = load("cued"), get("addition")
    right = [example(base, p.prompt, task.worked(p) or "", who="x") for p in task.problems("train", 4, seed=3)]
    # It learns its answers backwards, which goes against those it knows.
    rows = [row._replace(completion=row.completion[::-1]) for row in right]
    protect, seen = GradientProjectionCallback(right), list[list[torch.Tensor]]()

    class Spy(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
            seen.append([p.grad.clone() for p in model.parameters() if p.requires_grad])
            seen.append(by_hand(model, right)[1])

    schedule = SupervisedSchedule(epochs=6, batch_size=4, learning_rate=1e-3)
    train_on_examples(base, rows, schedule, who="x", seed=0, callbacks=[Spy(), protect, Spy()])
    record, conflicts = protect.to_record(), 0
    for step in range(6):
        before, other, after, _ = seen[4 * step : 4 * step + 4]
        product, size = dot(before, other), dot(other, other)
        assert record["cosine"][step] == pytest.approx(product / (dot(before, before) * size) ** 0.5, abs=1e-4)
        if product >= 0:
            assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
            continue
        conflicts += 1
        wanted = [g - (product / size) * p for g, p in zip(before, other, strict=True)]
        for mine, hand in zip(after, wanted, strict=True):
            torch.testing.assert_close(mine, hand, atol=1e-5, rtol=1e-3)
        assert abs(dot(after, other)) < 1e-3 * (dot(after, after) * size) ** 0.5, "nothing is left against it"
        assert dot(after, after) < dot(before, before) <= 1 + 1e-4, "clipped before, shorter after"
    assert record["conflicts"] == conflicts
    assert 0 < conflicts < record["steps"] == 6


def test_protection_is_charged_and_changes_the_training() -> None:
    base = tiny_model("qwen2")
    config = SFT(demonstrations=8, epochs=2, batch_size=4, learning_rate=1e-3)
    plain = config.fit(base, TASK, seed=0, needs={})
    guarded = SFT(**{**vars(config), "protect": CHAINS, "protect_problems": 3}).fit(base, TASK, seed=0, needs={})
    record, train_ = guarded.record["protect"], guarded.record["train"]
    task = bind_described_task(base, CHAINS, "x")
    shown = [example(base, p.prompt, task.worked(p) or "", who="x") for p in task.problems("train", 3, seed=1)]
    passed = sum(len(row.prompt) + len(row.completion) for row in shown) * 4
    assert train_["tokens"] == plain.record["train"]["tokens"] + passed
    assert train_["labels"] == 8 + 3
    assert train_["flops"] > plain.record["train"]["flops"]
    same = all(torch.equal(value, _tensors(guarded)[name]) for name, value in _tensors(plain).items())
    assert same == (record["conflicts"] == 0)
