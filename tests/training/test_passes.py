"""A step in several passes is the same step: the same loss, the same gradient, less memory."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from hypothesis import given
from hypothesis import strategies as st
from trl.trainer import utils

from elicit.methods.finetuning.sft import SFT
from elicit.model import BaseModel
from elicit.tasks import get
from elicit.training import parameters, passes
from elicit.training.groups import Lora
from elicit.training.parameters import make_trainable
from elicit.training.passes import PassLimits, choose_pass_limits, split_into_passes
from elicit.training.rewards import Rollout
from tests.support.models import tiny_model
from tests.training.support import tiny_training, untouched

TASK = get("addition")


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=20),
    tokens=st.integers(40, 400),
    rows=st.none() | st.integers(1, 6),
    kinds=st.integers(1, 3),
)
def test_every_row_is_in_one_pass_within_the_limits(
    lengths: list[int], tokens: int, rows: int | None, kinds: int
) -> None:
    together = [length % kinds for length in lengths]
    found = split_into_passes(lengths, PassLimits(tokens, rows), together)
    assert sorted(row for group in found for row in group) == list(range(len(lengths)))
    for group in found:
        assert len(group) * max(lengths[i] for i in group) <= tokens
        assert len(group) <= (rows or len(lengths))
        assert len({together[i] for i in group}) == 1
    if len(found) == 1:
        assert found[0] == list(range(len(lengths))), "what fits into one pass goes as it is"
    # No two neighbours of a kind would have fitted together: longer rows come later.
    for first, second in itertools.pairwise(found):
        if together[first[0]] == together[second[0]]:
            longer = (len(first) + 1) * lengths[second[0]]
            assert longer > tokens or len(first) == rows


class Watch:
    """The batches whose loss was computed, and with what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: Any, name: str) -> None:
        self.shapes: list[tuple[int, int]] = []
        compute = getattr(kind, name)

        def watched(this: Any, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
            names = ["input_ids"] if "input_ids" in inputs else ["prompt_ids", "completion_ids"]
            self.shapes.append((len(inputs[names[0]]), sum(inputs[part].shape[1] for part in names)))
            return compute(this, model, inputs, *args, **options)

        monkeypatch.setattr(kind, name, watched)


def _budget(base: BaseModel, tokens: int) -> int:
    return tokens * passes.activation_bytes_per_token(base.hf)


@pytest.mark.parametrize("options", [{}, {"lora_rank": 2}], ids=str)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_supervised_training_in_passes_is_that_of_whole_batches(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], checkpointing: bool
) -> None:
    """Rows of different lengths: a mean over passes would not be the mean over tokens."""
    base = tiny_model("qwen3")
    config = SFT(demonstrations=12, epochs=2, batch_size=6, learning_rate=3e-3, **options)
    watch = Watch(monkeypatch, trl.SFTTrainer, "compute_loss")
    whole = config.fit(base, TASK, seed=0, needs={})
    assert [rows for rows, _ in watch.shapes] == [6] * 4
    longest = max(width for _, width in watch.shapes)
    watch.shapes.clear()
    monkeypatch.setattr(passes, "CPU_BUDGET", _budget(base, 2 * longest))
    wanted = SFT(**{**vars(config), "checkpointing": checkpointing})
    if checkpointing:
        monkeypatch.setattr(passes, "choose_pass_limits", lambda *_, **__: PassLimits(2 * longest, None, True))
        monkeypatch.setattr("elicit.training.supervised.choose_pass_limits", passes.choose_pass_limits)
    pieces = wanted.fit(base, TASK, seed=0, needs={})
    assert len(watch.shapes) > 8
    assert max(rows * width for rows, width in watch.shapes) <= 2 * longest
    assert min(width for _, width in watch.shapes) < longest, "passes are padded to their own longest row"
    assert whole.weights is not None
    assert pieces.weights is not None
    for name, value in whole.weights.tensors.items():  # type: ignore[attr-defined]
        torch.testing.assert_close(pieces.weights.tensors[name], value, atol=3e-5, rtol=1e-3)  # type: ignore[attr-defined]
    losses = [[entry["loss"] for entry in policy.record["curve"]] for policy in (whole, pieces)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    norms = [[entry["grad_norm"] for entry in policy.record["curve"]] for policy in (whole, pieces)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


@pytest.mark.parametrize("rows", [3, 5])
def test_rollouts_in_passes_are_those_of_one(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """What has no advantage is left out, and nothing else changes: not the loss, the gradient or the weights."""
    base = tiny_model("qwen2")
    watch = Watch(monkeypatch, trl.GRPOTrainer, "_compute_loss")

    def reward(rollout: Rollout) -> float:  # one problem of each step is settled
        return 0.0 if int(rollout.problem.id[-1], 16) % 3 == 0 else float("e" in rollout.text or rollout.sample == 0)

    whole = tiny_training(base, reward=reward, lora_rank=2, learning_rate=1e-2)
    assert [shape[0] for shape in watch.shapes] == [12] * 3
    watch.shapes.clear()
    pieces = tiny_training(base, reward=reward, lora_rank=2, learning_rate=1e-2, rows=rows)
    settled = [entry["zero_variance"] for entry in whole.training.curve]
    assert 0 < sum(settled) < 3
    live = round(sum(12 * (1 - share) for share in settled))
    assert sum(count for count, _ in watch.shapes) == live
    assert max(count for count, _ in watch.shapes) <= rows
    assert 0 < pieces.training.tokens < whole.training.tokens
    for name, value in whole.values.items():
        torch.testing.assert_close(pieces.values[name], value, atol=1e-5, rtol=1e-3)
    for one, other in zip(whole.training.curve, pieces.training.curve, strict=True):
        for key in ("loss", "grad_norm", "reward", "length", "correct"):
            assert other[key] == pytest.approx(one[key], rel=1e-3, abs=1e-6), key


def test_memory_decides_and_recomputes_as_a_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_model("llama")
    token = passes.activation_bytes_per_token(base.hf)
    monkeypatch.setattr(passes, "CPU_BUDGET", 100 * token)
    assert choose_pass_limits(base.hf, 100) == PassLimits(100, None, False)
    assert choose_pass_limits(base.hf, 60, rows=4) == PassLimits(100, 4, False)
    longer = choose_pass_limits(base.hf, 101)
    assert longer.checkpointing
    assert longer.tokens > 101, "what is recomputed need not be kept"
    assert choose_pass_limits(base.hf, 10, checkpointing=True).tokens == longer.tokens
    assert choose_pass_limits(base.hf, 101, checkpointing=False) == PassLimits(101, None, False), "a row cannot be cut"


def test_logits_of_labelled_positions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: the head of a large model is not asked about prompts, and the loss stays the same."""
    base, config = tiny_model("qwen3"), SFT(demonstrations=4, epochs=1, batch_size=4, lora_rank=2)
    scored: list[int] = []
    function = utils._ChunkedLogProbFunction

    class Spy:
        @staticmethod
        def apply(hidden: torch.Tensor, *args: Any) -> Any:
            scored.append(len(hidden))
            return function.apply(hidden, *args)

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", Spy)
    plain = config.fit(base, TASK, seed=0, needs={})
    monkeypatch.setattr(parameters, "SMALL", 1)
    alone = config.fit(base, TASK, seed=0, needs={})
    assert scored[1] == plain.record["train"]["completion_tokens"] < scored[0]
    assert alone.record["curve"][0]["loss"] == pytest.approx(plain.record["curve"][0]["loss"], rel=1e-5)
    assert not utils._use_triton(torch.device("cpu")), "the trainer's own choice is back"


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_a_bfloat16_base_trains_a_float32_adapter_and_stays_as_it_was(
    method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Bit by bit, also when the training is interrupted in the middle of a backward pass."""
    base = tiny_model("qwen2")
    base.hf.to(torch.bfloat16)
    before, bits = untouched(base), {n: p.view(torch.uint8).clone() for n, p in base.hf.named_parameters()}
    seen: set[torch.dtype] = set()
    linear = torch.nn.functional.linear

    def watched(x: torch.Tensor, weight: torch.Tensor, *args: Any) -> torch.Tensor:
        out = linear(x, weight, *args)
        if torch.is_grad_enabled() and out.requires_grad:
            seen.add(out.dtype)
        return out

    def run() -> Any:
        if method == "sft":
            return SFT(demonstrations=4, epochs=2, lora_rank=2).fit(base, TASK, seed=0, needs={}).weights
        return tiny_training(base, lora_rank=2, steps=2).copied.extract_weights()

    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.functional, "linear", watched)
        weights = run()
    assert {t.dtype for t in weights.tensors.values()} == {torch.float32}
    assert seen == {torch.bfloat16}
    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "backward", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert untouched(base) == before
    assert all(torch.equal(p.view(torch.uint8), bits[n]) for n, p in base.hf.named_parameters())


def _interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_an_adapter_takes_no_memory_for_weights() -> None:
    base = tiny_model("llama")
    base.hf.to(torch.bfloat16)
    adapted = make_trainable(base, lora=Lora(2, dropout=0.1))
    own = {p.data_ptr() for p in base.hf.parameters()}
    frozen = [p for p in adapted.model.parameters() if not p.requires_grad]
    assert {p.data_ptr() for p in frozen} == own
    assert not {id(p) for p in frozen} & {id(p) for p in base.hf.parameters()}
    base.hf.to(torch.float16)
    assert {p.dtype for p in make_trainable(base, lora=Lora(2)).model.parameters()} == {torch.float32}
