"""Supervised training on completions: the loop that fine-tuning on solutions and on critiques share.

1. The order of examples is fixed before training starts: a permutation per epoch, by (seed, epoch). So it is known in
   advance which batches hold how many completion tokens, and training can be cut to a number of them.
2. TRL's `SFTTrainer` runs through that order on the ids given here. Labels are the completion's ids; those of the
   prompt are -100, so that the loss is the mean over completion tokens.
3. A batch is one step whatever its size: it goes through in passes that fit into memory (`passes`), and its loss is the
   mean over all its completion tokens. A bfloat16 base computes in bfloat16, with what is trained in float32.
4. With a scratch folder, a checkpoint is written every minute; the same call goes on from the last whole one
   and ends in the same weights.
5. A loss that is no number ends training at the step where it is logged.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback

from elicit import seeds
from elicit.checkpoints import CheckpointHistory, PolicyDelta
from elicit.context import check_text_fits
from elicit.errors import ElicitError, one_line
from elicit.loading.vocabulary import find_missing_characters
from elicit.model import BaseModel
from elicit.training.checkpoint_callback import SnapshotCallback
from elicit.training.ends import end_of
from elicit.training.failures import check_within
from elicit.training.groups import Lora
from elicit.training.parameters import default_learning_rate, make_trainable
from elicit.training.passes import choose_pass_limits, restrict_head_to_labels
from elicit.training.supervised_run import Example, run_supervised_training
from elicit.training.token_loss import exclude_unassigned_rows
from elicit.weights import Weights

__all__ = ["Example", "SupervisedSchedule", "SupervisedResult", "example", "plan_batches", "train_on_examples"]


@dataclass(frozen=True)
class SupervisedSchedule:
    """What is trained, how long and how fast."""

    parameters: str = "all"
    """A key of `elicit.training.groups.GROUPS`, or "all"."""
    lora_rank: int | None = None
    lora_alpha: float | None = None
    lora_dropout: float = 0.0
    """The adapter's numbers (`elicit.training.groups.Lora`), where there is a rank."""
    epochs: float = 10.0
    """Passes over the examples, unless `completion_tokens` decides."""
    completion_tokens: int | None = None
    """Train on this many completion tokens: as near as whole batches come to it."""
    batch_size: int = 8
    learning_rate: float | None = None
    """Peak rate; warm-up over a tenth of the steps (none below 10 steps), then linear decay. None: 2e-4 for LoRA, else
    1e-3 under 5 M parameters and 1e-5 above."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass: less memory, a third more time. None: where the longest row needs it.
    """

    @property
    def lora(self) -> Lora | None:
        return None if self.lora_rank is None else Lora(self.lora_rank, self.lora_alpha, self.lora_dropout)


class SupervisedResult(NamedTuple):
    """The outcome of a training."""

    weights: Weights
    curve: list[dict[str, Any]]
    """One entry per logged step: step, loss, learning_rate, grad_norm."""
    steps: int
    tokens: int
    """Tokens trained on, prompts and repetitions included."""
    completion_tokens: int
    """Those with a label."""
    learning_rate: float
    checkpoints: Mapping[int, PolicyDelta]
    """What training had made after the steps that were asked for, the last one left out. Read when asked for."""

    @property
    def trail(self) -> CheckpointHistory:
        """For the policy that is made of it."""
        return CheckpointHistory(PolicyDelta(self.weights), self.checkpoints)

    def to_record(self, base: BaseModel, *, labels: int, teacher_tokens: int) -> dict[str, Any]:
        """What a policy's record says of the training.

        Args:
            labels: problems whose right answer was used.
            teacher_tokens: distinct tokens that somebody else wrote for it (solutions, critiques; not bare answers).
        """
        total = sum(p.numel() for p in base.hf.parameters())
        return {
            "train": {
                # 2 FLOPs per weight and token forward, 2 backward to activations, 2 to the weights that are trained.
                "flops": self.tokens * (4 * total + 2 * min(self.weights.parameters, total)),
                "tokens": self.tokens,
                "completion_tokens": self.completion_tokens,
                "steps": self.steps,
                "labels": labels,
                "teacher_tokens": teacher_tokens,
                "generated_tokens": 0,
            },
            "learning_rate": self.learning_rate,
            "trained_values": self.weights.parameters,
            "curve": self.curve,
        }


def example(base: BaseModel, prompt: str, completion: str, *, who: str) -> Example:
    """A row of ids, closed by the token that ends an answer to this prompt (`ends.end_of`).

    Args:
        who: the method that asks, for the message.

    Raises:
        ElicitError: text with characters that the tokenizer does not know: they would be trained on as "unknown"; a
            model without an end token; a row beyond its positions.
    """
    ids = base.encode_pair(prompt, completion)
    for text in (prompt, completion):
        if strange := find_missing_characters(base.tokenizer, [text])[0]:
            raise ElicitError(
                f"{who}: the tokenizer of {base.name} lacks a token for {strange[0]!r} in {one_line(repr(text), 80)}. "
                "Write the text in characters that the model knows."
            )
    row = Example(ids.prompt, (*ids.completion, end_of(base, prompt, who=who)))
    check_text_fits(len(row.prompt) + len(row.completion), base.context_length, model=base.name, who=who)
    return row


def train_on_examples(
    base: BaseModel,
    examples: Sequence[Example],
    schedule: SupervisedSchedule,
    *,
    who: str,
    seed: int,
    scratch: Path | None = None,
    checkpoints: Collection[int] = (),
    callbacks: Sequence[TrainerCallback] = (),
    identity: Sequence[object] = (),
) -> SupervisedResult:
    """Train a copy of `base` on the completions of `examples`.

    Args:
        who: the method's name: part of the random numbers' identity and of messages.
        scratch: a folder for checkpoints, which outlives an interrupted call.
        checkpoints: steps after which to keep a copy of what is trained (`snapshots`).
        callbacks: watch or change the training: transformers gives each the model, the optimizer and the state.
        identity: what else, beside examples, schedule and seed, decides the result: what callbacks change.

    Raises:
        ElicitError: a checkpoint after a step that the training does not have.
        TrainingFailed: a loss that is no number.
    """
    batches = plan_batches(examples, schedule, seeds.derive_small_seed("sft", seed))
    check_within(who, checkpoints, len(batches))
    rate = schedule.learning_rate or default_learning_rate(base, schedule.lora, small=1e-3, large=1e-5, adapter=2e-4)
    trainable_model = make_trainable(base, group=schedule.parameters, lora=schedule.lora, seed=seed)
    name = _hash_supervised_training(base, examples, batches, schedule, rate, seed, identity)
    example_batches = [[examples[i] for i in batch] for batch in batches]
    longest = max(len(row.prompt) + len(row.completion) for row in examples)
    passes = choose_pass_limits(trainable_model.hf, longest, checkpointing=schedule.checkpointing)
    before = [step for step in checkpoints if step < len(batches)]
    snapshots = SnapshotCallback(
        before, lambda: PolicyDelta(trainable_model.extract_weights()), identity=name, scratch=scratch
    )
    with restrict_head_to_labels(trainable_model.hf), exclude_unassigned_rows(base.unassigned_ids):
        curve = run_supervised_training(
            trainable_model, base, example_batches, passes, rate, name, who, scratch, callbacks, snapshots
        )
    seen = [examples[i] for batch in batches for i in batch]
    completion_tokens = sum(len(row.completion) for row in seen)
    tokens = completion_tokens + sum(len(row.prompt) for row in seen)
    weights, saved_checkpoints = trainable_model.extract_weights(), snapshots.collect_checkpoints(len(batches))
    return SupervisedResult(weights, curve, len(batches), tokens, completion_tokens, rate, saved_checkpoints)


def plan_batches(examples: Sequence[Example], schedule: SupervisedSchedule, seed: int) -> list[list[int]]:
    """Which examples make up each step. All batches are full, but for the last where `epochs` ends it.

    A batch is never larger than the examples, so that no example is in it twice.
    """
    size = min(schedule.batch_size, len(examples))
    order = _iterate_epochs(len(examples), seed)
    if schedule.completion_tokens is None:
        rows = list(itertools.islice(order, max(1, round(len(examples) * schedule.epochs))))
        return [rows[i : i + size] for i in range(0, len(rows), size)]
    batches: list[list[int]] = []
    seen = 0
    while True:
        batch = list(itertools.islice(order, size))
        more = sum(len(examples[i].completion) for i in batch)
        # The last batch is taken if it brings the sum nearer to what was asked for.
        if batches and abs(seen + more - schedule.completion_tokens) >= abs(seen - schedule.completion_tokens):
            return batches
        batches.append(batch)
        seen += more


def _iterate_epochs(count: int, seed: int) -> Iterator[int]:
    for epoch in itertools.count():
        yield from torch.randperm(count, generator=torch.Generator().manual_seed(seed + epoch)).tolist()


def _hash_supervised_training(
    base: BaseModel,
    examples: Sequence[Example],
    batches: list[list[int]],
    schedule: SupervisedSchedule,
    rate: float,
    seed: int,
    rest: Sequence[object],
) -> str:
    """Everything that decides the training: a checkpoint of another one is not gone on from."""
    of_base, numbers = [base.weights_sha256, str(base.dtype)], [schedule.parameters, schedule.lora, rate, seed]
    parts = [*of_base, examples, batches, *numbers, *map(str, rest)]
    return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()
