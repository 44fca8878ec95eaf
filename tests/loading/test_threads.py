from __future__ import annotations

import pytest
import torch

from elicit.comparison.running import workers
from elicit.loading import threads


def test_small_models_get_one_thread_and_others_every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads.choose_threads(1, cores=8) == threads.choose_threads(4_999_999, cores=8) == 1
    assert threads.choose_threads(5_000_000, cores=8) == 8
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: range(6), raising=False)
    for limit, expected in (("", 6), ("4", 4), ("9", 6), ("0", 6), ("2,2", 6)):
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
        assert threads.choose_threads(10**9) == expected


def test_apply_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    assert threads.set_torch_threads(1_000) == torch.get_num_threads() == 1
    monkeypatch.setattr(threads, "_count_available_cores", lambda: 2)
    assert threads.set_torch_threads(10**8) == torch.get_num_threads() == 2


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: range(8), raising=False)
    for processes, expected in ((1, 7), (2, 3), (7, 1), (9, 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        threads.set_core_share(processes)
        assert threads.choose_threads(10**9) == expected


def test_a_worker_begins_with_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    alone = threads.choose_threads(10**9)
    with workers.open_workers(2) as submit:
        assert submit(threads.choose_threads, 10**9).result() == max(1, alone // 2)
    assert threads.choose_threads(10**9) == alone
