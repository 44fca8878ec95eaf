"""A plan on GPUs: of every arm the work, hours on transformers and with vLLM, memory, and what vLLM can take over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from elicit.comparison.cell_state import count_test_problems
from elicit.comparison.planning.basis import ModelBasis
from elicit.comparison.planning.gpus import Gpu, Gpus
from elicit.comparison.planning.machine import CELL, LOAD, START, TRAINER, TRL
from elicit.comparison.planning.memory import ModelProfile, estimate_memory_gib
from elicit.comparison.planning.plan import Plan
from elicit.comparison.planning.roofline import (
    TRANSFORMERS,
    VLLM,
    EngineSpeed,
    Interval,
    count_flops,
    estimate_seconds,
)
from elicit.comparison.planning.token_costs import CellPrice, Price
from elicit.comparison.spec.cells import Cell
from elicit.comparison.spec.shared_training import count_processes
from elicit.errors import ElicitError
from elicit.fitting.rollout_cost import ROLLOUTS
from elicit.method import CostEstimate, Generation

#: Least and most bytes of keys and values in a batch on a GPU, and the share of what the weights leave
#: (`elicit.sampling.cache`).
_CACHE, _CACHE_SHARE = (1 << 28, 1 << 33), 3
#: Numbers of processes that are tried for a training that does not fit on one GPU.
_PROCESSES = (2, 4, 8, 16)
#: Seconds until a vLLM server answers, beside reading its weights.
_SERVER = Interval(30.0, 120.0)
#: GiB that a vLLM server needs beside its weights: CUDA, and keys and values for a few rows.
_SERVER_GIB = 3.0


class CellOnGpu(NamedTuple):
    """One cell on one kind of GPU."""

    cell: Cell
    transformers: Interval
    """Hours from its beginning to its end."""
    vllm: Interval
    """The same where an outside engine generates what it can, and the rest is done in the lab's process."""
    flops: float
    gib: float
    """Of the lab's process."""
    gpus: int
    """GPUs that hold it."""
    fits: bool
    """False for a training whose processes do not fit on a GPU each."""
    would_do: int | None
    """Processes that would fit (`processes` in a spec); None where it fits, or no number does."""
    stays: tuple[Generation, ...]
    """Completions that an outside engine cannot generate."""


class ArmOnGpu(NamedTuple):
    """One arm over its models and seeds."""

    arm: str
    cells: int
    generated: float
    """Tokens."""
    prompted: float
    trained: float
    flops: float
    transformers: Interval
    """GPU-hours."""
    vllm: Interval
    moved: float
    """Share of the generated tokens that an outside engine can generate."""
    obstacles: tuple[str, ...]
    """Why the others stay."""
    gib: float
    gpus: int
    too_large: int
    """Cells whose training does not fit on a GPU for each process, or that all GPUs together do not hold."""
    would_do: int | None
    """Processes that would fit; None where no number is known to."""


class GpuPlan(NamedTuple):
    """A comparison on GPUs."""

    gpus: Gpus
    arms: tuple[ArmOnGpu, ...]
    transformers: Interval
    """Hours until the last cell ends, with one process for each GPU."""
    vllm: Interval
    share_for_vllm: float | None
    """`gpu_memory_utilization` of a server that shares the GPU with the lab's process; None where it has no room."""


def plan_on_gpus(plan: Plan, gpus: Gpus, limit: int | None) -> GpuPlan:
    """Estimate the pending cells of models of known size.

    Raises:
        ElicitError: the GPU does not compute in a model's dtype.
    """
    bases = {basis.label: place_on_gpu(basis, gpus.gpu) for basis in plan.bases if basis.profile is not None}
    placed: dict[str, list[tuple[CellOnGpu, CellPrice]]] = {}
    for cell in plan.pending:
        if cell.model in bases:
            basis = bases[cell.model]
            price = basis.price(cell, count_test_problems(basis.spec, limit))
            placed.setdefault(cell.arm, []).append((estimate_cell(basis, cell, price, gpus.gpu, limit), price))
    arms = tuple(_sum_arm(arm, entries, gpus.count) for arm, entries in placed.items())
    cells = [cell for entries in placed.values() for cell, _ in entries]
    weights = max((basis.profile.weights for basis in bases.values() if basis.profile), default=0) / 2**30
    begin = Interval(START + LOAD * weights, START + TRL + LOAD * weights).times(1 / 3600)
    return GpuPlan(
        gpus,
        arms,
        _span(((cell, cell.transformers) for cell in cells), gpus, begin),
        _span(((cell, cell.vllm) for cell in cells), gpus, begin.plus(_SERVER.times(1 / 3600))),
        _find_room(cells, weights, gpus.gpu),
    )


def place_on_gpu(basis: ModelBasis, gpu: Gpu) -> ModelBasis:
    """A model of known size as it would be held on this GPU: with the sampler's cache there."""
    profile = basis.profile
    assert profile is not None
    least, most = _CACHE
    cache = max(least, min(most, (gpu.usable_gib * 2**30 - profile.weights) / _CACHE_SHARE))
    if basis.spec.cache_gib is not None:
        cache = profile.cache
    return basis._replace(profile=profile._replace(cache=cache, device="cuda"))


def estimate_cell(basis: ModelBasis, cell: Cell, price: CellPrice, gpu: Gpu, limit: int | None) -> CellOnGpu:
    """Estimate one cell of a model that `place_on_gpu` has placed."""
    profile, cost = basis.profile, basis.estimate_cost(cell.arm)
    assert profile is not None
    processes = count_processes(basis.spec, cell.arm) if cost.trained_tokens else 1
    gib = _estimate_gib(basis, cost, limit, processes)
    held = processes if cost.trained_tokens else max(1, math.ceil(gib / gpu.usable_gib))
    fits = gib <= gpu.usable_gib or not cost.trained_tokens
    would_do = None if fits else _find_processes(basis, cell, cost, gpu, limit)
    constant = CELL + (TRAINER if cost.trained_tokens else 0.0)
    on_transformers = on_both = Interval(constant, constant)
    stays: list[Generation] = []
    rollouts = basis.spec.engine != "transformers" and basis.spec.engine.vllm.rollouts
    for whole in price.work:
        work = whole._replace(trained=whole.trained / processes)
        on_transformers = on_transformers.plus(_seconds(work, profile, gpu, TRANSFORMERS, cost))
        here, outside = split_by_engine(work, rollouts=rollouts)
        on_both = on_both.plus(_seconds(here, profile, gpu, TRANSFORMERS, cost))
        on_both = on_both.plus(_seconds(outside, profile, gpu, VLLM, cost))
        stays += here.draws
    flops = sum(count_flops(work, profile, cost.training) for work in price.work)
    return CellOnGpu(
        cell, on_transformers.times(1 / 3600), on_both.times(1 / 3600), flops, gib, held, fits, would_do, tuple(stays)
    )


def _estimate_gib(basis: ModelBasis, cost: CostEstimate, limit: int | None, processes: int) -> float:
    assert basis.profile is not None
    problems = count_test_problems(basis.spec, limit)
    return estimate_memory_gib(basis.profile, cost, basis.lengths, problems, processes=processes)


def _find_processes(basis: ModelBasis, cell: Cell, cost: CostEstimate, gpu: Gpu, limit: int | None) -> int | None:
    """The smallest number of processes that may share the training and fit on a GPU each."""
    for processes in _PROCESSES:
        try:
            shares = basis.methods[cell.arm].shares_training(processes)
        except ElicitError:  # not with this number
            continue
        if shares and _estimate_gib(basis, cost, limit, processes) <= gpu.usable_gib:
            return processes
    return None


def split_by_engine(work: Price, *, rollouts: bool) -> tuple[Price, Price]:
    """What stays in the lab's process, and what an outside engine can generate.

    Args:
        rollouts: the engine is asked for rollouts too.
    """
    here = tuple(draw for draw in work.draws if draw.obstacle and not (rollouts and draw.obstacle == ROLLOUTS))
    outside = tuple(draw for draw in work.draws if draw not in here)
    return work._replace(draws=here), Price(outside, 0.0, 0.0)


def _seconds(work: Price, profile: ModelProfile, gpu: Gpu, engine: EngineSpeed, cost: CostEstimate) -> Interval:
    return estimate_seconds(work, profile, gpu, engine, cost.training)


def _sum_arm(arm: str, entries: Sequence[tuple[CellOnGpu, CellPrice]], gpus: int) -> ArmOnGpu:
    cells = [cell for cell, _ in entries]
    work = [item for _, price in entries for item in price.work]
    generated = sum(item.generated for item in work)
    here = [draw for cell, _ in entries for draw in cell.stays if draw.completions]
    moved = generated - sum(draw.completions * draw.length for draw in here)
    stays = (draw.obstacle for draw in here)
    return ArmOnGpu(
        arm,
        len(cells),
        generated,
        sum(item.prompted for item in work),
        sum(item.trained for item in work),
        sum(cell.flops for cell in cells),
        add_up(cell.transformers.times(cell.gpus) for cell in cells),
        add_up(cell.vllm.times(cell.gpus) for cell in cells),
        max(0.0, moved / generated) if generated else 0.0,
        tuple(dict.fromkeys(stays)),
        max(cell.gib for cell in cells),
        max(cell.gpus for cell in cells),
        sum(not cell.fits or cell.gpus > gpus for cell in cells),
        max((cell.would_do for cell in cells if cell.would_do), default=None),
    )


def add_up(intervals: Iterable[Interval]) -> Interval:
    """The sum of intervals, end by end."""
    total = Interval()
    for interval in intervals:
        total = total.plus(interval)
    return total


def _span(cells: Iterable[tuple[CellOnGpu, Interval]], gpus: Gpus, begin: Interval) -> Interval:
    """Hours of all cells that fit, spread over the GPUs; at least those of the longest."""
    fitting = [(hours, cell.gpus) for cell, hours in cells if cell.fits and cell.gpus <= gpus.count]
    shared = add_up(hours.times(count / gpus.count) for hours, count in fitting)
    low = max([shared.low, *(hours.low for hours, _ in fitting)])
    high = max([shared.high, *(hours.high for hours, _ in fitting)])
    return Interval(low, high).plus(begin)


def _find_room(cells: Sequence[CellOnGpu], weights: float, gpu: Gpu) -> float | None:
    """Share of the GPU's memory for a vLLM server beside the largest process of the lab that fits."""
    largest = max((cell.gib for cell in cells if cell.gpus == 1), default=0.0)
    room = gpu.usable_gib - largest
    return None if room < weights + _SERVER_GIB else math.floor(100 * room / gpu.memory) / 100
