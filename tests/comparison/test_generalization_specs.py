"""The specs about generalization: comparable arms, bases that can be had. `test_plan` sees that there are problems."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from elicit.comparison.spec import Spec, read_spec
from elicit.loading import catalog

FOLDER = Path(__file__).parents[2] / "experiments" / "generalization"
SPECS = sorted(FOLDER.glob("*.yaml"))
SCRIPT = FOLDER / "train_bases.sh"


@cache
def spec_of(path: Path) -> Spec:
    return read_spec(path)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_its_arms_are_followed_and_its_bases_can_be_had(path: Path) -> None:
    spec = spec_of(path)
    methods = spec.build_methods()
    followed = [method for method in methods.values() if getattr(method, "checkpoints", ())]
    assert followed
    assert all(max(method.checkpoints) < getattr(method, "steps", 10**9) for method in followed)  # type: ignore[attr-defined]
    assert spec.seeds >= 3 or "One training seed" in path.read_text(), "claims rest on three seeds"
    script = SCRIPT.read_text()
    for name in spec.models.values():
        label = Path(name).name
        if label in catalog.UNTRAINED:
            assert name == str(FOLDER.parents[1] / "organisms" / label)
            assert re.search(rf"set -- .*\b{re.escape(label)}\b", script), "train_bases.sh makes it"
            assert "train_bases.sh" in path.read_text()
        else:
            assert name.endswith(".gguf") or name in {entry.name for entry in catalog.list_organisms()}


def test_what_is_compared_at_equal_steps_has_them() -> None:
    """Exposure against coverage: the same rows in all, one often and the other once."""
    for name in ("data_arms", "corrupted"):
        methods = [
            method for method in spec_of(FOLDER / f"{name}.yaml").build_methods().values() if hasattr(method, "steps")
        ]
        assert len({(method.steps, method.batch_size, method.learning_rate) for method in methods}) == 1  # type: ignore[attr-defined]
    arms = spec_of(FOLDER / "data_arms.yaml").build_methods()
    often, once = arms["few_often"], arms["many_once"]
    assert once.demonstrations == once.steps * once.batch_size  # type: ignore[attr-defined]
    assert often.demonstrations * 80 == once.demonstrations  # type: ignore[attr-defined]


def test_the_script_trains_what_is_missing_and_skips_what_is_there(tmp_path: Path) -> None:
    """With a stand-in for `elicit` that writes down what it was asked, in a copy of the tree."""
    place = tmp_path / "experiments" / "generalization"
    place.mkdir(parents=True)
    (place / SCRIPT.name).write_text(SCRIPT.read_text())
    stand_in = tmp_path / "bin" / "elicit"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\necho "$@" >> "$LOG"\nmkdir -p "$5" && echo "{}" > "$5/config.json"\n')
    stand_in.chmod(0o755)
    log = tmp_path / "log"
    log.touch()
    environment = {**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}", "LOG": str(log)}

    def run(*names: str) -> list[str]:
        before = len(log.read_text().splitlines())
        subprocess.run(["sh", str(place / SCRIPT.name), *names], check=True, env=environment, capture_output=True)
        return log.read_text().splitlines()[before:]

    assert run("letters") == ["organism train letters --out organisms/letters"]
    rest = run()
    assert "organism train ladder-4M --out organisms/ladder-4M" in rest
    assert not [line for line in rest if "letters" in line]
    assert run() == []
    assert (tmp_path / "organisms" / "letters" / "config.json").exists()
    trained = {line.split()[2] for line in log.read_text().splitlines()}
    named = {Path(name).name for path in SPECS for name in spec_of(path).models.values()}
    assert trained == named & set(catalog.UNTRAINED), "what the specs name, and nothing else"
