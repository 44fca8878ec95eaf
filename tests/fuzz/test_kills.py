"""A hundred kills of a small run, some while an arm of it is made again: resumed, no row differs."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from elicit import seeds
from elicit.comparison.running.corrections import NO_CORRECTIONS, Corrections
from elicit.comparison.running.engine import run_cells
from elicit.comparison.spec import check_spec
from tests.e2e.test_resume import _arm_with_death
from tests.support.comparisons import SPEC, changed, policies, rows, strays, with_arms

_KILLS = 100


def _spec(strength: float) -> dict[str, Any]:
    steering = {**SPEC["arms"]["mean_steering"], "layers": [0], "strengths": [strength]}
    arms = {
        **with_arms("base"),
        "mean_steering": steering,
        "mean_steering/random": {"method": "random_vector", "parent": "mean_steering"},
        "sft": {"method": "sft", "demonstrations": 4, "epochs": 1, "checkpoints": [1]},
    }
    return changed(arms=arms, off_target={}, seeds=1, samples=1, test=6, kl_problems=2)


def _killed(data: dict[str, Any], run: Path, corrections: Corrections, moment: int) -> bool:
    """Work in a forked child that dies at its `moment`-th chance. False: it was finished before."""
    child = os.fork()
    if child == 0:
        try:
            _arm_with_death(moment)
            os._exit(len(run_cells(check_spec(data), run, workers=1, corrections=corrections)))
        except BaseException:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


@pytest.mark.slow
def test_no_row_differs_after_a_hundred_kills(tmp_path: Path) -> None:
    whole = {}
    for strength in (1.0, 1.5):
        whole[strength] = tmp_path / f"whole{strength}"
        assert run_cells(check_spec(_spec(strength)), whole[strength], workers=1) == []
    kills, finished, run = 0, 0, tmp_path / "run"
    while kills < _KILLS or finished % 2:
        strength, corrections = ((1.0, NO_CORRECTIONS), (1.5, Corrections(("mean_steering",))))[finished % 2]
        rng = seeds.make_generator("kills", kills, finished)
        if _killed(_spec(strength), run, corrections, int(rng.integers(1, 40))):
            kills += 1
            assert kills < 100 * (finished + 1), "no progress"
            continue
        assert rows(run) == rows(whole[strength])
        assert policies(run) == policies(whole[strength])
        assert strays(run) == []
        finished += 1
        if finished % 2 == 0:
            shutil.rmtree(run)
    assert finished >= 4
