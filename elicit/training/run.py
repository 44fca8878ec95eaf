"""Training by reinforcement learning: TRL's `GRPOTrainer` with the lab's rollouts, guards and checkpoints.

Dr. GRPO (2503.20783): the advantage is A_i = r_i - mean(r) over the group, not divided by its standard deviation, and
the loss is a sum over tokens divided by a constant; no KL penalty; one update per batch of rollouts, so the policy
ratio is 1.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from elicit import runs, seeds
from elicit.checkpoints import PolicyDelta
from elicit.loading import architectures
from elicit.loading.tokens import ensure_pad_token
from elicit.sampling import Decoding, Engine
from elicit.steering import Edit, steer
from elicit.tasks import Problem, Task
from elicit.training.checkpoint_callback import SnapshotCallback
from elicit.training.failures import check_within
from elicit.training.guards import PATIENCE, GuardCallback
from elicit.training.passes import (
    PassLimits,
    choose_pass_limits,
    make_passes_trainer,
    restrict_head_to_labels,
    split_rollout_batch,
)
from elicit.training.quiet import silence_libraries
from elicit.training.resume import CheckpointSealCallback, find_latest_checkpoint
from elicit.training.rewards import BatchReward, Reward, make_verifier_reward
from elicit.training.rollouts import (
    PromptEncoder,
    announce_prompt_lengths,
    make_reward_function,
    make_rollout_function,
    schedule_problems,
)
from elicit.training.samplers import Sampler, sample_here
from elicit.training.token_loss import exclude_unassigned_rows


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


class RLTrainingResult(NamedTuple):
    """Result of a training; the trained values are in the model itself."""

    curve: list[dict[str, Any]]
    """One entry per step: step, loss, reward, reward_std, correct, entropy, length, clipped, zero_variance,
    learning_rate, grad_norm; norm (of all trained values) where it has a limit."""
    tokens: int
    """Tokens in training passes: prompts and completions."""
    generated_tokens: int
    prompt_tokens: int
    """Prompt tokens prefilled for sampling (each prompt once for all its samples)."""
    stopped: str | None
    """Reason for ending before the last step; None otherwise."""
    checkpoints: Mapping[int, PolicyDelta]
    """Changes after the requested steps that training reached, except the last. Loaded on access."""


def train_with_rewards(
    model: Any,
    engine: Engine,
    task: Task,
    problems: Sequence[Problem],
    reward: Reward | BatchReward,
    settings: RLTrainingSettings,
    *,
    encode: PromptEncoder,
    seed: int,
    method: str,
    best_reward: float = 1.0,
    edits: Sequence[Edit] = (),
    norm_limit: float | None = None,
    bf16: bool = False,
    scratch: Path | None = None,
    identity: Sequence[object] = (),
    checkpoints: Collection[int] = (),
    copy_change: Callable[[], PolicyDelta] = PolicyDelta,
    trainer_class: type | None = None,
    sampler: Sampler = sample_here,
) -> RLTrainingResult:
    """Train in place the parameters of `model` with `requires_grad`. `model` must be a copy for this training.

    Args:
        model: the transformers model, or a PeftModel around it. Other parameters (a steering vector) must be
            registered on it, so that checkpoints include them.
        engine: samples from it (`rollouts.training_engine`).
        reward: a number for every rollout.
        best_reward: the highest reward. Training ends once every rollout earns it; infinity if none is known.
        encode: problem -> prompt token ids.
        edits: steering applied while sampling and training; gradients flow through it.
        norm_limit: largest L2 norm of all trained values (see `guards.GuardCallback`).
        bf16: compute passes in bfloat16 (trained values stay float32).
        scratch: folder for checkpoints; the same call resumes from the last complete one. None keeps none.
        identity: further inputs, in addition to settings, problems and seed, that determine the result (weights, the
            reward's name, ...).
        checkpoints: steps after which to keep a copy of what is trained (`checkpoint_callback`).
        copy_change: makes that copy.
        trainer_class: a subclass of TRL's GRPOTrainer, for another loss; None for TRL's own.
        sampler: gives the rollouts.

    Raises:
        TrainingFailed: loss or weights are not finite, training diverged, completions are truncated, or rewards have
            no variance.
    """
    decoding = Decoding(temperature=1.0, max_new_tokens=settings.max_new_tokens, stop=task.stop)
    options: dict[str, Any] = {"generations": settings.generations, "seed": seed, "decoding": decoding}
    options["sampler"] = sampler
    plan = schedule_problems(problems, steps=settings.steps, per_step=settings.problems, seed=seed)
    check_within(method, checkpoints, settings.steps)
    guard = GuardCallback(model.parameters(), best=best_reward, norm_limit=norm_limit, patience=settings.patience)
    name = _hash_rl_training(settings, plan, seed, identity)
    before = [step for step in checkpoints if step < settings.steps]
    snapshots = SnapshotCallback(before, copy_change, identity=name, scratch=scratch)
    longest = max(len(encode(problem)) for problem in problems) + settings.max_new_tokens
    passes = choose_pass_limits(engine.hf, longest, rows=settings.rows, checkpointing=settings.checkpointing)
    with ExitStack() as stack:
        stack.enter_context(silence_libraries())
        stack.enter_context(restrict_head_to_labels(engine.hf))
        stack.enter_context(exclude_unassigned_rows(engine.banned_ids))
        # The trainer needs a folder; without a scratch folder nothing is saved into it.
        folder = scratch if scratch is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trainer = _build_grpo_trainer(
            model,
            engine,
            plan,
            make_rollout_function(engine, problems, encode, **options),
            make_reward_function(reward, make_verifier_reward(task)),
            _build_grpo_arguments(settings, folder, len(plan) // settings.steps, seed, keep=scratch is not None)
            | {"use_cpu": _is_on_cpu(model), "bf16": bf16, "activation_checkpointing": passes.checkpointing},
            passes,
            trainer_class,
        )
        trainer.add_callback(guard)
        trainer.add_callback(snapshots)
        trainer.add_callback(CheckpointSealCallback(name))
        stack.callback(engine.hf.__dict__.pop, "forward", None)  # remove the trainer's fused head afterwards
        _disable_attention_dropout(engine.hf)
        stack.enter_context(announce_prompt_lengths(model, engine.clock))
        checkpoint = find_latest_checkpoint(folder, name, before=snapshots.first_missing)
        is_finished = checkpoint is not None and checkpoint.name == f"checkpoint-{settings.steps}"
        if edits and not is_finished:  # steering raises if it is never used, and a finished training does not use it
            layers = list(architectures.get_decoder_layers(engine.hf))
            stack.enter_context(steer(architectures.get_decoder(engine.hf), layers, engine.clock, edits))
        with runs.writing_to(folder):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return _collect_result(trainer, plan, encode, settings, guard, snapshots)


def _collect_result(
    trainer: Any,
    plan: Sequence[Problem],
    encode: PromptEncoder,
    settings: RLTrainingSettings,
    guard: GuardCallback,
    snapshots: SnapshotCallback,
) -> RLTrainingResult:
    curve = [_to_curve_entry(entry) for entry in trainer.state.log_history if "loss" in entry]
    per_step = len(plan) // settings.steps
    rollouts = per_step * settings.generations
    return RLTrainingResult(
        curve,
        round(sum(entry["trained_tokens"] for entry in trainer.state.log_history if "loss" in entry)),
        round(sum(entry["length"] for entry in curve) * rollouts),
        sum(len(encode(problem)) for problem in plan[: per_step * len(curve)]),
        guard.stopped,
        snapshots.collect_checkpoints(len(curve)),
    )


#: Entry of a curve -> its name in the trainer's log.
_CURVE = {
    "step": "step",
    "loss": "loss",
    "reward": "reward",
    "reward_std": "reward_std",
    "correct": "correct",
    "entropy": "entropy",
    "length": "completions/mean_length",
    "clipped": "clipped",
    "zero_variance": "frac_reward_zero_std",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "norm": "norm",
}


def _to_curve_entry(logged: dict[str, Any]) -> dict[str, Any]:
    return {name: logged[key] for name, key in _CURVE.items() if name != "norm" or key in logged}


def _build_grpo_arguments(
    settings: RLTrainingSettings, folder: Path, per_step: int, seed: int, *, keep: bool
) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "loss_type": "dr_grpo",
        "scale_rewards": "none",
        "beta": 0.0,
        "temperature": 1.0,
        "num_generations": settings.generations,
        "per_device_train_batch_size": per_step * settings.generations,  # split into passes by `passes`
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


def _build_grpo_trainer(
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
    trainer = make_passes_trainer(
        trainer_class or GRPOTrainer, lambda inputs: split_rollout_batch(inputs, passes, by_prompt=by_prompt)
    )(
        model=model,
        reward_funcs=rewards,
        args=GRPOConfig(**arguments),
        train_dataset=Dataset.from_dict({"prompt": [problem.id for problem in plan]}),
        processing_class=ensure_pad_token(engine.tokenizer, engine.hf),
        rollout_func=rollout,
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for results
    return trainer


def _is_on_cpu(model: Any) -> bool:
    return bool(next(model.parameters()).device.type != "cuda")


def _disable_attention_dropout(hf: Any) -> None:
    """Disable attention's dropout, which is a plain number that TRL's `disable_dropout` does not reach."""
    for module in hf.modules():
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def _hash_rl_training(settings: RLTrainingSettings, plan: Sequence[Problem], seed: int, rest: Sequence[object]) -> str:
    settings_data = {**asdict(settings), "checkpoint_every": None}  # does not affect the result
    parts = json.dumps(
        [settings_data, [problem.id for problem in plan], seed, [str(part) for part in rest]], sort_keys=True
    )
    return hashlib.sha256(parts.encode()).hexdigest()
