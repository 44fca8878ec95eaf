"""A spec's engine: what is read, what is refused before anything runs, and that it is no part of a run's identity."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from elicit.cli.main import run_command
from elicit.comparison.running.workers import default_workers
from elicit.comparison.spec import read_spec

SPEC = "models: [cued]\ntask: addition\narms: {base: {method: base}}\ntest: 4\nkl_problems: 0\n"


def write(folder: Path, engine: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(SPEC + engine)
    return path


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("engine: {vllm: {python: /nowhere/python}}", "/nowhere/python is not an interpreter"),
        ('engine: {vllm: {url: "http://127.0.0.1:9"}}', "set ELICIT_VLLM_TOKEN"),
        ("engine: {vllm: {}}", "expected python (an environment with vLLM) or url"),
        ('engine: {vllm: {python: x, url: "http://a:1"}}', "and not both"),
        ('engine: {vllm: {url: "http://a:1", options: {seed: 1}}}', "options are for a server that is started"),
        ('engine: {vllm: {url: "ftp://a"}}', "engine"),
        ("engine: {sglang: {}}", "engine"),
        ("engine: vllm", "engine"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, engine: str, message: str
) -> None:
    monkeypatch.delenv("ELICIT_VLLM_TOKEN", raising=False)
    assert run_command(["run", str(write(tmp_path, engine)), "--out", str(tmp_path / "run"), "--workers", "1"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_server_that_does_not_answer_or_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell fails with one line, and what follows can be tried again."""
    monkeypatch.setenv("ELICIT_VLLM_TOKEN", "x")
    for engine, message in (
        ('engine: {vllm: {url: "http://127.0.0.1:9"}}', "does not answer"),
        (f"engine: {{vllm: {{python: {sys.executable}}}}}", "No module named 'vllm'"),
    ):
        run = tmp_path / message[:4]
        assert run_command(["run", str(write(tmp_path, engine)), "--out", str(run), "--workers", "1"]) == 1
        status = (run / "cells/cued/base/0/status.json").read_text()
        assert message in status
        assert "Traceback" not in status
    assert run_command(["run", str(write(tmp_path, "")), "--out", str(run), "--workers", "1"]) == 0


def test_the_engine_is_no_part_of_the_identity(tmp_path: Path) -> None:
    plain = read_spec(write(tmp_path, ""))
    served = read_spec(write(tmp_path, f"engine: {{vllm: {{python: {sys.executable}}}}}"))
    assert "engine" not in plain.to_dict()
    assert read_spec(write(tmp_path, "engine: transformers")).to_dict() == plain.to_dict()
    assert served.to_dict() == {
        **plain.to_dict(),
        "engine": {"vllm": {"python": sys.executable, "url": None, "rollouts": False, "options": {}}},
    }
    assert default_workers(served) == 1
