"""A small comparison on the built-in organism `cued`, run once for all tests that need one, and its readers."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from elicit.cli.main import run_command as command
from tests.support.shared import once

#: Small enough for seconds, with every kind of arm (untouched, trained, tuned, sampled), two seeds, samples for
#: pass@k and a second task.
SPEC: dict[str, Any] = {
    "models": {"cued": "cued"},
    "task": {"task": "addition"},
    "off_target": {"mod_chain": {"task": "mod_chain"}},
    "arms": {
        "base": {"method": "base"},
        "sft": {"method": "sft", "demonstrations": 8, "epochs": 2},
        "mean_steering": {
            "method": "mean_steering",
            "layers": [0, 1],
            "strengths": [1.0, 1.5],
            "train_problems": 16,
            "select_problems": 16,
        },
        "self_consistency": {"method": "self_consistency", "n": 4},
    },
    "seeds": 2,
    "test": 20,
    "samples": 4,
    "kl_problems": 4,
}
#: Figures that are clock readings.
_CLOCK = ("seconds", "fit_seconds")
_BELONGS = re.compile(
    r"spec\.yaml|manifest\.json|summary\.json|report\.html|\.lock|problems/[0-9a-f]{64}\.json"
    r"|cells/.+/\d+/(\.lock|status\.json|panel\.json|prompts\.json|metrics\.jsonl|rows/\w+\.jsonl"
    r"|steps/\d{6}/(metrics\.json|rows/\w+\.jsonl)"
    r"|policy/(checkpoints/\d{6}/)?"
    r"(policy\.json|steering\.(json|safetensors)|weights\.safetensors|adapter_\w+\.(json|safetensors)))"
)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def changed(**fields: Any) -> dict[str, Any]:
    """SPEC with other top-level fields."""
    return {**copy.deepcopy(SPEC), **fields}


def with_arms(*names: str) -> dict[str, dict[str, Any]]:
    return {name: SPEC["arms"][name] for name in names}


def write_spec(folder: Path, data: Any = SPEC, name: str = "spec.yaml") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def elicit(*arguments: object) -> Outcome:
    """The command line, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = command([str(argument) for argument in arguments])
        except SystemExit as stop:  # tyro, for arguments it cannot parse
            code = int(stop.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """The command line as a process of its own, leading a process group of its own.

    It can be interrupted even if the test suite itself runs in the background of a script, where a shell has SIGINT
    ignored and children inherit that.
    """
    line = [sys.executable, "-m", "elicit.cli.main", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **pipes, **options}
    return subprocess.Popen(line, start_new_session=True, **options)


@functools.cache
def reference() -> Path:
    """SPEC, run without interruption by one worker. Read it, or copy it; never change it."""

    def make(folder: Path) -> None:
        done = elicit("run", write_spec(folder), "--out", folder / "run", "--workers", 1)
        assert done.code == 0, done.err

    return once("reference", make) / "run"


def rows(run: Path) -> dict[str, list[str]]:
    """Sorted lines of every rows file. Lines are compared as text; a torn one would not be JSON."""
    found = {}
    for path in sorted(run.glob("cells/**/rows/*.jsonl")):
        text = path.read_bytes().decode()
        assert text.endswith("\n"), f"{path} ends in a torn line"
        lines = text.splitlines()
        for line in lines:
            json.loads(line)
        assert len(set(lines)) == len(lines), f"{path} holds a row twice"
        found[str(path.relative_to(run))] = sorted(lines)
    return found


def figures(run: Path) -> Any:
    """summary.json without clock readings."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(item) for key, item in value.items() if key not in _CLOCK}
        return [timeless(item) for item in value] if isinstance(value, list) else value

    return timeless(json.loads((run / "summary.json").read_text()))


def policies(run: Path) -> dict[str, str]:
    """The hash of every cell's policy."""
    statuses = {str(path.parent.relative_to(run)): json.loads(path.read_text()) for path in run.rglob("status.json")}
    return {name: status["policy_sha256"] for name, status in sorted(statuses.items())}


def strays(run: Path) -> list[str]:
    """Files that have no place in a run directory."""
    files = [str(path.relative_to(run)) for path in run.rglob("*") if not path.is_dir()]
    return sorted(name for name in files if not _BELONGS.fullmatch(name))


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and time of change, to see that nothing was touched."""
    return {
        str(path.relative_to(folder)): (b"" if path.is_dir() else path.read_bytes(), os.stat(path).st_mtime_ns)
        for path in folder.rglob("*")
    }


def assert_same_run(run: Path, other: Path) -> None:
    """Equal rows, policies and figures, and nothing lying about."""
    assert rows(run) == rows(other)
    assert policies(run) == policies(other)
    assert figures(run) == figures(other)
    assert strays(run) == []
