"""Number of threads that torch uses inside an operation, chosen only here."""

from __future__ import annotations

import os

#: Below this many parameters one thread is 20 to 80 times faster than several: waking threads costs more than the work.
SMALL_MODEL = 5_000_000


def choose_threads(n_params: int, *, cores: int | None = None) -> int:
    """Intra-op threads for a model of `n_params` parameters: one for a small model, else every core.

    Args:
        n_params: number of parameters.
        cores: cores this process may use. Default: those that the operating system grants, at most OMP_NUM_THREADS if
            that is set (see `set_core_share`).
    """
    if n_params < SMALL_MODEL:
        return 1
    return max(1, _count_available_cores() if cores is None else cores)


def set_torch_threads(n_params: int) -> int:
    """Set torch's intra-op threads for a model of `n_params` parameters, and return their number."""
    import torch

    threads = choose_threads(n_params)
    torch.set_num_threads(threads)
    return threads


def set_core_share(processes: int) -> None:
    """Use only this process's share of the cores, for models that are loaded from now on.

    Several processes that each have a thread per core wait for one another at every operation.
    """
    os.environ["OMP_NUM_THREADS"] = str(max(1, _count_available_cores() // processes))


def _count_available_cores() -> int:
    return limit_cores((os.cpu_count() or 1) if os.name == "nt" else len(os.sched_getaffinity(0)))


def limit_cores(cores: int) -> int:
    """So many cores, at most OMP_NUM_THREADS if that is set."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdigit() and int(limit) > 0 else cores
