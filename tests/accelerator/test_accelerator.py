"""The lab on an accelerator that is simulated: what it says there, and whether it mixes devices.

No GPU is needed: tensors claim `cuda:0`, keep their data on the CPU and refuse to be mixed (`simulated`). Whether that
would notice a mistake is tested too, by planting some (`planted`). The same scenarios run on a real GPU:

    python -m tests.accelerator cpu --out cpu.json && python -m tests.accelerator cuda:0 --against cpu.json
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.accelerator import building
from tests.accelerator.comparing import differences
from tests.accelerator.planted import PLANTED
from tests.accelerator.scenarios import SCENARIOS

#: Those of a few seconds that reach every device-dependent part; the others are slow.
QUICK = ("sampling", "steering", "gradient through a hook", "low precision and bridge", "divergence", "sae discovery",
         "sae training", "sft", "grpo", "rl_steering", "hybrid_steering", "budget_forcing", "dola")  # fmt: skip
ROOT = Path(__file__).parents[2]


def simulated(folder: Path, names: tuple[str, ...], *options: str) -> dict[str, Any]:
    """What the scenarios gave in a process whose torch believes in a CUDA device."""
    try:
        building.build()
    except building.CannotBuild as error:
        pytest.skip(str(error))
    out = folder / "simulated.json"
    command = [sys.executable, "-m", "tests.accelerator", "simulated", "--out", str(out), *options, "--only", *names]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert out.exists(), done.stderr[-2000:]
    document: dict[str, Any] = json.loads(out.read_text())
    return document


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return simulated(tmp_path_factory.mktemp("accelerator"), QUICK, "--plant")


@functools.cache
def on_cpu(name: str) -> Any:
    return json.loads(json.dumps(SCENARIOS[name]("cpu")))


@pytest.mark.parametrize("name", QUICK)
def test_it_gives_what_the_cpu_gives(quick: dict[str, Any], name: str) -> None:
    assert name not in quick["failures"]
    assert differences(on_cpu(name), quick["results"][name], 1e-3) == []


def test_nothing_mixes_devices(quick: dict[str, Any]) -> None:
    assert quick["mistakes"] == []


def test_rewards_differed_so_that_there_were_gradients() -> None:
    assert all(min(on_cpu(name)["learning"]) < 1 for name in ("grpo", "rl_steering"))


@pytest.mark.parametrize("mistake", PLANTED, ids=lambda mistake: mistake.function)
def test_a_planted_mistake_is_noticed(quick: dict[str, Any], mistake: Any) -> None:
    assert quick["planted"][mistake.function] is not None


def test_a_decoding_step_waits_for_the_device_once(quick: dict[str, Any]) -> None:
    """Readbacks while sampling: one for each step, in one place."""
    waits = {
        place: count
        for kind, place, count in quick["transfers"]["sampling"]
        if "elicit/sampling/" in place and kind not in ("to device", "index moved") and "score.py" not in place
    }
    assert len(waits) == 1, waits


@pytest.mark.slow
def test_every_scenario_gives_what_the_cpu_gives(tmp_path: Path) -> None:
    document = simulated(tmp_path, tuple(SCENARIOS))
    assert document["failures"] == {}
    assert document["mistakes"] == []
    for name in SCENARIOS:
        assert differences(on_cpu(name), document["results"][name], 1e-3) == [], name
