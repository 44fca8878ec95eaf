"""Reinforcement learning of weights (RLVR), shared by `grpo` and its controls, which differ only in the reward.

1. Pilot: the untrained model answers `pilot_problems` train problems `pilot_samples` times each. Problems it solves
   sometimes but not always are kept (0 < p < 1 by the verifier, whatever the reward); the record names the others.
2. Training: each step samples `generations` answers to `problems` kept problems from the current policy, rewards them,
   and takes one step of Dr. GRPO (2503.20783; no reward scaling, no KL penalty).
3. The policy answers greedily with the trained weights. If the pilot keeps no problem, the policy is the untrained base
   and the record says so: having nothing to learn from is a result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.fitting.option_checks import check_adapter, check_checkpoints, check_group, check_positive
from elicit.fitting.reward_choice import (
    VERIFIER,
    build_reward,
    check_code,
    check_reward,
    check_trainer_class,
    identify_code,
    load_trainer_class,
)
from elicit.fitting.rollout_cost import estimate_rollout_cost
from elicit.method import CostEstimate, TokenLengths, task_decoding
from elicit.plugins import parse_reference
from elicit.training.failures import check_generations

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.fitting.vector_config import VectorTrainingConfig
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task
    from elicit.training.pilot import PilotResult
    from elicit.training.run import RLTrainingResult


#: Options that are no positive numbers.
_UNNUMBERED = ("parameters", "checkpointing", "checkpoints", "reward", "trainer_class")


@dataclass(frozen=True)
class RLConfig:
    """Hyper-parameters of reinforcement learning, shared by a method and its controls."""

    reward: str = "verifier"
    """verifier; random, format_only or wrong_label (then the arm is a control); or a function, my_file.py:my_reward
    (see `elicit.fitting.reward_choice`)."""
    trainer_class: str | None = None
    """A subclass of TRL's GRPOTrainer, my_file.py:MyTrainer or my_package.module:MyTrainer; None: TRL's own."""

    steps: int = 32
    problems: int = 8
    """Problems per step (all that the pilot keeps, if fewer)."""
    generations: int = 16
    """Answers sampled per problem. The rarer success is, the more are needed for one of them to be right."""
    learning_rate: float | None = None
    """Initial rate; it falls linearly to 0. None: under 5 M parameters 5e-4 (LoRA 2e-3), from a search on the select
    problems of `cued`; above that 1e-6 (LoRA 5e-5, from TRL's example for 0.6 B), which are not tuned."""
    parameters: Literal["all", "mlp", "attn", "embeddings"] = "all"
    """Parameters to train, or to adapt with LoRA."""
    lora_rank: int | None = None
    """Rank of a LoRA adapter; None trains the parameters themselves."""
    lora_alpha: float | None = None
    """LoRA alpha: the adapter's output is scaled by alpha / rank. None: twice the rank."""
    pilot_problems: int = 256
    """Train problems in the pilot."""
    pilot_samples: int = 16
    """Samples per pilot problem."""
    max_completion_length: int | None = None
    """Tokens of a sampled answer; None takes the task's own limit."""
    rows: int | None = None
    """Most answers per pass; None: as many as fit into memory. Affects only rounding."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass: less memory, a third more time. None: if one answer needs it."""
    checkpoint_every: int = 10
    """Steps between the trainer's own checkpoints, from which a killed training resumes."""
    checkpoints: tuple[int, ...] = ()
    """Steps after which to keep a copy of what is trained (the policy's `checkpoints`). A training that ends early
    keeps those it reached; the record lists them."""

    name: ClassVar[str] = "grpo"

    def __post_init__(self) -> None:
        check_reward(self.name, self.reward)
        check_trainer_class(self.name, self.trainer_class)
        numbers = {n: v for n, v in asdict(self).items() if n not in _UNNUMBERED}
        check_positive(self.name, **numbers)
        check_adapter(self.name, self.parameters, self.lora_rank, alpha=self.lora_alpha)
        check_group(self.name, self.generations)
        check_checkpoints(self.name, self.checkpoints, steps=self.steps)

    def shares_training(self, processes: int) -> bool:
        check_generations(self.name, self.generations, processes)
        return True

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        return estimate_rollout_cost(self, lengths, "full" if self.lora_rank is None else "adapter")


def train_weights_by_rl(config: RLConfig, base: BaseModel, task: Task, *, seed: int, scratch: Path | None) -> Policy:
    """Train the weights of `base` on a reward. Returns the policy.

    Raises:
        TrainingFailed: see `elicit.training.guards`.
        ElicitError: there are too few train problems, or the model is spread over several devices.
    """
    import torch

    from elicit.checkpoints import CheckpointHistory, PolicyDelta
    from elicit.policy import Policy
    from elicit.tasks import Problem
    from elicit.training.groups import Lora
    from elicit.training.parameters import make_trainable
    from elicit.training.pilot import run_pilot
    from elicit.training.rollouts import training_engine
    from elicit.training.run import RLTrainingSettings, train_with_rewards
    from elicit.training.samplers import choose_sampler, describe_rollouts

    check_code(config.reward, config.trainer_class)

    def encode_problem(problem: Problem) -> tuple[int, ...]:
        return base.encode(problem.prompt)

    length = config.max_completion_length or task.max_new_tokens
    problems = task.problems("train", config.pilot_problems, seed=seed + 1)
    pilot_result = run_pilot(
        base.engine,
        task,
        problems,
        encode_problem,
        samples=config.pilot_samples,
        seed=seed,
        max_new_tokens=length,
        sampler=choose_sampler(base, PolicyDelta),
    )
    if not pilot_result.learnable:
        return Policy(base, task_decoding(task), record=_build_untrained_record(base, pilot_result, config.name))
    lora = None if config.lora_rank is None else Lora(config.lora_rank, config.lora_alpha)
    trainable_model = make_trainable(base, group=config.parameters, lora=lora, seed=seed)
    settings = RLTrainingSettings(
        steps=config.steps,
        problems=config.problems,
        generations=config.generations,
        learning_rate=config.learning_rate or _default_rate(base, config.lora_rank),
        max_new_tokens=length,
        rows=config.rows,
        checkpointing=config.checkpointing,
        checkpoint_every=config.checkpoint_every,
    )

    def copy_change() -> PolicyDelta:
        return PolicyDelta(trainable_model.extract_weights())

    result = train_with_rewards(
        trainable_model.model,
        training_engine(base, trainable_model.hf),
        task,
        pilot_result.learnable,
        build_reward(config.reward, task, seed, pilot_result),
        settings,
        encode=encode_problem,
        seed=seed,
        method=config.name,
        best_reward=1.0 if parse_reference(config.reward) is None else math.inf,
        trainer_class=load_trainer_class(config.trainer_class),
        bf16=base.dtype == torch.bfloat16,
        scratch=scratch,
        identity=(base.weights_sha256, base.dtype, config.name, config.parameters, lora, *identify_reward(config)),
        checkpoints=config.checkpoints,
        copy_change=copy_change,
        sampler=choose_sampler(base, copy_change),
    )
    weights = trainable_model.extract_weights()
    record = {
        "train": compute_training_cost(base, pilot_result, result, weights.parameters),
        "pilot": pilot_result.to_record(),
        "curve": result.curve,
        "stopped": result.stopped,
        "learning_rate": settings.learning_rate,
        "trained_values": weights.parameters,
    }
    record |= describe_checkpoints(config.checkpoints, result) | describe_code(config)
    record |= describe_rollouts(base, PolicyDelta(weights))
    trail = CheckpointHistory(PolicyDelta(weights), result.checkpoints)
    return Policy(base, task_decoding(task), weights=weights, record=record, trail=trail)


def identify_reward(config: RLConfig | VectorTrainingConfig) -> list[str]:
    """The reward and the code from outside, for a training's identity; empty for the verifier and TRL's trainer."""
    reward = [] if config.reward == VERIFIER else [config.reward]
    return [*reward, *identify_code(config.reward, config.trainer_class)]


def describe_code(config: RLConfig | VectorTrainingConfig) -> dict[str, Any]:
    """The reward function and the trainer from outside, for a policy's record; empty where both are built in."""
    code = identify_code(config.reward, config.trainer_class)
    return {"code": code} if code else {}


def describe_checkpoints(requested: Sequence[int], result: RLTrainingResult) -> dict[str, Any]:
    """Describe the checkpoints for the record: those requested, and those that training reached."""
    completed = [step for step in requested if step <= len(result.curve)]
    return {"checkpoints": {"asked": list(requested), "reached": completed}} if requested else {}


def _build_untrained_record(base: BaseModel, pilot_result: PilotResult, name: str) -> dict[str, Any]:
    note = (
        f"{name}: nothing was trained. Of {pilot_result.problems} problems the untrained model always solved "
        f"{len(pilot_result.always_solved)} and never solved {len(pilot_result.unsolved)} in {pilot_result.samples} "
        "samples each, so no group of "
        "answers would differ in reward."
    )
    return {
        "train": compute_training_cost(base, pilot_result, None, 0),
        "pilot": pilot_result.to_record(),
        "curve": [],
        "stopped": None,
        "note": note,
    }


def compute_training_cost(
    base: BaseModel, pilot_result: PilotResult, result: RLTrainingResult | None, trained: int
) -> dict[str, int]:
    """Cost of pilot and training for the record.

    FLOPs: 2 per weight and token forward; in training 2 more backward to activations, 2 to trained weights. Labels are
    the problems of the pilot, whose answers the verifier checked.
    """
    total = sum(p.numel() for p in base.hf.parameters())
    generated = pilot_result.generated_tokens + (result.generated_tokens if result else 0)
    prefilled = pilot_result.prompt_tokens + (result.prompt_tokens if result else 0)
    tokens = result.tokens if result else 0
    return {
        "flops": 2 * total * (generated + prefilled) + tokens * (4 * total + 2 * min(trained, total)),
        "tokens": tokens,
        "labels": pilot_result.problems,
        "teacher_tokens": 0,
        "generated_tokens": generated,
        "steps": len(result.curve) if result else 0,
    }


def is_small_base(base: BaseModel) -> bool:
    return bool(sum(p.numel() for p in base.hf.parameters()) < 5_000_000)


def _default_rate(base: BaseModel, lora_rank: int | None) -> float:
    if lora_rank is not None:
        return 2e-3 if is_small_base(base) else 5e-5
    return 5e-4 if is_small_base(base) else 1e-6
