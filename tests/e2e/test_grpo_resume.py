"""A run with reinforcement in it can be killed at any step; one training that goes wrong leaves the others alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trl  # here, so that no forked child has to import it

from elicit.comparison.running.engine import run_cells
from elicit.comparison.spec import check_spec
from elicit.training import rollouts
from elicit.training.resume import CheckpointSealCallback
from tests.support.comparisons import assert_same_run, changed, elicit, figures, policies, start, write_spec

assert trl.GRPOTrainer is not None

GRPO: dict[str, Any] = {
    "method": "grpo",
    "steps": 6,
    "problems": 3,
    "generations": 8,
    "pilot_problems": 24,
    "pilot_samples": 16,
    "learning_rate": 1e-3,
    "checkpoint_every": 2,
}
SPEC = changed(
    arms={"base": {"method": "base"}, "grpo": GRPO}, seeds=1, off_target={}, samples=0, test=8, kl_problems=2
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    done = elicit("run", write_spec(folder, SPEC), "--out", folder / "run", "--workers", 1)
    assert done.code == 0, done.err
    assert len({policies(folder / "run")[f"cells/cued/{arm}/0"] for arm in ("base", "grpo")}) == 2
    return folder / "run"


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _while_sampling(step: int) -> None:
    sample = rollouts.sample_rollouts

    def roll_out(*args: Any, **options: Any) -> Any:
        drawn = sample(*args, **options)
        if options["step"] == step:
            _die()
        return drawn

    rollouts.sample_rollouts = roll_out


def _while_saving(step: int) -> None:
    """The files of a checkpoint are there, its seal is not."""
    seal = CheckpointSealCallback.on_save

    def on_save(self: Any, args: Any, state: Any, control: Any, **options: Any) -> None:
        if state.global_step == step:
            _die()
        seal(self, args, state, control, **options)

    CheckpointSealCallback.on_save = on_save  # type: ignore[method-assign]


def _killed(run: Path, arm_with_death: Callable[[], None]) -> bool:
    """Work on `run` in a forked child with a death in wait. False: it was through before it came."""
    child = os.fork()
    if child == 0:
        try:
            arm_with_death()
            os._exit(len(run_cells(check_spec(SPEC), run, workers=1)))
        except BaseException:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def test_killed_at_any_step_equals_uninterrupted(tmp_path: Path, whole: Path) -> None:
    run = tmp_path / "run"
    assert _killed(run, lambda: _while_sampling(1))
    assert _killed(run, lambda: _while_saving(2))
    assert _killed(run, lambda: _while_sampling(3))
    scratch = run / "cells" / "cued" / "grpo" / "0" / "scratch"
    assert (scratch / "checkpoint-2" / "seal.json").exists()
    assert _killed(run, lambda: _while_saving(4))
    assert not (scratch / "checkpoint-4" / "seal.json").exists()
    assert _killed(run, lambda: _while_saving(6))
    assert not _killed(run, lambda: _while_sampling(1)), "steps that a checkpoint holds are not done again"
    assert elicit("run", write_spec(tmp_path, SPEC), "--out", run, "--workers", 1).code == 0
    assert not scratch.exists()
    assert_same_run(run, whole)


@pytest.mark.slow
def test_killed_through_the_command_line(tmp_path: Path, whole: Path) -> None:
    spec, run = write_spec(tmp_path, SPEC), tmp_path / "run"
    for _ in range(5):
        process = start("run", spec, "--out", run, "--workers", 1)
        while process.poll() is None and not list(run.glob("cells/cued/grpo/0/scratch/checkpoint-*/seal.json")):
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if process.returncode == -signal.SIGKILL:
            break
        shutil.rmtree(run)  # it was through before anybody looked
    else:
        pytest.fail("the moment never came in time")
    done = elicit("run", spec, "--out", run, "--workers", 1)
    assert done.code == 0, done.err
    assert_same_run(run, whole)


def test_a_training_that_diverges_fails_alone(tmp_path: Path, whole: Path) -> None:
    arms = {"base": {"method": "base"}, "wild": {**GRPO, "learning_rate": 1e30}, "grpo": GRPO}
    run = tmp_path / "run"
    done = elicit("run", write_spec(tmp_path, {**SPEC, "arms": arms}), "--out", run, "--workers", 1)
    assert done.code == 1
    status = json.loads((run / "cells/cued/wild/0/status.json").read_text())
    assert status["state"] == "failed"
    assert status["traceback"] is None
    said = r"step \d: training diverged: the trained values have norm .* Lower learning_rate \(it is 1e\+30\)\."
    assert re.fullmatch(said, status["error"])
    entries = figures(run)["models"]["cued"]["tasks"]["addition"]["arms"]
    assert entries["wild"]["error"] == status["error"]
    assert entries["wild"]["failed_seeds"] == [{"seed": 0, "error": status["error"]}]
    assert entries["wild"]["accuracy"] is None
    assert entries["grpo"]["status"] == "done"
    hashes = {
        arm: json.loads((run / f"cells/cued/{arm}/0/status.json").read_text())["policy_sha256"]
        for arm in ("base", "grpo")
    }
    assert hashes == {arm: policies(whole)[f"cells/cued/{arm}/0"] for arm in ("base", "grpo")}
    assert not (run / "cells/cued/wild/0/scratch").exists()
    assert (run / "report.html").exists()
