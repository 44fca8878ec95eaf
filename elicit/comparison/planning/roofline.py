"""Hours on a GPU that is not here, by a roofline: an interval from what engines reach of the GPU's peak figures.

A step takes as long as the slower of two: its arithmetic, and reading weights, keys and values once. Starting its
kernels comes beside that: hidden behind it at best, added at worst.

    FLOPs of a token:  2 N + 4 L A T        N weights in its matrix products, L layers, A width of the query heads,
                                            T tokens that it attends to (its causal half is computed too)
    training:          3 times that; 2 where the weights are frozen, since they need no gradient; one more where
                       activations are recomputed

The shares of the peaks are assumptions, not measurements. No GPU has been measured yet; `elicit run` corrects a plan by
finished cells of the same run where it runs.
"""

from __future__ import annotations

from typing import NamedTuple

from elicit.comparison.planning.gpus import Gpu
from elicit.comparison.planning.machine import FILLED
from elicit.comparison.planning.memory import ModelProfile
from elicit.comparison.planning.token_costs import Price
from elicit.method import Generation


class Interval(NamedTuple):
    """Low and high, in seconds or hours."""

    low: float = 0.0
    high: float = 0.0

    def plus(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> Interval:
        return Interval(self.low * factor, self.high * factor)


class EngineSpeed(NamedTuple):
    """Shares of a GPU's peaks that an engine reaches, and what a step takes beside them. Each (least, most)."""

    name: str
    arithmetic: tuple[float, float]
    """Share of FLOP/s, for prompts and for many rows."""
    bandwidth: tuple[float, float]
    layer: tuple[float, float]
    """Seconds to start the kernels of a layer, in every step."""
    row: tuple[float, float]
    """Seconds a row and step on the CPU: random numbers, stop strings, scheduling."""

    @property
    def assumptions(self) -> str:
        """The shares in words."""
        flops, read = ("-".join(f"{100 * share:.0f}" for share in pair) for pair in (self.arithmetic, self.bandwidth))
        layer = "-".join(f"{1e3 * seconds:g}" for seconds in self.layer)
        return f"{self.name} {flops} % of arithmetic, {read} % of bandwidth, {layer} ms a layer and step"


TRANSFORMERS = EngineSpeed("transformers", (0.25, 0.6), (0.35, 0.75), (0.4e-3, 1.2e-3), (2e-6, 2e-5))
#: Without CUDA graphs: the lab's edits are Python in every step (`elicit_vllm.engine`).
VLLM = EngineSpeed("vLLM", (0.35, 0.7), (0.5, 0.85), (0.15e-3, 0.5e-3), (1e-5, 6e-5))
#: Share of FLOP/s while training: short rows in small batches.
TRAINING = (0.15, 0.45)


def count_flops(price: Price, profile: ModelProfile, training: str) -> float:
    """FLOPs of one kind of work."""
    prompts = sum(_prompt_flops(draw, profile) for draw in price.draws) + 2 * profile.inner * price.read
    generated = sum(_generated_flops(draw, profile) for draw in price.draws)
    return prompts + generated + _training_flops(price, profile, training)[0]


def estimate_seconds(price: Price, profile: ModelProfile, gpu: Gpu, engine: EngineSpeed, training: str) -> Interval:
    """Seconds of one kind of work on one GPU.

    Args:
        training: as `CostEstimate.training`.
    """
    peak = gpu.find_flops(profile.dtype)
    prompts = sum(_prompt_flops(draw, profile) for draw in price.draws) + 2 * profile.inner * price.read
    seconds = Interval(prompts / (peak * engine.arithmetic[1]), prompts / (peak * engine.arithmetic[0]))
    for draw in price.draws:
        if draw.completions and draw.length:
            seconds = seconds.plus(_estimate_generation(draw, profile, gpu, engine))
    least, most = _training_flops(price, profile, training)
    return seconds.plus(Interval(least / (peak * TRAINING[1]), most / (peak * TRAINING[0])))


def _estimate_generation(draw: Generation, profile: ModelProfile, gpu: Gpu, engine: EngineSpeed) -> Interval:
    rows = max(1.0, min(draw.rows, draw.completions, profile.rows_per_batch(draw.prompt + draw.length)) * FILLED)
    steps = draw.passes * draw.completions * draw.length / rows
    read = profile.read_bytes(rows) + rows * profile.kv * (draw.prompt + draw.length / 2)
    flops = _generated_flops(draw, profile) / steps
    peak = gpu.find_flops(profile.dtype)
    best, worst = (
        max(read / (gpu.bandwidth * 1e9 * engine.bandwidth[i]), flops / (peak * engine.arithmetic[i])) for i in (1, 0)
    )
    beside = [profile.layers * engine.layer[i] + rows * engine.row[i] for i in (0, 1)]
    return Interval(steps * max(best, beside[0]), steps * (worst + beside[1]))


def _prompt_flops(draw: Generation, profile: ModelProfile) -> float:
    """FLOPs of reading the prompts: the head is needed once for each."""
    head = profile.matrices - profile.inner
    token = 2 * profile.inner + 4 * profile.layers * profile.attention * draw.prompt
    return draw.prompts * (draw.prompt * token + 2 * head)


def _generated_flops(draw: Generation, profile: ModelProfile) -> float:
    context = draw.prompt + draw.length / 2
    token = 2 * profile.matrices + 4 * profile.layers * profile.attention * context
    return draw.passes * draw.completions * draw.length * token


def _training_flops(price: Price, profile: ModelProfile, training: str) -> tuple[float, float]:
    """Least, and most where activations are recomputed."""
    forward, passes = 2.0 * profile.matrices * price.trained, 3 if training == "full" else 2
    return forward * passes, forward * (passes + 1)
