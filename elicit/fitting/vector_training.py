"""Reinforcement learning of steering vectors, shared by `rl_steering` and its controls.

Vectors are measured in median residual norms of their layer, so that a learning rate means the same at every layer and
in every model: with Adam, a step moves each entry by about the learning rate, a vector by at most
`learning_rate * sqrt(d_model)` residual norms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.context import check_prompt_fits
from elicit.errors import ElicitError
from elicit.fitting.contrast_pairs import ContrastKind, check_contrast_templates
from elicit.fitting.option_checks import check_checkpoints, check_group, check_positions, check_positive
from elicit.fitting.reward_choice import build_reward, check_code, check_reward, check_trainer_class, load_trainer_class
from elicit.fitting.rlvr import compute_training_cost, describe_checkpoints, describe_code, identify_reward
from elicit.fitting.vector_init import StartingVectors, build_steering_edits, build_trainable_edits, initialise_vectors
from elicit.method import CostEstimate, Generation, TokenLengths, task_decoding
from elicit.plugins import parse_reference

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Engine
    from elicit.steering import Edit, Steering
    from elicit.tasks import Problem, Task
    from elicit.training.pilot import PilotResult

#: Largest change of a vector per step, in residual norms, if no learning rate is given.
_PACE = 0.1


@dataclass(frozen=True)
class VectorTrainingConfig:
    """Hyper-parameters of training steering vectors, shared by a method and its controls."""

    reward: str = "verifier"
    """verifier; random, format_only or wrong_label (then the arm is a control); or a function, my_file.py:my_reward
    (see `elicit.fitting.reward_choice`)."""
    trainer_class: str | None = None
    """A subclass of TRL's GRPOTrainer, my_file.py:MyTrainer or my_package.module:MyTrainer; None: TRL's own."""

    start: Literal["noise", "mean", "feature"] = "noise"
    """noise: a random direction by seed. mean: a difference of means between two conditions. feature: the decoder row
    of an SAE feature."""
    strength: float | None = None
    """Length of each starting vector, in residual norms. None: 0.05 for noise, 0.25 for the others."""
    layers: tuple[int, ...] | None = None
    """One vector after each of these layers; None: after all but the last, whose output no other block reads (feature:
    only after the SAE's layer)."""
    positions: str = "first"
    """Positions at which vectors are added."""
    feature: str | None = None
    """The SAE feature to start from (`feature` only), as SAE/NUMBER, such as cued/L1/379. None: the feature whose mean
    activation differs most between the two conditions, in the SAE shipped for the model's last layer but one."""
    contrast: ContrastKind = "auto"
    """The two conditions (`mean`, and `feature` without a name)."""
    positive: str | None = None
    """Template of the positive condition (`contrast: templates` only), with {prompt}."""
    negative: str = "{prompt}"
    """Template of the negative condition (`contrast: templates` only)."""
    train_problems: int = 64
    """Train problems over which the difference is taken."""
    steps: int = 30
    """Training steps; with 0 the policy steers with the starting vectors."""
    problems: int = 8
    """Problems per step (all that the pilot keeps, if fewer)."""
    generations: int = 32
    """Answers sampled per problem. The rarer success is, the more are needed for one of them to be right."""
    learning_rate: float | None = None
    """Initial rate of each entry in residual norms; it falls linearly to 0. None: 0.1 / sqrt(d_model)."""
    pilot_problems: int = 256
    """Train problems in the pilot, which runs with the starting vectors."""
    pilot_samples: int = 16
    max_completion_length: int | None = None
    """Tokens of a sampled answer; None takes the task's own limit."""
    norm_limit: float = 20.0
    """Largest norm of all vectors together, in residual norms; beyond it, training has diverged."""
    rows: int | None = None
    """Most answers per pass; None: as many as fit into memory. Affects only rounding."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass: less memory, a third more time. None: if one answer needs it."""
    checkpoint_every: int = 20
    """Steps between the trainer's own checkpoints, from which a killed training resumes."""
    checkpoints: tuple[int, ...] = ()
    """Steps after which to keep a copy of what is trained (the policy's `checkpoints`). A training that ends early
    keeps those it reached; the record lists them."""

    name: ClassVar[str] = "rl_steering"

    def __post_init__(self) -> None:
        check_reward(self.name, self.reward)
        check_trainer_class(self.name, self.trainer_class)
        other = (
            "start",
            "layers",
            "positions",
            "feature",
            "contrast",
            "positive",
            "negative",
            "steps",
            "checkpointing",
            "checkpoints",
            "reward",
            "trainer_class",
        )
        check_positive(self.name, **{name: value for name, value in asdict(self).items() if name not in other})
        check_positive(self.name, steps=self.steps + 1)
        check_positions(self.name, self.positions)
        check_contrast_templates(self.name, self.contrast, self.positive, self.negative)
        if self.layers == ():
            raise ElicitError(f"{self.name}: layers is empty; name at least one, or leave it out.")
        if self.feature is not None and self.start != "feature":
            raise ElicitError(f"{self.name}: feature belongs to start: feature.")
        check_group(self.name, self.generations)
        check_checkpoints(self.name, self.checkpoints, steps=self.steps)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Estimate the cost, assuming that the pilot keeps enough problems for every step."""
        most = self.max_completion_length or lengths.limit
        length = min(lengths.mixed_answer, most)
        pilot, rollouts = self.pilot_problems * self.pilot_samples, self.steps * self.problems * self.generations
        return CostEstimate(
            Generation(1, lengths.thought, 1, lengths.prompt),
            (
                Generation(pilot, min(lengths.plain, most), self.pilot_problems, lengths.prompt, 256),
                Generation(
                    rollouts, length, self.steps * self.problems, lengths.prompt, self.problems * self.generations
                ),
            ),
            trained_tokens=rollouts * (lengths.prompt + length),
            training="adapter",
        )


def train_vectors_by_rl(
    config: VectorTrainingConfig,
    base: BaseModel,
    task: Task,
    *,
    seed: int,
    scratch: Path | None,
) -> Policy:
    """Train steering vectors on a reward. Returns the policy.

    Raises:
        TrainingFailed: see `elicit.training.guards`; or vectors grew beyond `norm_limit`.
        ElicitError: see `elicit.fitting.vector_init.initialise_vectors`.
    """
    import torch

    from elicit.adapters import clone_sharing_tensors
    from elicit.checkpoints import CheckpointHistory, PolicyDelta
    from elicit.loading import devices
    from elicit.policy import Policy
    from elicit.training.pilot import run_pilot
    from elicit.training.rollouts import training_engine
    from elicit.training.run import RLTrainingSettings, train_with_rewards

    check_code(config.reward, config.trainer_class)
    length = config.max_completion_length or task.max_new_tokens
    problems = task.problems("train", config.pilot_problems, seed=seed + 1) if config.steps else []
    for problem in problems:  # check before the starting vectors are measured
        check_prompt_fits(
            len(base.encode(problem.prompt)), length, base.context_length, model=base.name, who=config.name
        )
    start = initialise_vectors(config, base, task, seed)
    record: dict[str, Any] = {
        "recipe": {"options": _describe_start_options(config), "seed": seed},
        "start": {"kind": config.start, **_describe_vector_lengths(start, start.vectors)},
        "curve": [],
    }
    if config.steps == 0:
        steering = build_steering_edits(start, start.vectors, config.positions)
        return Policy(base, task_decoding(task), steering=steering, record=_add_steering_record(record, steering))

    def encode_problem(problem: Problem) -> tuple[int, ...]:
        return base.encode(problem.prompt)

    devices.require_one_device(base.hf, "training")
    hf = clone_sharing_tensors(base.hf)
    hf.steering_vectors = torch.nn.Parameter(start.vectors.clone().to(base.device))
    engine = training_engine(base, hf)
    trainable_edits = build_trainable_edits(start, hf.steering_vectors, config.positions)
    with _steer_engine(engine, trainable_edits):
        pilot_result = run_pilot(
            engine, task, problems, encode_problem, samples=config.pilot_samples, seed=seed, max_new_tokens=length
        )
    result = None
    if pilot_result.learnable:
        settings = RLTrainingSettings(
            steps=config.steps,
            problems=config.problems,
            generations=config.generations,
            learning_rate=config.learning_rate or _PACE / base.d_model**0.5,
            max_new_tokens=length,
            rows=config.rows,
            checkpointing=config.checkpointing,
            checkpoint_every=config.checkpoint_every,
        )
        identity_config = replace(config, checkpoints=())  # copies along the way do not change the training
        result = train_with_rewards(
            hf,
            engine,
            task,
            pilot_result.learnable,
            build_reward(config.reward, task, seed, pilot_result),
            settings,
            encode=encode_problem,
            seed=seed,
            method=config.name,
            best_reward=1.0 if parse_reference(config.reward) is None else math.inf,
            trainer_class=load_trainer_class(config.trainer_class),
            edits=trainable_edits,
            norm_limit=config.norm_limit,
            scratch=scratch,
            identity=(
                base.weights_sha256,
                base.dtype,
                config.name,
                identity_config,
                start.vectors.tolist(),
                *identify_reward(config),
            ),
            checkpoints=config.checkpoints,
            copy_change=lambda: PolicyDelta(
                steering=build_steering_edits(start, hf.steering_vectors, config.positions)
            ),
        )
        record |= describe_checkpoints(config.checkpoints, result) | describe_code(config)
        record |= {"curve": result.curve, "stopped": result.stopped, "learning_rate": settings.learning_rate}
    else:
        record["note"] = _explain_no_training(config, pilot_result)
    vectors = hf.steering_vectors.detach()
    record |= {
        "train": compute_training_cost(base, pilot_result, result, vectors.numel()),
        "pilot": pilot_result.to_record(),
        "end": _describe_vector_lengths(start, vectors),
        "turned": _compute_turning_cosines(start.vectors, vectors.cpu()),
        "trained_values": vectors.numel(),
    }
    steering = build_steering_edits(start, vectors, config.positions)
    trail = None if result is None else CheckpointHistory(PolicyDelta(steering=steering), result.checkpoints)
    return Policy(
        base, task_decoding(task), steering=steering, record=_add_steering_record(record, steering), trail=trail
    )


def _describe_start_options(config: VectorTrainingConfig) -> dict[str, Any]:
    """The options as plain data, without those that only training reads."""
    options = {name: value for name, value in asdict(config).items() if name not in ("reward", "trainer_class")}
    return {**options, "checkpoints": list(config.checkpoints)}


@contextmanager
def _steer_engine(engine: Engine, open_edits: Sequence[Edit]) -> Iterator[None]:
    from elicit.loading import architectures
    from elicit.steering import steer

    layers = architectures.get_decoder_layers(engine.hf)
    with steer(architectures.get_decoder(engine.hf), layers, engine.clock, open_edits):  # type: ignore[arg-type]
        yield


def _add_steering_record(record: dict[str, Any], steering: Sequence[Steering]) -> dict[str, Any]:
    return {"steering": [str(edit) for edit in steering], **record}


def _describe_vector_lengths(start: StartingVectors, vectors: torch.Tensor) -> dict[str, Any]:
    """Layers and lengths of the vectors, in residual norms."""
    return {"layers": list(start.layers), "norms": vectors.norm(dim=1).tolist(), "labels": list(start.labels)}


def _compute_turning_cosines(before: torch.Tensor, after: torch.Tensor) -> list[float]:
    """Cosine of each vector with its starting value."""
    import torch

    return torch.nn.functional.cosine_similarity(before, after, dim=1).tolist()


def _explain_no_training(config: VectorTrainingConfig, pilot_result: PilotResult) -> str:
    return (
        f"{config.name}: nothing was trained. Of {pilot_result.problems} problems the starting vectors always solved "
        f"{len(pilot_result.always_solved)} and never solved {len(pilot_result.unsolved)} in {pilot_result.samples} "
        "samples each, so no group of "
        "answers would differ in reward."
    )
