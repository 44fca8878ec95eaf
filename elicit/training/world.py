"""The processes of one training: `torchrun` starts them, and each joins the world before it loads anything.

    with join_world(2, device="cpu"):     # in each of two processes: torchrun --nproc-per-node 2 ...
        policy = method.fit(base, task, seed=0, needs={})

A training asks `get_world` for its part of the rows. Without a world it is the only process, and it refuses to run
where a launcher has started several: TRL would train on a batch of another size, silently.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from elicit.errors import ElicitError

T = TypeVar("T")
S = TypeVar("S")

#: Longest wait for another process: one may sample, or call a reward function, for much longer than the others.
_PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class World:
    """The processes that train together."""

    size: int = 1
    rank: int = 0
    """This process, from 0. Process 0 writes the files."""
    backend: str | None = None
    """gloo (CPU) or nccl (CUDA); None for a single process."""

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def wait_for_all(self) -> None:
        """Return once every process has called this."""
        self.gather(None)

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in their order, in each of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def share_main(self, compute: Callable[[], T]) -> T:
        """Process 0 computes a value, and every process gets it."""
        if self.size == 1:
            return compute()
        values: list[Any] = [compute() if self.is_main else None]
        dist.broadcast_object_list(values, src=0)
        shared: T = values[0]
        return shared

    def map_shared(self, function: Callable[[Sequence[S]], Sequence[T]], items: Sequence[S]) -> list[T]:
        """Apply `function` to a list, of which each process takes every n-th item; returns all results, in order."""
        if self.size == 1:
            return list(function(items))
        results: list[Any] = [None] * len(items)
        own = items[self.rank :: self.size]
        for rank, part in enumerate(self.gather(list(function(own)) if own else [])):
            results[rank :: self.size] = part
        return results


_ALONE = World()
_worlds = [_ALONE]


def get_world() -> World:
    """The world that this process has joined; a world of its own if it has not."""
    return _worlds[-1]


@contextmanager
def join_world(size: int, device: str = "auto") -> Iterator[World]:
    """Join the processes that `torchrun` started, by its environment variables.

    Args:
        size: the number of processes that there must be.
        device: cpu, or cuda for GPU number LOCAL_RANK; auto: CUDA where torch sees a GPU.

    Raises:
        ElicitError: there are more or fewer processes, or this one has no GPU.
    """
    started = _count_started()
    if started != size:
        raise ElicitError(_describe_mismatch(started, size))
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        local = int(os.environ["LOCAL_RANK"])
        check_visible_gpus(local + 1)
        torch.cuda.set_device(local)
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        check_size(dist.get_world_size(), size)
        world = World(size, dist.get_rank(), backend)
        _worlds.append(world)
        try:
            yield world
        finally:
            _worlds.remove(world)
    finally:
        dist.destroy_process_group()


def check_visible_gpus(processes: int) -> None:
    """Raise ElicitError if there are fewer GPUs than processes on this machine."""
    count = torch.cuda.device_count()
    if processes > count:
        raise ElicitError(
            f"processes: {processes} needs {processes} GPUs, and torch sees {count}. Type processes: {max(1, count)}, "
            "or list more in CUDA_VISIBLE_DEVICES."
        )


def check_launcher() -> None:
    """Raise ElicitError in a process of several that a launcher started, unless it has joined their world."""
    if (started := _count_started()) != get_world().size:
        raise ElicitError(_describe_mismatch(started, get_world().size))


def check_size(count: int, size: int) -> None:
    """Raise ElicitError unless the trainer, or torch, counts as many processes as the world has."""
    if count != size:
        raise ElicitError(_describe_mismatch(count, size))


def _count_started() -> int:
    value = os.environ.get("WORLD_SIZE", "1")
    return int(value) if value.isdigit() else 1


def _describe_mismatch(started: int, wanted: int) -> str:
    def count(n: int) -> str:
        return f"{n} process{'es' if n != 1 else ''}"

    return (
        f"this training was started with {count(started)}, and is to run in {count(wanted)}. Type processes: {started} "
        f"in the spec (or --processes {started}) and let elicit run start them, or type "
        f"torchrun --nproc-per-node {wanted}"
    )
