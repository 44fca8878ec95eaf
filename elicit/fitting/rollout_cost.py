"""The cost of reinforcement learning for a plan: a pilot, rollouts, and passes over them. Imports no torch."""

from __future__ import annotations

from typing import Literal, Protocol

from elicit.method import CostEstimate, Generation, TokenLengths

#: Why they stay here, unless the engine is asked for them (`elicit.engines.choice.VLLM.rollouts`).
ROLLOUTS = "rollouts without rollouts: true"


class _RolloutConfig(Protocol):
    """The options of a training that decide its rollouts."""

    @property
    def steps(self) -> int: ...
    @property
    def problems(self) -> int: ...
    @property
    def generations(self) -> int: ...
    @property
    def pilot_problems(self) -> int: ...
    @property
    def pilot_samples(self) -> int: ...
    @property
    def max_completion_length(self) -> int | None: ...


def estimate_rollout_cost(
    config: _RolloutConfig, lengths: TokenLengths, training: Literal["adapter", "full"]
) -> CostEstimate:
    """Estimate the cost, assuming that the pilot keeps enough problems for every step."""
    most = config.max_completion_length or lengths.limit
    length = min(lengths.mixed_answer, most)
    pilot, groups = config.pilot_problems * config.pilot_samples, config.steps * config.problems
    rollouts = groups * config.generations
    return CostEstimate(
        Generation(1, lengths.thought, 1, lengths.prompt),
        (
            Generation(pilot, min(lengths.plain, most), config.pilot_problems, lengths.prompt, 256, obstacle=ROLLOUTS),
            Generation(
                rollouts, length, groups, lengths.prompt, config.problems * config.generations, obstacle=ROLLOUTS
            ),
        ),
        trained_tokens=rollouts * (lengths.prompt + length),
        training=training,
    )
