"""Samplers of rollouts: the model in training itself, or an outside engine that is sent what training has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from elicit.checkpoints import PolicyDelta
from elicit.model import BaseModel
from elicit.sampling import Completion, Decoding, Engine, Request, generate

#: (engine of the model in training, requests, decoding) -> completions as `sampling.generate` gives them.
Sampler = Callable[[Engine, Sequence[Request], Decoding], list[list[Completion]]]


def sample_here(engine: Engine, requests: Sequence[Request], decoding: Decoding) -> list[list[Completion]]:
    """Sample from the model in training."""
    return generate(engine, requests, decoding)


def choose_sampler(base: BaseModel, copy_change: Callable[[], PolicyDelta], here: Sampler = sample_here) -> Sampler:
    """The sampler of trainings on `base`.

    An outside engine gets the present weights or vectors before every call. In float32 its tokens are those of the
    model in training; in 16 bits they come from a distribution that is slightly another.

    Args:
        copy_change: copies what training has changed so far.
        here: samples in this process, where there is no outside engine for it.
    """
    outside = base.outside
    if outside is None or not outside.rollouts:
        return here

    def sample_outside(engine: Engine, requests: Sequence[Request], decoding: Decoding) -> list[list[Completion]]:
        change = copy_change()
        if outside.find_obstacle(change.weights, change.steering) is not None:
            return here(engine, requests, decoding)
        with outside.open(change.weights, change.steering) as elsewhere:
            return generate(engine, requests, decoding, elsewhere)

    return sample_outside


def describe_rollouts(base: BaseModel, change: PolicyDelta) -> dict[str, str]:
    """Where rollouts came from, for a policy's record; empty for the model in training itself.

    Args:
        change: what training has made; an outside engine that cannot run it was left while training.
    """
    outside = base.outside
    if outside is None or not outside.rollouts:
        return {}
    obstacle = outside.find_obstacle(change.weights, change.steering)
    return {"rollouts": outside.describe() if obstacle is None else f"in this process: {obstacle}"}
