"""Supervised training on completions: the loop that fine-tuning on solutions and on critiques share.

1. The order of examples is fixed before training starts: a permutation per epoch, by (seed, epoch). So it is known in
   advance which batches hold how many completion tokens, and training can be cut to a number of them.
2. TRL's `SFTTrainer` runs through that order on the ids given here. Labels are the completion's ids; those of the
   prompt are -100, so that the loss is the mean over completion tokens.
3. A batch is one step whatever its size: it goes through in passes that fit into memory (`passes`), and its loss is the
   mean over all its completion tokens. A bfloat16 base computes in bfloat16, with what is trained in float32.
4. With a scratch folder, a checkpoint is written every `SAVE_SECONDS`; the same call goes on from the last whole one
   and ends in the same weights.
5. A loss that is no number ends training at the step where it is logged.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback

from elicit import runs, seeds
from elicit.errors import ElicitError, one_line
from elicit.model import BaseModel
from elicit.training.checkpoints import Sealer, latest
from elicit.training.ends import end_of
from elicit.training.failures import TrainingFailed
from elicit.training.groups import Lora
from elicit.training.parameters import Trainable, default_rate, trainable
from elicit.training.passes import Passes, in_passes, labels_alone, sized, supervised_pieces
from elicit.training.quiet import quiet
from elicit.weights import Weights

#: Seconds between checkpoints. Shorter trainings write none.
SAVE_SECONDS = 60.0
#: Points of a training curve, at most.
_POINTS = 100


class Example(NamedTuple):
    """One row, tokenised as it is sampled with."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    """End token included."""


@dataclass(frozen=True)
class Schedule:
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


class Trained(NamedTuple):
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

    def record(self, base: BaseModel, *, labels: int, teacher_tokens: int) -> dict[str, Any]:
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
            model without an end token.
    """
    ids = base.encode(prompt), base.continuation(completion)
    for text, some in zip((prompt, completion), ids, strict=True):
        if base.tokenizer.unk_token_id is not None and base.tokenizer.unk_token_id in some:
            strange = next((c for c in text if base.tokenizer.unk_token_id in base.continuation(c)), text)
            raise ElicitError(
                f"{who}: the tokenizer of {base.name} has no token for {strange!r} in {one_line(repr(text), 80)}. "
                "Write the text in characters that the model knows."
            )
    return Example(ids[0], (*ids[1], end_of(base, prompt, who=who)))


def train(
    base: BaseModel,
    examples: Sequence[Example],
    schedule: Schedule,
    *,
    who: str,
    seed: int,
    scratch: Path | None = None,
) -> Trained:
    """Train a copy of `base` on the completions of `examples`.

    Args:
        who: the method's name: part of the random numbers' identity and of messages.
        scratch: a folder for checkpoints, which outlives an interrupted call.

    Raises:
        TrainingFailed: a loss that is no number.
    """
    batches = plan(examples, schedule, seeds.small_seed("sft", seed))
    rate = schedule.learning_rate or default_rate(base, schedule.lora, small=1e-3, large=1e-5, adapter=2e-4)
    copied = trainable(base, group=schedule.parameters, lora=schedule.lora, seed=seed)
    identity = _identity(base, examples, batches, schedule, rate, seed)
    chosen = [[examples[i] for i in batch] for batch in batches]
    longest = max(len(row.prompt) + len(row.completion) for row in examples)
    passes = sized(copied.hf, longest, checkpointing=schedule.checkpointing)
    with labels_alone(copied.hf):
        curve = _run(copied, base, chosen, passes, rate, identity, who, scratch)
    seen = [examples[i] for batch in batches for i in batch]
    completion_tokens = sum(len(row.completion) for row in seen)
    tokens = completion_tokens + sum(len(row.prompt) for row in seen)
    return Trained(copied.weights(), curve, len(batches), tokens, completion_tokens, rate)


def plan(examples: Sequence[Example], schedule: Schedule, seed: int) -> list[list[int]]:
    """Which examples make up each step. All batches are full, but for the last where `epochs` ends it.

    A batch is never larger than the examples, so that no example is in it twice.
    """
    size = min(schedule.batch_size, len(examples))
    order = _endless(len(examples), seed)
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


def _endless(count: int, seed: int) -> Iterator[int]:
    for epoch in itertools.count():
        yield from torch.randperm(count, generator=torch.Generator().manual_seed(seed + epoch)).tolist()


def _identity(
    base: BaseModel, examples: Sequence[Example], batches: list[list[int]], schedule: Schedule, rate: float, seed: int
) -> str:
    """Everything that decides the training: a checkpoint of another one is not gone on from."""
    of_base, numbers = [base.weights_sha256, str(base.dtype)], [schedule.parameters, schedule.lora, rate, seed]
    parts = [*of_base, examples, batches, *numbers]
    return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()


def _run(
    copied: Trainable,
    base: BaseModel,
    batches: list[list[Example]],
    passes: Passes,
    rate: float,
    identity: str,
    who: str,
    scratch: Path | None,
) -> list[dict[str, Any]]:
    """Train in place. Returns the curve."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"input_ids": [*row.prompt, *row.completion], "labels": [-100] * len(row.prompt) + [*row.completion]}
        for batch in batches
        for row in batch
    ]
    with ExitStack() as stack:
        stack.enter_context(quiet())
        folder = scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        arguments = SFTConfig(
            output_dir=str(folder),
            num_train_epochs=1,
            train_sampling_strategy="sequential",
            per_device_train_batch_size=len(batches[0]),
            learning_rate=rate,
            lr_scheduler_type="linear",
            # A warmed-up schedule's first step has rate 0: with few steps that would be a good part of the training.
            warmup_steps=0.1 if len(batches) >= 10 else 0,
            weight_decay=0.0,
            seed=int(identity[:7], 16),  # dropout's, in families that have it
            max_length=None,
            use_cpu=copied.hf.device.type != "cuda",
            bf16=base.dtype == torch.bfloat16,
            activation_checkpointing=passes.checkpointing,
            report_to="none",
            save_strategy="no",  # `_Watch` says when
            save_total_limit=2,
            logging_steps=max(1, math.ceil(len(batches) / _POINTS)),
            logging_nan_inf_filter=False,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        watch = _Watch(who, rate, len(batches), saves=scratch is not None)
        trainer = in_passes(SFTTrainer, lambda inputs: supervised_pieces(inputs, passes))(
            model=copied.model,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=base.tokenizer,
            callbacks=[watch, Sealer(identity)],
        )
        trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for results
        begun = latest(folder, identity)
        with runs.writing_to(folder):
            trainer.train(resume_from_checkpoint=None if begun is None else str(begun))
        return [_point(entry) for entry in trainer.state.log_history if "loss" in entry]


def _point(entry: dict[str, Any]) -> dict[str, Any]:
    kept = ("loss", "learning_rate", "grad_norm")
    return {"step": int(entry["step"]), **{name: float(entry[name]) for name in kept if name in entry}}


class _Watch(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Ends a training whose loss is no number, and asks for a checkpoint now and then."""

    def __init__(self, who: str, rate: float, steps: int, *, saves: bool) -> None:
        self._who, self._rate, self._steps, self._saves = who, rate, steps, saves
        self._saved = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise TrainingFailed(
                f"{self._who}: the loss is {loss} at step {state.global_step} of {self._steps}. "
                f"Lower learning_rate (it is {self._rate:g})."
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._saves and state.global_step < self._steps and time.monotonic() - self._saved >= SAVE_SECONDS:
            control.should_save = True
            self._saved = time.monotonic()
