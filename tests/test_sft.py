"""Supervised fine-tuning trains on exactly the ids we sample with, on completions only, and never touches the base."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from hypothesis import given
from hypothesis import strategies as st

from elicit.errors import ElicitError
from elicit.methods.finetuning.sft import SFT
from elicit.model import BaseModel, load
from elicit.organisms.recipes import EARLY
from elicit.tasks import Task, get
from elicit.tasks.generated.corruption import corrupt_solution
from elicit.training import TrainingFailed, supervised_run
from elicit.training.supervised import Example, SupervisedSchedule, plan_batches
from elicit.weights import Adapter, FullWeights
from tests.support.models import tiny_model

TASK = get("addition")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, torch.Tensor], float]]:
    """Every batch the trainer computed a loss for, with that loss."""
    batches: list[tuple[dict[str, torch.Tensor], float]] = []
    compute = trl.SFTTrainer.compute_loss

    def recorded(self: Any, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **options: Any) -> Any:
        copied = {name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)}
        result = compute(self, model, inputs, *args, **options)
        batches.append((copied, float((result[0] if isinstance(result, tuple) else result).detach())))
        return result

    monkeypatch.setattr(trl.SFTTrainer, "compute_loss", recorded)
    return batches


def _expected(base: BaseModel, task: Task, n: int, seed: int, *, supervision: str) -> Counter[tuple[Any, ...]]:
    """(ids, labels) as they should be, written out by hand."""
    rows = []
    for problem in task.problems("train", n, seed=seed + 1):
        solution = getattr(task, supervision)(problem)
        prompt, completion = base.encode(problem.prompt), base.continuation(solution or "")
        end = base.tokenizer.eos_token_id
        rows.append(((*prompt, *completion, end), (*[-100] * len(prompt), *completion, end)))
    return Counter(rows)


def _rows(batch: dict[str, torch.Tensor]) -> list[tuple[Any, ...]]:
    """(ids, labels) of a batch without its padding, which must carry no label."""
    found = []
    for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        assert set(labels[mask == 0].tolist()) <= {-100}
        found.append((tuple(ids[mask == 1].tolist()), tuple(labels[mask == 1].tolist())))
    return found


@pytest.mark.parametrize("source", ["cued", "llama", "gpt2"])
@pytest.mark.parametrize("supervision", ["worked", "direct", "theorem"])
def test_trains_on_the_ids_it_is_sampled_with(
    seen: list[tuple[dict[str, torch.Tensor], float]], source: str, supervision: Any
) -> None:
    base = load("cued") if source == "cued" else tiny_model(source)
    for module in base.hf.modules():
        if isinstance(module, torch.nn.Dropout):  # GPT-2 trains with dropout, so its losses are not those of scoring
            module.p = 0.0
    config = SFT(demonstrations=6, supervision=supervision, epochs=2, batch_size=4)
    config.fit(base, TASK, seed=5, needs={})
    once = _expected(base, TASK, 6, 5, supervision=supervision)
    assert Counter(row for batch, _ in seen for row in _rows(batch)) == once + once
    # What the first batch cost, computed with our own scorer: the mean over completion tokens.
    first, loss = seen[0]
    logprobs = [value for row in _rows(first) for value in _scored(base, row)]
    assert loss == pytest.approx(-sum(logprobs) / len(logprobs), rel=1e-4)


def _scored(base: BaseModel, row: tuple[Any, ...]) -> list[float]:
    """log p of a row's labelled tokens, by a plain forward pass over one sequence."""
    ids, labels = row
    with torch.no_grad():
        table = base.hf(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return [float(table[i - 1, label]) for i, label in enumerate(labels) if label != -100]


def _snapshot(base: BaseModel) -> dict[str, Any]:
    return {
        "tensors": {name: tensor.clone() for name, tensor in base.hf.state_dict().items()},
        "identity": {name: (id(p), p.requires_grad, p.grad) for name, p in base.hf.named_parameters()},
        "attributes": {name: sorted(vars(module)) for name, module in base.hf.named_modules()},
        "modules": [(name, type(module), module.training) for name, module in base.hf.named_modules()],
        "config": base.hf.config.to_dict(),
        "generation": base.hf.generation_config.to_dict(),
        "tokenizer": repr(base.tokenizer),
        "padding": (base.tokenizer.padding_side, base.tokenizer.truncation_side, base.tokenizer.model_max_length),
        "encoding": base.tokenizer(["Q:1+1\nA:", "Q:47+38\nA:"], padding=True)["input_ids"],
    }


@pytest.mark.parametrize("options", [{}, {"parameters": "attn"}, {"lora_rank": 2}], ids=str)
def test_leaves_the_base_untouched(options: dict[str, Any]) -> None:
    base = tiny_model("qwen3")
    before = _snapshot(base)
    policy = SFT(demonstrations=4, epochs=3, learning_rate=0.05, **options).fit(base, TASK, seed=0, needs={})
    after = _snapshot(base)
    assert policy.weights is not None
    assert before["tensors"].keys() == after["tensors"].keys()
    for name, tensor in before["tensors"].items():
        assert torch.equal(tensor, after["tensors"][name]), name
    del before["tensors"], after["tensors"]
    assert before == after


@pytest.mark.parametrize(("group", "part"), [("mlp", ".mlp."), ("attn", ".self_attn.")])
def test_only_the_chosen_parameters_change(group: Any, part: str) -> None:
    base = tiny_model("qwen3")
    own = dict(base.hf.named_parameters())
    full = SFT(demonstrations=4, epochs=3, learning_rate=0.01, parameters=group).fit(base, TASK, seed=0, needs={})
    assert isinstance(full.weights, FullWeights)
    assert set(full.weights.tensors) == {name for name in own if part in name}
    assert all(not torch.equal(tensor, own[name]) for name, tensor in full.weights.tensors.items())
    lora = SFT(demonstrations=4, epochs=1, parameters=group, lora_rank=2).fit(base, TASK, seed=0, needs={})
    assert isinstance(lora.weights, Adapter)
    assert all(part in name for name in lora.weights.tensors)


@pytest.mark.parametrize("source", ["llama", "qwen3", "gpt_neox", "gpt2"])
def test_embeddings_alone(source: str) -> None:
    """Tied or not: what reads token ids in and what writes logits changes, and nothing else does."""
    base = tiny_model(source)
    tables = {id(base.hf.get_input_embeddings().weight), id(base.hf.get_output_embeddings().weight)}
    if source == "gpt2":
        tables.add(id(base.hf.transformer.wpe.weight))  # learned positions are looked up like tokens
    wanted = {name for name, p in base.hf.named_parameters() if id(p) in tables}
    assert len(wanted) == {"llama": 2, "qwen3": 1, "gpt_neox": 2, "gpt2": 2}[source]
    config = SFT(demonstrations=4, epochs=3, learning_rate=0.01, parameters="embeddings")
    policy = config.fit(base, TASK, seed=0, needs={})
    assert isinstance(policy.weights, FullWeights)
    own = dict(base.hf.named_parameters())
    assert {n for n, t in policy.weights.tensors.items() if not torch.equal(t, own[n])} == wanted
    assert set(policy.weights.tensors) == wanted
    # Switched on, the change is felt: at the logits too where the two tables are one.
    prompts, texts = ["Q:1+2"], ["3"]
    assert policy.score(prompts, texts) != base.score(prompts, texts)


def test_no_adapter_on_embeddings() -> None:
    with pytest.raises(ElicitError, match=r"^sft: a LoRA adapter cannot be put on embeddings\."):
        SFT(parameters="embeddings", lora_rank=4)


def test_the_seed_decides_and_learning_happens() -> None:
    base = load("cued")
    config = SFT(demonstrations=8, epochs=10, batch_size=8)
    first, again, other = (config.fit(base, TASK, seed=seed, needs={}) for seed in (0, 0, 1))
    assert first.sha256 == again.sha256 != other.sha256
    losses = [entry["loss"] for entry in first.record["curve"]]
    assert losses[-1] < losses[0] / 2
    problems = TASK.problems("train", 8, seed=1)
    prompts, worked = [p.prompt for p in problems], [str(TASK.worked(p)) for p in problems]
    assert _total(first.score(prompts, worked)) > _total(base.score(prompts, worked)) + 1


def _total(scores: list[list[float]]) -> float:
    return sum(map(sum, scores))


def test_demonstrations_come_from_train_and_the_seed_picks_them(
    seen: list[tuple[dict[str, torch.Tensor], float]],
) -> None:
    base, told = load("cued"), []
    for seed in (0, 1):
        seen.clear()
        SFT(demonstrations=8, epochs=1).fit(base, TASK, seed=seed, needs={})
        told.append({row for batch, _ in seen for row in _rows(batch)})
    assert told[0] != told[1]
    held_out = {base.encode(p.prompt) for split in ("select", "test") for p in TASK.problems(split, 300)}  # type: ignore[arg-type]
    for ids, labels in told[0] | told[1]:
        assert tuple(ids[: labels.count(-100)]) not in held_out


def test_a_loss_that_is_no_number_is_a_fault() -> None:
    said = r"^sft: the loss is nan at step \d+ of 30\. Lower learning_rate \(it is 1e\+30\)\.$"
    with pytest.raises(TrainingFailed, match=said):
        SFT(demonstrations=4, epochs=30, learning_rate=1e30).fit(tiny_model(), TASK, seed=0, needs={})


def test_what_the_task_lacks_is_said(tmp_path: Path) -> None:
    path = tmp_path / "bare.jsonl"
    path.write_text("".join(f'{{"prompt": "{i}+1=", "answer": "{i + 1}"}}\n' for i in range(40)))
    bare = get("jsonl", path=str(path))
    with pytest.raises(ElicitError, match=r"lacks a worked solution\. Use supervision: direct, or add `worked`"):
        SFT(demonstrations=4).fit(tiny_model(), bare, seed=0, needs={})
    policy = SFT(demonstrations=4, supervision="direct", epochs=1).fit(tiny_model(), bare, seed=0, needs={})
    assert policy.weights is not None
    with pytest.raises(ElicitError, match=r"split 'train': 400 different problems were asked for, but only"):
        SFT(demonstrations=400).fit(tiny_model(), bare, seed=0, needs={})


def test_the_cost_on_record() -> None:
    """6 FLOPs per weight and token where everything is trained; every token of every epoch is counted."""
    base = tiny_model()
    policy = SFT(demonstrations=4, epochs=3).fit(base, TASK, seed=0, needs={})
    rows = _expected(base, TASK, 4, 0, supervision="worked")
    tokens = 3 * sum(len(ids) * count for (ids, _), count in rows.items())
    size = sum(p.numel() for p in copy.deepcopy(base.hf).parameters())
    train = policy.record["train"]
    assert (train["tokens"], train["labels"]) == (tokens, 4)
    assert math.isclose(train["flops"], 6 * size * tokens)


def test_one_step_is_a_step() -> None:
    """A schedule that warms up from 0 would make the first step nothing."""
    model, task = load("cued"), get("addition")
    policy = SFT(demonstrations=8, batch_size=8, epochs=1).fit(model, task, seed=0, needs={})
    assert policy.weights is not None
    own = dict(model.hf.named_parameters())
    assert any(not torch.equal(tensor, own[name]) for name, tensor in policy.weights.tensors.items())  # type: ignore[attr-defined]


def test_theorem_solutions_may_be_answered_at_length() -> None:
    base = load("cued")
    policy = SFT(demonstrations=4, supervision="theorem", epochs=1).fit(base, TASK, seed=0, needs={})
    longest = max(len(base.continuation(str(TASK.theorem(p)))) + 1 for p in TASK.problems("train", 4, seed=1))
    assert policy.decoding.max_new_tokens == policy.record["max_new_tokens"] == longest * 3 // 2 > TASK.max_new_tokens


@pytest.mark.parametrize("supervision", ["swapped", "shuffled", "filler", "random"])
def test_corrupted_traces_are_what_is_trained_on(
    seen: list[tuple[dict[str, torch.Tensor], float]], supervision: Any
) -> None:
    """The rows are the corrupted texts, as long as the worked ones, and the record says what they are."""
    base, task = load("cued"), get("addition", dialect=EARLY)
    policy = SFT(demonstrations=8, supervision=supervision, epochs=1, batch_size=4).fit(base, task, seed=5, needs={})
    drawn = task.problems("train", 8, seed=6)
    texts = [corrupt_solution(task, problem, supervision, seed=5) for problem in drawn]
    end = base.tokenizer.eos_token_id
    completions = [[*base.continuation(text), end] for text in texts]
    prompts = [base.encode(problem.prompt) for problem in drawn]
    rows = {((*p, *c), (*[-100] * len(p), *c)) for p, c in zip(prompts, completions, strict=True)}
    assert {row for batch, _ in seen for row in _rows(batch)} == rows
    assert not set(texts) & {task.worked(problem) for problem in drawn}
    assert [len(c) for c in completions] == [len(base.continuation(str(task.worked(p)))) + 1 for p in drawn]
    assert policy.record["train"]["teacher_tokens"] == sum(map(len, completions))
    assert policy.record["taught"] == {"supervision": supervision, "solutions": 8, "right": 8, "valid": 0}


def test_steps_that_no_program_wrote_are_not_corrupted(tmp_path: Path) -> None:
    path = tmp_path / "filed.jsonl"
    lines = [{"prompt": f"{i}+1=", "answer": str(i + 1), "worked": f"{i}+1={i + 1}"} for i in range(20)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ElicitError, match="its solutions are not written by a program"):
        SFT(demonstrations=2, supervision="shuffled").fit(tiny_model(), get("jsonl", path=str(path)), seed=0, needs={})


def test_characters_the_model_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "strange.jsonl"
    lines = [{"prompt": f"{i}+1=", "answer": str(i + 1), "worked": f"{i} → {i + 1}"} for i in range(20)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    base = load("cued")
    with pytest.raises(ElicitError, match=r"^sft: the tokenizer of cued lacks a token for '→' in '\d+ → \d+'\."):
        SFT(demonstrations=4).fit(base, get("jsonl", path=str(path)), seed=0, needs={})


# --- the loop ----------------------------------------------------------------------------------------------------


def _rows_of(lengths: Sequence[int]) -> list[Example]:
    return [Example((1, 5), tuple(range(4, 4 + n))) for n in lengths]


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    size=st.integers(1, 9),
    wanted=st.integers(1, 500),
    seed=st.integers(0, 2**31),
)
def test_steps_for_a_number_of_tokens(lengths: list[int], size: int, wanted: int, seed: int) -> None:
    """Full batches, every example once an epoch, and no other number of batches comes nearer to the tokens."""
    rows = _rows_of(lengths)
    batches = plan_batches(rows, SupervisedSchedule(completion_tokens=wanted, batch_size=size), seed)
    longer = plan_batches(rows, SupervisedSchedule(completion_tokens=wanted + 1000, batch_size=size), seed)
    assert longer[: len(batches)] == batches
    assert {len(batch) for batch in batches} == {min(size, len(rows))}
    flat = [i for batch in batches for i in batch]
    for start in range(0, len(flat) - len(rows) + 1, len(rows)):
        assert sorted(flat[start : start + len(rows)]) == list(range(len(rows)))
    sums = list(itertools.accumulate(sum(lengths[i] for i in batch) for batch in longer))
    assert abs(sums[len(batches) - 1] - wanted) == min(abs(total - wanted) for total in sums)


def test_steps_for_a_number_of_epochs() -> None:
    rows = _rows_of([3] * 6)
    batches = plan_batches(rows, SupervisedSchedule(epochs=2.5, batch_size=4), 7)
    assert [len(batch) for batch in batches] == [4, 4, 4, 3]
    first = torch.randperm(6, generator=torch.Generator().manual_seed(7)).tolist()
    assert [i for batch in batches for i in batch][:6] == first
    assert [len(batch) for batch in plan_batches(rows, SupervisedSchedule(epochs=2, batch_size=64), 7)] == [6, 6]


class _Killed(Exception):
    pass


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"lora_rank": 2, "lora_dropout": 0.3}, marks=pytest.mark.slow),
        pytest.param({"parameters": "embeddings"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_killed_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    """Killed between two checkpoints, the same call ends in the same weights and the same curve."""
    base, config = tiny_model("qwen3"), SFT(demonstrations=8, epochs=10, batch_size=4, **options)
    whole = config.fit(base, TASK, seed=3, needs={})
    monkeypatch.setattr(supervised_run, "SAVE_SECONDS", 0.0)
    step = trl.SFTTrainer.training_step
    steps: list[int] = []

    def fragile(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(steps) == 13:
            raise _Killed
        steps.append(self.state.global_step)
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(trl.SFTTrainer, "training_step", fragile)
        with pytest.raises(_Killed):
            config.fit(base, TASK, seed=3, needs={}, scratch=tmp_path)
    assert steps == list(range(13))
    torn = tmp_path / "checkpoint-13" / "seal.json"
    torn.unlink()  # the last one was being written
    steps.clear()
    with monkeypatch.context() as patched:
        patched.setattr(trl.SFTTrainer, "training_step", fragile)
        resumed = config.fit(base, TASK, seed=3, needs={}, scratch=tmp_path)
    assert steps == list(range(12, 20))
    assert resumed.sha256 == whole.sha256
    assert resumed.record["curve"] == whole.record["curve"]
    # Another seed is another training: its checkpoints are not taken for this one's.
    other = config.fit(base, TASK, seed=4, needs={}, scratch=tmp_path)
    assert other.sha256 == config.fit(base, TASK, seed=4, needs={}).sha256 != whole.sha256
