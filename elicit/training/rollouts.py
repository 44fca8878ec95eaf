"""Rollouts for TRL's `rollout_func`, from the lab's own sampler.

1. A step's problems and the random numbers of its samples are determined by (seed, "grpo", step, problem, sample). They
   are the same at any batch size, after a resume, in any number of processes, and for every reward: an arm and its
   controls are paired. Of several processes, each samples some of the problems, and trains on its part of all rows.
2. Sampling is at temperature 1 from exactly the trained distribution (no token is banned, and rows of the head that are
   not tokens are excluded from both: `token_loss`), so that log-probabilities of rollouts equal the trainer's own
   recomputation; tests check this with full weights, with LoRA and under steering.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from elicit import seeds
from elicit.loading import architectures
from elicit.model import BaseModel
from elicit.sampling import Completion, Decoding, Engine, Request
from elicit.steering import PositionTracker
from elicit.tasks import Problem
from elicit.training.failures import TrainingFailed
from elicit.training.rewards import BatchReward, Reward, Rollout
from elicit.training.samplers import Sampler, sample_here
from elicit.training.world import get_world

#: Problem -> prompt token ids.
PromptEncoder = Callable[[Problem], tuple[int, ...]]


def training_engine(base: BaseModel, hf: Any) -> Engine:
    """Build the sampler's engine for a model in training: with its own position tracker and without banned tokens."""
    return dataclasses.replace(
        base.engine, hf=hf, clock=PositionTracker(base.tokenizer), banned_ids=base.unassigned_ids
    )


def schedule_problems(problems: Sequence[Problem], *, steps: int, per_step: int, seed: int) -> list[Problem]:
    """Draw the problems of all steps in order: `per_step` different ones for each, by (seed, step)."""
    count = min(per_step, len(problems))
    scheduled: list[Problem] = []
    for step in range(steps):
        random = seeds.make_generator("grpo problems", seed, step)
        scheduled += [problems[int(i)] for i in random.choice(len(problems), size=count, replace=False)]
    return scheduled


def sample_rollouts(
    engine: Engine,
    problems: Sequence[Problem],
    encode: PromptEncoder,
    *,
    generations: int,
    step: int,
    seed: int,
    decoding: Decoding,
    sampler: Sampler = sample_here,
) -> list[list[Completion]]:
    """Sample `generations` completions of each problem for one training step."""
    requests = [
        Request(encode(problem), tuple(seeds.derive_key(seed, "grpo", step, problem.id, i) for i in range(generations)))
        for problem in problems
    ]
    with _use_eval_mode(engine.hf):
        try:
            return sampler(engine, requests, decoding)
        except (RuntimeError, IndexError) as error:
            _check_finite(engine, requests[0].ids, step + 1)
            raise error


@contextmanager
def _use_eval_mode(hf: Any) -> Iterator[None]:
    """Switch to evaluation mode for sampling: rollouts are sampled without dropout."""
    training = hf.training
    hf.eval()
    try:
        yield
    finally:
        hf.train(training)


def _check_finite(engine: Engine, ids: tuple[int, ...], step: int) -> None:
    """Check that logits are finite, after sampling failed: non-finite logits end in an index error.

    Raises:
        TrainingFailed: the model's logits are not finite.
    """
    engine.clock.explicit = None
    with torch.inference_mode():
        out = architectures.get_decoder(engine.hf)(input_ids=torch.tensor([ids], device=engine.hf.device))
    if not bool(torch.isfinite(out.last_hidden_state).all()):
        raise TrainingFailed(
            f"step {step}: the model's activations are not finite numbers any more. Lower learning_rate."
        )


def make_rollout_function(
    engine: Engine,
    problems: Sequence[Problem],
    encode: PromptEncoder,
    *,
    generations: int,
    seed: int,
    decoding: Decoding,
    sampler: Sampler = sample_here,
    refresh: Callable[[], None] = lambda: None,
) -> Callable[[list[str], Any], dict[str, Any]]:
    """Make the function for `GRPOTrainer(rollout_func=...)`, which passes every prompt once per generation.

    The trainer's "prompts" are problem ids here: `rollout_func` gets no other column, and prompts may repeat. Each of
    several processes is passed its part of them.

    Args:
        refresh: called before sampling; brings the engine's weights to those of the step.
    """
    problem_by_id = {problem.id: problem for problem in problems}
    world = get_world()

    def generate_rollouts(part: list[str], trainer: Any) -> dict[str, Any]:
        prompts = [problem_id for of_process in world.gather(part) for problem_id in of_process]
        batch_problems = [problem_by_id[problem_id] for problem_id in prompts[::generations]]
        assert prompts == [problem.id for problem in batch_problems for _ in range(generations)]
        step = trainer.state.global_step
        options: dict[str, Any] = {"generations": generations, "step": step, "seed": seed, "decoding": decoding}
        options["sampler"] = sampler
        refresh()
        groups = world.map_shared(lambda some: sample_rollouts(engine, some, encode, **options), batch_problems)
        flat = [
            (problem, i, completion)
            for problem, group in zip(batch_problems, groups, strict=True)
            for i, completion in enumerate(group)
        ][world.rank * len(part) :][: len(part)]
        return {
            "prompt_ids": [list(encode(problem)) for problem, _, _ in flat],
            "completion_ids": [list(completion.tokens) for _, _, completion in flat],
            "logprobs": [list(completion.logprobs) for _, _, completion in flat],
            "rollout": [
                Rollout(problem, step, i, completion.text, completion.finished) for problem, i, completion in flat
            ],
        }

    return generate_rollouts


def make_reward_function(reward: Reward | BatchReward, correct: Reward) -> Callable[..., list[float]]:
    """Make the function for `GRPOTrainer(reward_funcs=...)`.

    It also logs the share of rollouts that the verifier accepts (`correct`, which does not affect training unless it is
    the reward), and the share truncated at the length limit: TRL would count rollouts that a stop string ended.
    """

    def compute_rewards(rollout: list[Rollout], log_metric: Callable[[str, float], None], **_: Any) -> list[float]:
        log_metric("correct", sum(map(correct, rollout)) / len(rollout))
        log_metric("clipped", sum(not entry.finished for entry in rollout) / len(rollout))
        return _score_batch(reward, rollout) if isinstance(reward, BatchReward) else [reward(e) for e in rollout]

    return compute_rewards


def _score_batch(reward: BatchReward, rollouts: list[Rollout]) -> list[float]:
    """Rewards of this process's rollouts, from one call for those of all processes."""
    world = get_world()
    every = [entry for part in world.gather(rollouts) for entry in part]
    return world.share_main(lambda: reward.score(every))[world.rank * len(rollouts) :][: len(rollouts)]


@contextmanager
def announce_prompt_lengths(model: Any, clock: PositionTracker) -> Iterator[None]:
    """Pass each row's prompt length to the position tracker whenever the trainer calls `model`.

    Steering chooses positions relative to the prompt's end. TRL pads, shuffles and splits rows, but labels only the
    completion: the prompt consists of the real tokens without a label.
    """

    def set_prompt_lengths(_: Any, __: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        labels, mask = kwargs.get("labels"), kwargs.get("attention_mask")
        if labels is not None and mask is not None:
            clock.prompt_lengths = (mask.bool() & (labels == -100)).sum(1)

    handle = model.register_forward_pre_hook(set_prompt_lengths, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
        clock.prompt_lengths = None
