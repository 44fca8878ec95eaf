"""Shared fixtures. Tiny models run on one thread: more only costs time at their size."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# For the workers of xdist and what tests start: numpy's BLAS else waits for its other threads by spinning, on the core
# that the other worker uses. In this process numpy is there already.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from tests.support import shared

gc.disable()  # until everything is collected: what imports make stays, and a sixth of their time went into looking
torch.set_num_threads(1)
# A forked copy must make torch's thread pool anew before the threads in which transformers loads weights race for it
# ("Invalid thread pool!").
os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
shared.prepare()


def pytest_collection_finish() -> None:
    """Keep what every import has made out of the garbage collector: trainers call it after each of their fits.

    It would look through some million objects of torch and transformers each time, for about a second.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
