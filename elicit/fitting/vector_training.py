"""Reinforcement learning of steering vectors, shared by `rl_steering` and its controls.

Vectors are measured in median residual norms of their layer, so that a learning rate means the same at every layer and
in every model: with Adam, a step moves each entry by about the learning rate, a vector by at most
`learning_rate * sqrt(d_model)` residual norms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from elicit.context import check_prompt_fits
from elicit.fitting.reward_choice import build_reward, check_code, load_trainer_class
from elicit.fitting.rlvr import compute_training_cost, describe_checkpoints, describe_code, identify_reward
from elicit.fitting.vector_config import VectorTrainingConfig
from elicit.fitting.vector_init import StartingVectors, build_steering_edits, build_trainable_edits, initialise_vectors
from elicit.method import task_decoding
from elicit.plugins import parse_reference

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Completion, Decoding, Engine, Request
    from elicit.steering import Edit, Steering
    from elicit.tasks import Problem, Task
    from elicit.training.pilot import PilotResult

#: Largest change of a vector per step, in residual norms, if no learning rate is given.
_PACE = 0.1


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
    from elicit.sampling import generate
    from elicit.training.pilot import run_pilot
    from elicit.training.rollouts import training_engine
    from elicit.training.run import RLTrainingSettings, train_with_rewards
    from elicit.training.samplers import choose_sampler, describe_rollouts

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

    def copy_change() -> PolicyDelta:
        return PolicyDelta(steering=build_steering_edits(start, hf.steering_vectors, config.positions))

    def sample_steered(engine: Engine, requests: Sequence[Request], decoding: Decoding) -> list[list[Completion]]:
        with _steer_engine(engine, trainable_edits):
            return generate(engine, requests, decoding)

    pilot_result = run_pilot(
        engine,
        task,
        problems,
        encode_problem,
        samples=config.pilot_samples,
        seed=seed,
        max_new_tokens=length,
        sampler=choose_sampler(base, copy_change, sample_steered),
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
            copy_change=copy_change,
            sampler=choose_sampler(base, copy_change),
        )
        record |= describe_checkpoints(config.checkpoints, result) | describe_code(config)
        record |= describe_rollouts(base, copy_change())
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
