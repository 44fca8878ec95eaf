"""Signs of life: each process at a run rewrites a file of its own every second, and others watch it change.

A process counts as dead when its file has not changed for the length of the lease, as measured by the clock of the one
that watches. If it lives after all (it was stopped, or its network was), it loses work, and no row is harmed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from elicit import documents, runs
from elicit.errors import ElicitError

#: Default length of the lease, in seconds.
LEASE = 60.0
_BEAT = 1.0
#: A look counts for at most this share of the lease, so that a pause of the watcher is not taken for the other's.
_LARGEST_STEP = 0.25

Life = Literal["unknown", "living", "dead"]


def processes_folder(run: Path) -> Path:
    return run / "claims" / "processes"


class Presence:
    """The sign of life of this process at a run, from `with` to its end."""

    def __init__(self, run: Path, *, alone: bool) -> None:
        self.process = uuid.uuid4().hex[:12]
        self._path = processes_folder(run) / self.process
        self._facts = {"host": socket.gethostname(), "pid": os.getpid(), "kernel": read_kernel_id(), "alone": alone}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_end, daemon=True)

    def __enter__(self) -> Self:
        with runs.writing_to(self._path):
            self._write_beat(0)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _beat_until_end(self) -> None:
        beat = 0
        while not self._ended.wait(_BEAT):
            beat += 1
            with contextlib.suppress(OSError):  # the next one may succeed
                self._write_beat(beat)

    def _write_beat(self, beat: int) -> None:
        """Write in place, and always as many bytes, so that the file is whole at any moment."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.write(file, json.dumps({**self._facts, "beat": f"{beat:09d}"}).encode())
        finally:
            os.close(file)


class _Look(NamedTuple):
    content: bytes | None
    moment: float
    unchanged: float
    """Seconds, as they were watched."""
    changed: bool


class Watch:
    """Watches the signs of life of other processes at a run; to be asked at least four times within a lease."""

    def __init__(self, run: Path, lease: float) -> None:
        self._run, self.lease = run, lease
        self._looks: dict[str, _Look] = {}

    def look_at(self, process: str) -> Life:
        """`living` if its file was seen to change, `dead` if it went or did not change for a lease, else `unknown`."""
        last = self._looks.get(process)
        content, now = _read_sign(self._run, process, last.content if last else None), time.monotonic()
        if last is None:
            look = _Look(content, now, 0.0, changed=False)
        elif content is None and last.content is not None:  # it ended, or somebody gave it up
            look = _Look(content, now, math.inf, changed=True)
        elif content != last.content:
            look = _Look(content, now, 0.0, changed=True)
        else:
            passed = min(now - last.moment, _LARGEST_STEP * self.lease)
            look = last._replace(moment=now, unchanged=last.unchanged + passed)
        self._looks[process] = look
        if look.unchanged > self.lease:
            return "dead"
        return "living" if look.changed else "unknown"

    @property
    def patience(self) -> float:
        """Seconds between two looks."""
        return min(1.0, self.lease / 8)


def list_processes(run: Path) -> list[str]:
    """Processes with a sign of life, of those that were killed too."""
    try:
        return sorted(os.listdir(processes_folder(run)))
    except OSError:
        return []


def describe_process(run: Path, process: str) -> str:
    """Machine and process id, for a message."""
    facts = read_process_facts(run, process)
    return f"process {facts['pid']} on {facts['host']}" if {"pid", "host"} <= facts.keys() else f"process {process}"


def read_process_facts(run: Path, process: str) -> dict[str, object]:
    """`host`, `pid`, `kernel` and `alone` of a process; empty if its sign of life is gone."""
    try:
        return documents.read_object(processes_folder(run) / process)
    except ElicitError:
        return {}


def remove_presence(run: Path, process: str) -> None:
    """Remove the sign of life of a dead process. One that lives writes it again."""
    with contextlib.suppress(OSError):
        (processes_folder(run) / process).unlink()


def read_kernel_id() -> str:
    """The running kernel: processes of one kernel see each other's file locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        return f"{socket.gethostname()}-{uuid.getnode():x}"


def _read_sign(run: Path, process: str, last: bytes | None) -> bytes | None:
    """The content of a sign of life, None without one; the last one where it cannot be read just now."""
    try:
        return (processes_folder(run) / process).read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        return last
