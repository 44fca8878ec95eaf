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
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from elicit import runs
from elicit.checkpoints import PolicyDelta
from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.sampling import Decoding, Engine
from elicit.steering import Edit, steer
from elicit.tasks import Problem, Task
from elicit.training.checkpoint_callback import SnapshotCallback
from elicit.training.failures import check_generations, check_within
from elicit.training.grpo_trainer import (
    RLTrainingSettings,
    build_grpo_arguments,
    build_grpo_trainer,
    disable_attention_dropout,
)
from elicit.training.guards import GuardCallback
from elicit.training.passes import choose_pass_limits, restrict_head_to_labels
from elicit.training.quiet import silence_libraries
from elicit.training.resume import CheckpointSealCallback, find_latest_checkpoint, name_training
from elicit.training.rewards import BatchReward, Reward, make_verifier_reward
from elicit.training.rollouts import (
    PromptEncoder,
    announce_prompt_lengths,
    make_reward_function,
    make_rollout_function,
    schedule_problems,
)
from elicit.training.samplers import Sampler, sample_here
from elicit.training.sharding import WholeCopy, shard_and_copy
from elicit.training.token_loss import exclude_unassigned_rows
from elicit.training.world import check_launcher, get_world

__all__ = ["RLTrainingResult", "RLTrainingSettings", "train_with_rewards"]


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
    _check_processes(method, settings.generations, edits)
    decoding = Decoding(temperature=1.0, max_new_tokens=settings.max_new_tokens, stop=task.stop)
    options: dict[str, Any] = {"generations": settings.generations, "seed": seed, "decoding": decoding}
    options["sampler"] = sampler
    source = WholeCopy(engine, lambda: None)
    if get_world().size > 1 and model is engine.hf:
        source = shard_and_copy(engine)
    plan = schedule_problems(problems, steps=settings.steps, per_step=settings.problems, seed=seed)
    check_within(method, checkpoints, settings.steps)
    guard = GuardCallback(model.parameters(), best=best_reward, norm_limit=norm_limit, patience=settings.patience)
    name = name_training(_hash_rl_training(settings, plan, seed, identity))
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
        trainer = build_grpo_trainer(
            model,
            engine,
            plan,
            make_rollout_function(source.engine, problems, encode, refresh=source.refresh, **options),
            make_reward_function(reward, make_verifier_reward(task)),
            build_grpo_arguments(settings, folder, len(plan) // settings.steps, seed, keep=scratch is not None)
            | {"use_cpu": _is_on_cpu(model), "bf16": bf16, "activation_checkpointing": passes.checkpointing},
            passes,
            trainer_class,
        )
        trainer.add_callback(guard)
        trainer.add_callback(snapshots)
        trainer.add_callback(CheckpointSealCallback(name))
        stack.callback(engine.hf.__dict__.pop, "forward", None)  # remove the trainer's fused head afterwards
        disable_attention_dropout(engine.hf)
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


def _check_processes(method: str, generations: int, edits: Sequence[Edit]) -> None:
    """Raise ElicitError for a training that cannot be done in this number of processes."""
    check_launcher()
    size = get_world().size
    if size > 1 and edits:
        raise ElicitError(f"{method}: a steering vector is trained in one process; this is one of {size}.")
    check_generations(method, generations, size)


def _is_on_cpu(model: Any) -> bool:
    return bool(next(model.parameters()).device.type != "cuda")


def _hash_rl_training(settings: RLTrainingSettings, plan: Sequence[Problem], seed: int, rest: Sequence[object]) -> str:
    settings_data = {**asdict(settings), "checkpoint_every": None}  # does not affect the result
    parts = json.dumps(
        [settings_data, [problem.id for problem in plan], seed, [str(part) for part in rest]], sort_keys=True
    )
    return hashlib.sha256(parts.encode()).hexdigest()
