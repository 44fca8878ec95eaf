"""TRL's `GRPOTrainer` as the lab uses it: settings, arguments and the trainer of one training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elicit import seeds
from elicit.loading import architectures
from elicit.loading.tokens import ensure_pad_token
from elicit.sampling import Engine
from elicit.tasks import Problem
from elicit.training.guards import PATIENCE
from elicit.training.passes import PassLimits, make_passes_trainer, split_rollout_batch
from elicit.training.sharding import is_sharded, make_sharded_trainer, trainer_options
from elicit.training.world import check_size, get_world


@dataclass(frozen=True)
class RLTrainingSettings:
    """Hyper-parameters of a training."""

    steps: int
    problems: int
    """Problems per step (or all, if there are fewer)."""
    generations: int
    """Rollouts per problem and step."""
    learning_rate: float
    max_new_tokens: int
    decay: bool = True
    """Decrease the rate linearly to 0 over the steps; otherwise it is constant."""
    rows: int | None = None
    """Most rollouts per pass; None: as memory allows (`passes`)."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass; None: if the longest rollout needs it."""
    checkpoint_every: int = 10
    """Steps between checkpoints."""
    patience: int = PATIENCE


def build_grpo_arguments(
    settings: RLTrainingSettings, folder: Path, per_step: int, seed: int, *, keep: bool
) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "loss_type": "dr_grpo",
        "scale_rewards": "none",
        "beta": 0.0,
        "temperature": 1.0,
        "num_generations": settings.generations,
        # Split into passes by `passes`.
        "per_device_train_batch_size": per_step * settings.generations // get_world().size,
        "max_completion_length": settings.max_new_tokens,
        "max_steps": settings.steps,
        "shuffle_dataset": False,  # the schedule determines the order
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "linear" if settings.decay else "constant",
        "weight_decay": 0.0,
        "seed": seeds.derive_small_seed("grpo", seed),
        "disable_dropout": True,
        "report_to": "none",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "save_strategy": "steps" if keep else "no",
        "save_steps": settings.checkpoint_every,
        # The previous checkpoint is removed only once the next one is complete, so a torn one costs nothing.
        "save_total_limit": 2,
    }


def build_grpo_trainer(
    model: Any,
    engine: Engine,
    plan: Sequence[Problem],
    rollout: Any,
    rewards: Any,
    arguments: dict[str, Any],
    passes: PassLimits,
    trainer_class: type | None = None,
) -> Any:
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    # The trainer pads prompts on the left and does not pass positions: absolute ones would be shifted (0.3 nat per
    # token), and rotary scaling by the longest position of a pass would count the padding.
    by_prompt = architectures.has_absolute_positions(engine.hf) or passes.scaling is not None
    kind = trainer_class or GRPOTrainer
    trainer = make_passes_trainer(
        make_sharded_trainer(kind) if is_sharded(engine.hf) else kind,
        lambda inputs: split_rollout_batch(inputs, passes, by_prompt=by_prompt),
    )(
        model=model,
        reward_funcs=rewards,
        args=GRPOConfig(**arguments, **trainer_options()),
        train_dataset=Dataset.from_dict({"prompt": [problem.id for problem in plan]}),
        processing_class=ensure_pad_token(engine.tokenizer, engine.hf),
        rollout_func=rollout,
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for results
    check_size(trainer.accelerator.num_processes, get_world().size)
    return trainer


def disable_attention_dropout(hf: Any) -> None:
    """Disable attention's dropout, which is a plain number that TRL's `disable_dropout` does not reach."""
    for module in hf.modules():
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
