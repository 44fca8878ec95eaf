"""Supervised training on completions, shared by fine-tuning on solutions and on critiques.

1. The order of examples is fixed before training starts: a permutation per epoch, by (seed, epoch). The number of
   completion tokens in each batch is therefore known in advance, and training can be cut to a number of them.
2. TRL's `SFTTrainer` processes the ids given here in that order. Labels are the completion's ids; those of the prompt
   are -100, so that the loss is the mean over completion tokens.
3. A batch is one step whatever its size: it is split into passes that fit into memory (`passes`), and its loss is the
   mean over all its completion tokens. A bfloat16 base computes in bfloat16, with trained values in float32.
4. With a scratch folder, a checkpoint is written every minute; the same call resumes from the last complete one and
   gives the same weights.
5. A loss that is not finite ends training at the step at which it is logged.
6. Several processes (`world`) share the rows of each batch: the same steps, and the same loss up to rounding. An
   adapter is on every process (data parallel); full weights are cut into shards (`sharding`).
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
from elicit.training.resume import name_training
from elicit.training.sharding import shard_model
from elicit.training.supervised_run import Example, run_supervised_training
from elicit.training.token_loss import exclude_unassigned_rows
from elicit.training.world import check_launcher, get_world
from elicit.weights import Weights

__all__ = ["Example", "SupervisedSchedule", "SupervisedResult", "example", "plan_batches", "train_on_examples"]


@dataclass(frozen=True)
class SupervisedSchedule:
    """Trained parameters, duration and learning rate."""

    parameters: str = "all"
    """A key of `elicit.training.groups.GROUPS`, or "all"."""
    lora_rank: int | None = None
    lora_alpha: float | None = None
    lora_dropout: float = 0.0
    """Options of the adapter (`elicit.training.groups.Lora`), if there is a rank."""
    epochs: float = 10.0
    """Passes over the examples, unless `completion_tokens` is given."""
    completion_tokens: int | None = None
    """Train on this many completion tokens, as closely as whole batches allow."""
    batch_size: int = 8
    learning_rate: float | None = None
    """Peak rate; warm-up over a tenth of the steps (none below 10 steps), then linear decay. None: 2e-4 for LoRA, else
    1e-3 under 5 M parameters and 1e-5 above."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass: less memory, a third more time. None: if the longest row needs it.
    """

    @property
    def lora(self) -> Lora | None:
        return None if self.lora_rank is None else Lora(self.lora_rank, self.lora_alpha, self.lora_dropout)


class SupervisedResult(NamedTuple):
    """Result of a training."""

    weights: Weights
    curve: list[dict[str, Any]]
    """One entry per logged step: step, loss, learning_rate, grad_norm."""
    steps: int
    tokens: int
    """Tokens in training passes, including prompts and repetitions."""
    completion_tokens: int
    """Tokens with a label."""
    learning_rate: float
    checkpoints: Mapping[int, PolicyDelta]
    """Changes after the requested steps, except the last. Loaded on access."""

    @property
    def trail(self) -> CheckpointHistory:
        """Checkpoint history for the resulting policy."""
        return CheckpointHistory(PolicyDelta(self.weights), self.checkpoints)

    def to_record(self, base: BaseModel, *, labels: int, teacher_tokens: int) -> dict[str, Any]:
        """Describe the training for a policy's record.

        Args:
            labels: number of problems whose right answer was used.
            teacher_tokens: distinct tokens from a teacher (solutions, critiques; not bare answers).
        """
        total = sum(p.numel() for p in base.hf.parameters())
        return {
            "train": {
                # 2 FLOPs per weight and token forward, 2 backward to activations, 2 to trained weights.
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
    """Encode a row of ids, closed by the token that ends an answer to this prompt (`ends.end_of`).

    Args:
        who: name of the method, for messages.

    Raises:
        ElicitError: the text has characters that the tokenizer cannot encode (training would see "unknown"), the model
            lacks an end token, or the row is longer than its positions.
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
        scratch: a folder for checkpoints, from which an interrupted call resumes.
        checkpoints: steps after which to keep a copy of what is trained (`checkpoint_callback`).
        callbacks: may observe or change the training: transformers passes the model, the optimizer and the state.
        identity: further inputs that determine the result, in addition to examples, schedule and seed: the effects of
            callbacks.

    Raises:
        ElicitError: a checkpoint is requested after the last step.
        TrainingFailed: the loss is not finite.
    """
    check_launcher()
    batches = plan_batches(examples, schedule, seeds.derive_small_seed("sft", seed))
    check_within(who, checkpoints, len(batches))
    rate = schedule.learning_rate or default_learning_rate(base, schedule.lora, small=1e-3, large=1e-5, adapter=2e-4)
    trainable_model = make_trainable(base, group=schedule.parameters, lora=schedule.lora, seed=seed)
    if get_world().size > 1 and schedule.lora is None:
        shard_model(trainable_model.hf)
    name = name_training(_hash_supervised_training(base, examples, batches, schedule, rate, seed, identity))
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
    """Plan the examples of each step. All batches are full, except the last when `epochs` ends the training.

    A batch is never larger than the set of examples, so that no example is in it twice.
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
        # The last batch is included if it brings the sum closer to the requested number.
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
    """Hash everything that determines the training, so that it never resumes from a checkpoint of another one."""
    of_base, numbers = [base.weights_sha256, str(base.dtype)], [schedule.parameters, schedule.lora, rate, seed]
    parts = [*of_base, examples, batches, *numbers, *map(str, rest)]
    return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()
