"""Measure this machine's speed for a model: a second of timed matrix products at the model's shapes.

A forward pass reads every matrix once and multiplies it with one row per token. With few rows it is bound by memory,
with many by arithmetic. One measurement covers both, and the effect of half precision: the time to multiply matrices of
the model's width and type with that many rows. Small models are bound by the number of operations instead, so that is
timed too.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from elicit import runs
from elicit.errors import ElicitError
from elicit.loading.converted import cache_root

if TYPE_CHECKING:
    from torch import Tensor

#: Bytes of matrices in a measurement: more than caches hold.
_BYTES = 1 << 27
#: Numbers of rows that are timed; others are interpolated.
_ROWS = (1, 8, 32, 128, 1024)
#: Most multiplications (values times rows) in one timed run.
_VALUES = 1 << 33
#: Operations of a decoder layer in one forward pass, as many as a small model was seen to take.
_OPERATIONS = 75
#: Factor for attention, norms, sampling and the first touch of memory.
_BESIDES = 1.35


class MachineSpeed(NamedTuple):
    """Seconds per value of a model's matrices, by the number of rows they are multiplied with."""

    seconds: tuple[float, ...]
    operation: float
    """Seconds of one small operation."""

    def forward_seconds(self, rows: float, values: float, layers: int) -> float:
        """Seconds of a forward pass of `rows` tokens through matrices of `values` values in `layers` layers."""
        return _BESIDES * values * self._seconds_per_value(max(1.0, rows)) + layers * _OPERATIONS * self.operation

    def _seconds_per_value(self, rows: float) -> float:
        if rows >= _ROWS[-1]:
            return self.seconds[-1] * rows / _ROWS[-1]
        upper = next(i for i, known in enumerate(_ROWS) if known > rows)
        low, high = _ROWS[upper - 1], _ROWS[upper]
        share = (rows - low) / (high - low)
        return (1 - share) * self.seconds[upper - 1] + share * self.seconds[upper]


def measure_machine(
    width: int, values: int, dtype: str, device: str, threads: int, *, fresh: bool = False
) -> MachineSpeed:
    """Measure the machine's speed for a model of `values` weights and residuals of `width`, on `threads` threads.

    Args:
        fresh: measure again even if an earlier measurement is cached (in the folder of converted models).
    """
    count = max(1, min(values, _BYTES // 2) // (4 * width * width))
    return _load_or_time_machine((width, count, dtype, device, threads), fresh)


@lru_cache(maxsize=32)
def _load_or_time_machine(key: tuple[int, int, str, str, int], fresh: bool) -> MachineSpeed:
    path = cache_root() / "speed.json"
    name = " ".join(map(str, (*key, platform.node(), importlib.metadata.version("torch"))))
    try:
        cached = json.loads(path.read_text())
        speed = MachineSpeed(tuple(map(float, cached[name]["seconds"])), float(cached[name]["operation"]))
    except (OSError, ValueError, KeyError, TypeError):
        cached, speed = {}, None
    if speed is not None and not fresh and len(speed.seconds) == len(_ROWS):
        return speed
    speed = _time_matrix_products(*key)
    entries = {**(cached if isinstance(cached, dict) else {}), name: speed._asdict()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        runs.write_json(path, entries)
    except (OSError, ElicitError):  # a cache that cannot be written costs a second the next time
        pass
    return speed


def _time_matrix_products(width: int, count: int, dtype: str, device: str, threads: int) -> MachineSpeed:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    kind, torch_device = getattr(torch, dtype), torch.device(device)
    try:
        with torch.inference_mode():
            matrices = [torch.empty(4 * width, width, dtype=kind, device=torch_device).normal_() for _ in range(count)]
            rates = []
            for rows in _ROWS:
                x = torch.randn(rows, width, device=torch_device).to(kind)
                some = matrices[: max(1, _VALUES // (rows * 4 * width * width))]
                products = partial(_multiply_all, x, some)
                taken = _time_median(products, torch_device)
                rates.append(taken / sum(w.numel() for w in some))
            small = torch.randn(64, width, device=torch_device).to(kind)
            operation = _time_median(lambda: [small.mul(1.0) for _ in range(200)], torch_device) / 200
    finally:
        torch.set_num_threads(before)
    return MachineSpeed(tuple(rates), operation)


def _multiply_all(x: Tensor, matrices: Sequence[Tensor]) -> list[Tensor]:
    import torch

    return [torch.nn.functional.linear(x, matrix) for matrix in matrices]


def _time_median(run: Callable[[], object], device: object, seconds: float = 0.05) -> float:
    """The median over a few runs, at least two, after one that warms up."""
    import torch

    def time_once() -> float:
        start = time.perf_counter()
        run()
        if str(device).startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - start

    first = time_once()
    durations = [time_once() for _ in range(max(2, min(5, int(seconds / max(first, 1e-6)))))]
    return sorted(durations)[len(durations) // 2]
