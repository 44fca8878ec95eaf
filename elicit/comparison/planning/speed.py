"""How fast this machine runs a model, from a second of timed matrix products at the model's shapes.

A forward pass reads every matrix once and multiplies it with as many rows as there are tokens. With few rows that is
bound by memory, with many by arithmetic; both, and what half precision brings, are in one measurement: how long it
takes to go through matrices of the model's width and type with that many rows. Small models are bound by neither but by
the number of operations, so that is timed too.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from elicit import runs
from elicit.errors import ElicitError
from elicit.loading.converted import cache_root

#: Bytes of matrices to go through: more than caches hold.
_BYTES = 1 << 27
#: Rows that are timed; others lie in between.
_ROWS = (1, 8, 32, 128, 1024)
#: Products of values and rows in one timed run, at most.
_VALUES = 1 << 33
#: Operations of a decoder layer in one forward pass, as many as a small model was seen to take.
_OPERATIONS = 75
#: What attention, norms, sampling and the first touch of memory take besides, as a share.
_BESIDES = 1.35


class Machine(NamedTuple):
    """Seconds per value of a model's matrices, by the number of rows they are multiplied with."""

    seconds: tuple[float, ...]
    operation: float
    """Seconds of one small operation."""

    def forward(self, rows: float, values: float, layers: int) -> float:
        """Seconds of a forward pass of `rows` tokens through matrices of `values` values in `layers` layers."""
        return _BESIDES * values * self._per_value(max(1.0, rows)) + layers * _OPERATIONS * self.operation

    def _per_value(self, rows: float) -> float:
        if rows >= _ROWS[-1]:
            return self.seconds[-1] * rows / _ROWS[-1]
        upper = next(i for i, known in enumerate(_ROWS) if known > rows)
        low, high = _ROWS[upper - 1], _ROWS[upper]
        share = (rows - low) / (high - low)
        return (1 - share) * self.seconds[upper - 1] + share * self.seconds[upper]


def machine(width: int, values: int, dtype: str, device: str, threads: int, *, fresh: bool = False) -> Machine:
    """How fast this machine is for a model of `values` values and residuals of `width`, on `threads` threads.

    Args:
        fresh: measure it, even if it is known from earlier; a measurement is kept beside converted models.
    """
    count = max(1, min(values, _BYTES // 2) // (4 * width * width))
    return _kept((width, count, dtype, device, threads), fresh)


@lru_cache(maxsize=32)
def _kept(key: tuple[int, int, str, str, int], fresh: bool) -> Machine:
    path = cache_root() / "speed.json"
    name = " ".join(map(str, (*key, platform.node(), importlib.metadata.version("torch"))))
    try:
        known = json.loads(path.read_text())
        found = Machine(tuple(map(float, known[name]["seconds"])), float(known[name]["operation"]))
    except (OSError, ValueError, KeyError, TypeError):
        known, found = {}, None
    if found is not None and not fresh and len(found.seconds) == len(_ROWS):
        return found
    found = _measured(*key)
    entries = {**(known if isinstance(known, dict) else {}), name: found._asdict()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        runs.write_json(path, entries)
    except (OSError, ElicitError):  # a cache that cannot be written costs a second the next time
        pass
    return found


def _measured(width: int, count: int, dtype: str, device: str, threads: int) -> Machine:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    kind, place = getattr(torch, dtype), torch.device(device)
    try:
        with torch.inference_mode():
            matrices = [torch.empty(4 * width, width, dtype=kind, device=place).normal_() for _ in range(count)]
            rates = []
            for rows in _ROWS:
                x = torch.randn(rows, width, device=place).to(kind)
                some = matrices[: max(1, _VALUES // (rows * 4 * width * width))]
                taken = _timed(lambda x=x, some=some: [torch.nn.functional.linear(x, w) for w in some], place)  # type: ignore[misc]
                rates.append(taken / sum(w.numel() for w in some))
            small = torch.randn(64, width, device=place).to(kind)
            operation = _timed(lambda: [small.mul(1.0) for _ in range(200)], place) / 200
    finally:
        torch.set_num_threads(before)
    return Machine(tuple(rates), operation)


def _timed(run: Callable[[], object], device: object, seconds: float = 0.05) -> float:
    """The median over a few runs, at least two, after one that warms up."""
    import torch

    def once() -> float:
        start = time.perf_counter()
        run()
        if str(device).startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - start

    first = once()
    found = [once() for _ in range(max(2, min(5, int(seconds / max(first, 1e-6)))))]
    return sorted(found)[len(found) // 2]
