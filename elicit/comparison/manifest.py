"""The manifest: what was run, with which code, libraries, machine and weights. Imports no torch."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elicit import runs
from elicit.loading.templates import day_of, today

_PACKAGES = (
    *("torch", "transformers", "trl", "peft", "transformer-lens", "sae-lens"),
    *("numpy", "scipy", "datasets", "accelerate"),
)


def ended(start: Mapping[str, Any], models: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with its end, and for each model its hashes, dtype, device and threads."""
    return {**start, "models": dict(models), "end": _now()}


def date_of(run: Path) -> datetime.date:
    """The day that a run's prompts are told: that on which it began, however late it is resumed or amended.

    Raises:
        ElicitError: a manifest that holds no day.
    """
    path = run / "manifest.json"
    manifest = runs.read_json(path) if path.exists() else {}
    written = manifest.get("date") or str(manifest.get("start") or "")[:10]  # older runs have their start alone
    return day_of(written, f"{path}: date") if written else today()


def begun(spec: Mapping[str, Any], command: Sequence[str], date: datetime.date) -> dict[str, Any]:
    """The manifest at the start of a run. `date`: the day that its prompts are told."""
    return {
        "spec_sha256": hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest(),
        "command": list(command),
        "git": _git(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": {"system": platform.system(), "cpu": _cpu(), "cores": os.cpu_count()},
        "seeds": list(range(spec["seeds"])),
        "limit": spec.get("limit"),
        "files": task_files(spec),
        "models": {},
        "date": date.isoformat(),
        "start": _now(),
        "end": None,
    }


def task_files(spec: Mapping[str, Any]) -> dict[str, str]:
    """Task label -> sha256 of the file its problems come from, for tasks that have one."""
    tasks: dict[str, Any] = {}
    for part in (*spec.get("panels", {}).values(), spec):  # the spec's own last: its labels win
        own = {} if part["task"] is None else {part["task"]["task"]: part["task"]}
        tasks |= {**own, **(part["off_target"] or {})}
    paths = {label: task["path"] for label, task in tasks.items() if task["task"] == "jsonl"}
    return {label: hashlib.sha256(Path(path).read_bytes()).hexdigest() for label, path in paths.items()}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _git() -> dict[str, Any] | None:
    """Commit of the lab's own checkout and whether the package differs from it; None for an installed package."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    sha = git("rev-parse", "HEAD")
    return None if sha is None else {"sha": sha, "dirty": bool(git("status", "--porcelain", "--", ".."))}
