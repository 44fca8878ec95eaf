"""Peak memory of a cell, as the system counts it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path


def reset_peak_memory() -> None:
    """Reset the peaks of resident memory (on Linux) and of CUDA."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def read_peak_gib() -> float | None:
    """Peak GiB since the reset: this process's resident memory plus its GPU memory. None where it is unknown."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        host = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        return None
    torch = sys.modules.get("torch")
    gpus = range(torch.cuda.device_count()) if torch is not None and torch.cuda.is_available() else ()
    return float((host + sum(torch.cuda.max_memory_allocated(i) for i in gpus)) / 2**30)  # type: ignore[union-attr]
