"""Helper process for programs in a user's files (chat templates, tokenizers), limited in time and memory.

Such a program may loop for ever or allocate gigabytes within one call, which a thread cannot stop. It therefore runs in
a helper process, started on first use and ended when its input closes. Questions and replies are JSON, one per line. A
question that exceeds its time or memory raises `Exhausted`, and the next one gets a new process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from elicit.errors import ElicitError, one_line

#: Seconds for a process to start and import (cold disks and busy machines are slow).
START = 120.0


class Exhausted(Exception):
    """A program exceeded its time or memory; the message is the predicate of a sentence about it."""


class ConfinedProcess:
    """One kind of helper process: `python -m MODULE`, whose main calls `serve_until_closed`."""

    def __init__(self, module: str) -> None:
        self.module = module
        self._lock = threading.Lock()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def send_question(self, question: Mapping[str, Any], seconds: float) -> Any:
        """Send a question. Returns the helper's reply as plain data.

        Raises:
            Exhausted: no reply came within `seconds`, or the question ended the process.
            ElicitError: the helper cannot start.
        """
        line = json.dumps(question).encode() + b"\n"
        with self._lock:
            for _ in range(2):  # retry once if something else ended the process
                process = self._get_process()
                try:
                    reply, in_time = _exchange_line(process, line, seconds)
                except BaseException:
                    process.kill()  # interrupted after the question: the next reply would belong to this question
                    raise
                result = json.loads(reply) if reply else None
                if result is not None:
                    return result
                process.kill()
                process.wait()
                if not in_time:
                    raise Exhausted(f"ran for more than {seconds:.0f} s")
                if reply:
                    break
        raise Exhausted("needed more memory than it may have, or ended its process")

    def ensure_started(self) -> None:
        """Start the process if needed, so that starting does not count as a question's time."""
        with self._lock:
            self._get_process()

    def _get_process(self) -> subprocess.Popen[bytes]:
        process = self._processes.get(os.getpid())
        if process is None or process.poll() is not None:
            if process is not None:
                _discard_process(process)
            process = self._processes[os.getpid()] = self._start_process()
        return process

    def _start_process(self) -> subprocess.Popen[bytes]:
        process = start_module(self.module, RAYON_NUM_THREADS="1")
        hello, _ = read_reply_within(process, START)
        if hello != b'"ready"\n':
            process.kill()
            raise ElicitError(f"the helper process {self.module} cannot start. See: elicit doctor")
        return process


def start_module(module: str, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    """Start `python -m MODULE ARGUMENTS` with one thread, its input and output as pipes; it is killed at our exit.

    It imports from where this process does: the working directory counts only if it counts here (`-P`).

    Args:
        variables: environment variables beside those of this process.
    """
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **variables}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    process = subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C must reach only the parent; the helper ends with its input
    )
    atexit.register(process.kill)
    return process


def _discard_process(process: subprocess.Popen[bytes]) -> None:
    """Release an ended process and its pipes."""
    atexit.unregister(process.kill)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # buffered output can no longer be written
                pipe.close()


def _exchange_line(process: subprocess.Popen[bytes], question: bytes, seconds: float) -> tuple[bytes, bool]:
    """Exchange one line: (the reply, empty without one; False if time ran out)."""
    assert process.stdin is not None
    try:
        process.stdin.write(question)
        process.stdin.flush()
    except OSError:
        return b"", True
    return read_reply_within(process, seconds)


def read_reply_within(process: subprocess.Popen[bytes], seconds: float) -> tuple[bytes, bool]:
    """Read a line: (the line, empty without one; False if time ran out). A late process is killed."""
    assert process.stdout is not None
    late = threading.Event()

    def kill_late_process() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, kill_late_process)
    timer.daemon = True
    timer.start()
    try:
        line: bytes = process.stdout.readline()
    finally:
        timer.cancel()
    return (line if line.endswith(b"\n") else b""), not late.is_set()


def serve_until_closed(answer: Callable[[dict[str, Any]], Any], memory: int) -> None:
    """Run the helper's side: answer questions until the input ends, within `memory` bytes of address space.

    `answer` returns plain data; a `MemoryError` becomes `Exhausted` in the parent.
    """
    questions, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keep libraries' output off the channel
    _bound_memory(memory)
    replies.write(b'"ready"\n')
    replies.flush()
    for line in questions:
        try:
            reply = json.dumps(answer(json.loads(line)))
        except MemoryError:
            reply = "null"
        replies.write(reply.encode() + b"\n")
        replies.flush()
        if reply == "null":
            return  # the process is unreliable after a MemoryError


def error_reply(error: BaseException) -> dict[str, str]:
    """Build a reply that describes an error in the program."""
    return {"error": one_line(f"{type(error).__name__}: {error}", 300)}


def _bound_memory(memory: int) -> None:
    try:
        import resource
    except ImportError:  # not available on this system: only time is limited
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory if hard < 0 else min(memory, hard), hard))
