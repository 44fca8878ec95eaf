"""What RLVR and its controls share: the numbers of a training, and the run. They differ in the reward alone.

1. Pilot: the untrained model answers `pilot_problems` train problems `pilot_samples` times each. Problems it solves
   sometimes but not always are kept (0 < p < 1 by the verifier, whatever the reward); the record names the others.
2. Training: each step samples `generations` answers to `problems` kept problems from the policy as it is, rewards
   them, and takes one step of Dr. GRPO (2503.20783; no reward scaling, no KL penalty).
3. The policy answers greedily with the trained weights. If the pilot keeps nothing, it is the untrained base, and the
   record says so: that there is nothing to learn from is a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.fitting.option_checks import check_adapter, check_checkpoints, check_group, check_positive
from elicit.method import Demand, Draws, Lengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task
    from elicit.training.pilot import Pilot
    from elicit.training.rewards import Reward
    from elicit.training.run import Training


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training by reinforcement. One set serves a method and its controls."""

    steps: int = 32
    problems: int = 8
    """Problems per step (all that the pilot kept, if fewer)."""
    generations: int = 16
    """Answers sampled to each of them. The rarer success is, the more are needed for one of them to be right."""
    learning_rate: float | None = None
    """First rate; it falls linearly to 0. None: under 5 M parameters 5e-4 (LoRA 2e-3), which a search on the select
    problems of `cued` gave; above them 1e-6 (LoRA 5e-5, of TRL's example for 0.6 B), which are not tuned."""
    parameters: Literal["all", "mlp", "attn", "embeddings"] = "all"
    """Which parameters are trained, or carry the LoRA adapter."""
    lora_rank: int | None = None
    """Rank of a LoRA adapter; None trains the parameters themselves."""
    lora_alpha: float | None = None
    """Its output is scaled by alpha / rank; None: twice the rank."""
    pilot_problems: int = 256
    """Train problems that the difficulty filter looks at."""
    pilot_samples: int = 16
    """Samples of each: a problem solved once in that many can still be found."""
    max_completion_length: int | None = None
    """Tokens of a sampled answer; None takes the task's own limit."""
    rows: int | None = None
    """Most answers per pass; None: as many as fit into memory. It changes rounding, and nothing else."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass: less memory, a third more time. None: where one answer needs it."""
    checkpoint_every: int = 10
    """Steps between the trainer's own checkpoints, from which a killed training goes on."""
    checkpoints: tuple[int, ...] = ()
    """Steps after which to keep a copy of what is trained (the policy's `checkpoints`). A training that ends early
    keeps those it came to; the record says which."""

    name: ClassVar[str]
    traits: ClassVar[Traits] = Traits(seeded=True, trained=True)

    def __post_init__(self) -> None:
        numbers = {n: v for n, v in asdict(self).items() if n not in ("parameters", "checkpointing", "checkpoints")}
        check_positive(self.name, **numbers)
        check_adapter(self.name, self.parameters, self.lora_rank, alpha=self.lora_alpha)
        check_group(self.name, self.generations)
        check_checkpoints(self.name, self.checkpoints, steps=self.steps)

    def demand(self, lengths: Lengths) -> Demand:
        """If the pilot keeps enough problems for every step."""
        most = self.max_completion_length or lengths.limit
        length = min(lengths.between, most)
        pilot, rollouts = self.pilot_problems * self.pilot_samples, self.steps * self.problems * self.generations
        return Demand(
            Draws(1, lengths.thought, 1, lengths.prompt),
            (
                Draws(pilot, min(lengths.plain, most), self.pilot_problems, lengths.prompt, 256),
                Draws(rollouts, length, self.steps * self.problems, lengths.prompt, self.problems * self.generations),
            ),
            trained=rollouts * (lengths.prompt + length),
            training="full" if self.lora_rank is None else "adapter",
        )

    @property
    def needs(self) -> tuple[str, ...]:
        return ()


#: From (task, seed, what the pilot found) to the reward.
Rewarding = Callable[["Task", int, "Pilot"], "Reward"]


def reinforce(
    recipe: Recipe, rewarding: Rewarding, base: BaseModel, task: Task, *, seed: int, scratch: Path | None
) -> Policy:
    """The policy that training on a reward makes of `base`.

    Raises:
        TrainingFailed: see `elicit.training.guards`.
        ElicitError: too few train problems; a model that is spread over several devices.
    """
    import torch

    from elicit.checkpoints import Change, Trail
    from elicit.policy import Policy
    from elicit.tasks import Problem
    from elicit.training.groups import Lora
    from elicit.training.parameters import trainable
    from elicit.training.pilot import pilot
    from elicit.training.rollouts import training_engine
    from elicit.training.run import Settings, train

    def encode(problem: Problem) -> tuple[int, ...]:
        return base.encode(problem.prompt)

    length = recipe.max_completion_length or task.max_new_tokens
    drawn = task.problems("train", recipe.pilot_problems, seed=seed + 1)
    found = pilot(base.engine, task, drawn, encode, samples=recipe.pilot_samples, seed=seed, max_new_tokens=length)
    if not found.kept:
        return Policy(base, task_decoding(task), record=_nothing(base, found, recipe.name))
    lora = None if recipe.lora_rank is None else Lora(recipe.lora_rank, recipe.lora_alpha)
    copied = trainable(base, group=recipe.parameters, lora=lora, seed=seed)
    settings = Settings(
        steps=recipe.steps,
        problems=recipe.problems,
        generations=recipe.generations,
        learning_rate=recipe.learning_rate or _default_rate(base, recipe.lora_rank),
        max_new_tokens=length,
        rows=recipe.rows,
        checkpointing=recipe.checkpointing,
        checkpoint_every=recipe.checkpoint_every,
    )
    done = train(
        copied.model,
        training_engine(base, copied.hf),
        task,
        found.kept,
        rewarding(task, seed, found),
        settings,
        encode=encode,
        seed=seed,
        method=recipe.name,
        bf16=base.dtype == torch.bfloat16,
        scratch=scratch,
        identity=(base.weights_sha256, base.dtype, recipe.name, recipe.parameters, lora),
        checkpoints=recipe.checkpoints,
        made=lambda: Change(copied.weights()),
    )
    weights = copied.weights()
    record = {
        "train": cost(base, found, done, weights.parameters),
        "pilot": found.record(),
        "curve": done.curve,
        "stopped": done.stopped,
        "learning_rate": settings.learning_rate,
        "trained_values": weights.parameters,
    }
    record |= reached(recipe.checkpoints, done)
    trail = Trail(Change(weights), done.checkpoints)
    return Policy(base, task_decoding(task), weights=weights, record=record, trail=trail)


def reached(asked: Sequence[int], done: Training) -> dict[str, Any]:
    """What a record says of the checkpoints: those asked for, and those that training came to."""
    came = [step for step in asked if step <= len(done.curve)]
    return {"checkpoints": {"asked": list(asked), "reached": came}} if asked else {}


def _nothing(base: BaseModel, found: Pilot, name: str) -> dict[str, Any]:
    note = (
        f"{name}: nothing was trained. Of {found.problems} problems the untrained model always solved "
        f"{len(found.always)} and never solved {len(found.unsolved)} in {found.samples} samples each, so no group of "
        "answers would differ in reward."
    )
    return {"train": cost(base, found, None, 0), "pilot": found.record(), "curve": [], "stopped": None, "note": note}


def cost(base: BaseModel, found: Pilot, done: Training | None, trained: int) -> dict[str, int]:
    """2 FLOPs per weight and token forward; in training 2 more backward to activations, 2 to weights that are trained.

    Labels are problems whose answer the verifier was asked for: the pilot's.
    """
    total = sum(p.numel() for p in base.hf.parameters())
    generated = found.generated_tokens + (done.generated_tokens if done else 0)
    prefilled = found.prompt_tokens + (done.prompt_tokens if done else 0)
    tokens = done.tokens if done else 0
    return {
        "flops": 2 * total * (generated + prefilled) + tokens * (4 * total + 2 * min(trained, total)),
        "tokens": tokens,
        "labels": found.problems,
        "teacher_tokens": 0,
        "generated_tokens": generated,
        "steps": len(done.curve) if done else 0,
    }


def is_small(base: BaseModel) -> bool:
    return bool(sum(p.numel() for p in base.hf.parameters()) < 5_000_000)


def _default_rate(base: BaseModel, lora_rank: int | None) -> float:
    if lora_rank is not None:
        return 2e-3 if is_small(base) else 5e-5
    return 5e-4 if is_small(base) else 1e-6
