"""The manifest of a run: command, code, libraries, machine and weights. Imports no torch."""

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

from elicit.comparison.storage.typed_files import read_manifest
from elicit.format_versions import CURRENT_VERSIONS, FORMAT_VERSION, ROWS_FORMAT_VERSION
from elicit.loading.templates import parse_date, today
from elicit.version import __version__

_PACKAGES = (
    *("torch", "transformers", "trl", "peft", "transformer-lens", "sae-lens"),
    *("numpy", "scipy", "datasets", "accelerate"),
)
#: Fields of a spec that affect where and how fast cells run, not their results: not part of a run's identity.
MACHINE = ("device", "cache_gib", "engine", "processes")


def complete_manifest(
    start: Mapping[str, Any],
    models: Mapping[str, Any],
    devices: Mapping[str, Sequence[str]],
    processes: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Complete a manifest: end time, each model's hashes, dtype, device and threads, each device's cells.

    Args:
        processes: number and backend of processes -> the cells that they trained together.
    """
    shared = {"processes": dict(processes)} if processes else {}
    return {**start, "models": dict(models), "devices": dict(devices), **shared, "end": _utc_timestamp()}


def read_run_date(run: Path) -> datetime.date:
    """The date given in a run's prompts: the day it began, even if it is resumed or amended later.

    Raises:
        ElicitError: the manifest's date is invalid.
    """
    path = run / "manifest.json"
    manifest = read_manifest(run)
    written = manifest.get("date") or str(manifest.get("start") or "")[:10]  # older runs have only their start
    return parse_date(written, f"{path}: date") if written else today()


def build_manifest(
    spec: Mapping[str, Any],
    limit: int | None,
    command: Sequence[str],
    *,
    version: int,
    files: Mapping[str, str],
    problems: Mapping[str, str],
    methods: Mapping[str, Mapping[str, Any]],
    date: datetime.date,
) -> dict[str, Any]:
    """The manifest at the start of a run.

    Args:
        spec: the spec as plain data.
        version: format of the run: that of the manifest that is already there, else the current one.
        files: task label -> hash of its file; see `elicit.comparison.spec.task_files`.
        problems: model and task -> hash of the run's copy of the problems; see `elicit.comparison.problems`.
        methods: arm -> its method from outside, as `elicit.methods.outside.RecordedMethod` describes it.
        date: the date given in its prompts.
    """
    return {
        FORMAT_VERSION: version,
        ROWS_FORMAT_VERSION: CURRENT_VERSIONS["rows"],
        "elicit": __version__,
        "spec_sha256": hash_spec(spec, limit),
        "command": list(command),
        "git": _git_state(),
        "packages": {name: _package_version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": {"system": platform.system(), "cpu": _cpu_name(), "cores": os.cpu_count()},
        "seeds": list(range(spec["seeds"])),
        "limit": limit,
        "files": dict(files),
        "problems": dict(problems),
        **({"methods": dict(methods)} if methods else {}),
        "models": {},
        "date": date.isoformat(),
        "devices": {},
        "start": _utc_timestamp(),
        "end": None,
    }


def hash_spec(spec: Mapping[str, Any], limit: int | None) -> str:
    """The sha256 of a spec as plain data, without the fields in `MACHINE`."""
    identity = {**{name: value for name, value in spec.items() if name not in MACHINE}, "limit": limit}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _utc_timestamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _git_state() -> dict[str, Any] | None:
    """Commit of the source checkout and a flag for uncommitted changes; None for an installed package."""
    here = Path(__file__).resolve().parent

    def run_git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    sha = run_git("rev-parse", "HEAD")
    return None if sha is None else {"sha": sha, "dirty": bool(run_git("status", "--porcelain", "--", "../.."))}
