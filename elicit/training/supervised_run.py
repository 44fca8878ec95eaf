"""Run a supervised training: TRL's `SFTTrainer` over rows in a fixed order, resumable from checkpoints."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback

from elicit import runs, seeds
from elicit.loading.tokens import ensure_pad_token
from elicit.model import BaseModel
from elicit.training.checkpoint_callback import SnapshotCallback
from elicit.training.failures import TrainingFailed
from elicit.training.parameters import TrainableModel
from elicit.training.passes import PassLimits, make_passes_trainer, split_supervised_batch
from elicit.training.quiet import silence_libraries
from elicit.training.resume import CheckpointSealCallback, find_latest_checkpoint
from elicit.training.sharding import is_sharded, make_sharded_trainer, trainer_options
from elicit.training.world import World, check_size, get_world

#: Seconds between checkpoints. Shorter trainings write none.
SAVE_SECONDS = 60.0
#: Most points of a training curve.
_POINTS = 100


class Example(NamedTuple):
    """A training row with the token ids that sampling uses."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    """Includes the end token."""


def run_supervised_training(
    trainable_model: TrainableModel,
    base: BaseModel,
    batches: list[list[Example]],
    passes: PassLimits,
    rate: float,
    identity: str,
    who: str,
    scratch: Path | None,
    callbacks: Sequence[TrainerCallback],
    snapshots: SnapshotCallback,
) -> list[dict[str, Any]]:
    """Train in place. Returns the curve.

    Args:
        identity: hash of the training; only checkpoints of the same training are resumed.
        callbacks: further callbacks. One that has results adds them to `state.log_history`, which survives an
            interruption, as an entry without "loss": entries with one are the curve.
    """
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    world = get_world()
    per_process = math.ceil(len(batches[0]) / world.size)
    rows = [
        {"input_ids": [*row.prompt, *row.completion], "labels": [-100] * len(row.prompt) + [*row.completion]}
        for batch in batches
        for row in _deal_rows(batch, per_process, world)
    ]
    trainer_class = make_sharded_trainer(SFTTrainer) if is_sharded(trainable_model.hf) else SFTTrainer
    with ExitStack() as stack:
        stack.enter_context(silence_libraries())
        folder = scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        arguments = SFTConfig(
            output_dir=str(folder),
            num_train_epochs=1,
            train_sampling_strategy="sequential",
            per_device_train_batch_size=per_process,
            learning_rate=rate,
            lr_scheduler_type="linear",
            # The first step of a schedule with warm-up has rate 0: of few steps that would be a large share.
            warmup_steps=0.1 if len(batches) >= 10 else 0,
            weight_decay=0.0,
            seed=int(identity[:7], 16),  # for dropout, in architectures that have it
            max_length=None,
            use_cpu=trainable_model.hf.device.type != "cuda",
            bf16=base.dtype == torch.bfloat16,
            activation_checkpointing=passes.checkpointing,
            report_to="none",
            save_strategy="no",  # `_LossGuardCallback` requests checkpoints
            save_total_limit=2,
            logging_steps=max(1, math.ceil(len(batches) / _POINTS)),
            logging_nan_inf_filter=False,
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **trainer_options(),
        )
        watch = _LossGuardCallback(who, rate, len(batches), saves=scratch is not None)
        trainer = make_passes_trainer(trainer_class, lambda inputs: split_supervised_batch(inputs, passes))(
            model=trainable_model.model,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=ensure_pad_token(base.tokenizer, base.hf),
            callbacks=[watch, *callbacks, snapshots, CheckpointSealCallback(identity)],
        )
        trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for results
        check_size(trainer.accelerator.num_processes, world.size)
        if world.size > 1:
            torch.manual_seed(seeds.derive_small_seed("dropout", int(identity[:7], 16), world.rank))
        checkpoint = find_latest_checkpoint(folder, identity, before=snapshots.first_missing)
        with runs.writing_to(folder):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        return [_to_curve_point(entry) for entry in trainer.state.log_history if "loss" in entry]


def _deal_rows(batch: list[Example], per_process: int, world: World) -> list[Example]:
    """The rows of a batch, those of process 0 first. Missing ones are filled up with rows without a label."""
    if world.size == 1:
        return batch
    filler = Example((batch[0].prompt + batch[0].completion)[:2], ())
    shares = [batch[rank :: world.size] for rank in range(world.size)]
    return [row for share in shares for row in (*share, *[filler] * (per_process - len(share)))]


def _to_curve_point(entry: dict[str, Any]) -> dict[str, Any]:
    fields = ("loss", "learning_rate", "grad_norm")
    return {"step": int(entry["step"]), **{name: float(entry[name]) for name in fields if name in entry}}


class _LossGuardCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Ends a training whose loss is not finite, and requests a checkpoint every `SAVE_SECONDS`."""

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
        if not self._saves or state.global_step >= self._steps:
            return
        if get_world().share_main(lambda: time.monotonic() - self._saved >= SAVE_SECONDS):
            control.should_save = True
            self._saved = time.monotonic()
