"""A process for programs that come with a user's files (chat templates, tokenizers), bounded in time and memory.

Such a program may loop for ever or build gigabytes, within one call that no thread can stop. So it runs in one process
per process of ours, started when it is first needed and ended with its input. Questions and replies are JSON, one a
line. A question that takes too long, or more memory than the process may have, is answered by `Exhausted`, and the next
one gets a new process.
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

#: Seconds a process has to import what it needs (cold disks and busy machines are slow).
START = 120.0


class Exhausted(Exception):
    """A program that took more time or memory than it may; the message says which, as the rest of a sentence."""


class ConfinedProcess:
    """One kind of helper process: `python -m MODULE`, whose main calls `serve`."""

    def __init__(self, module: str) -> None:
        self.module = module
        self._lock = threading.Lock()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def send_question(self, question: Mapping[str, Any], seconds: float) -> Any:
        """The helper's reply to one question, as plain data.

        Raises:
            Exhausted: no reply within `seconds`, or the process ended over it.
            ElicitError: the helper cannot start.
        """
        line = json.dumps(question).encode() + b"\n"
        with self._lock:
            for _ in range(2):  # a process that was ended by others gets a second chance
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
        """Start the process if it is not there: what that takes is not the time of a question."""
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
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us; the helper ends when its input does
        )
        atexit.register(process.kill)
        hello, _ = read_reply_within(process, START)
        if hello != b'"ready"\n':
            process.kill()
            raise ElicitError(f"the helper process {self.module} cannot start. See: elicit doctor")
        return process


def _discard_process(process: subprocess.Popen[bytes]) -> None:
    """Let go of an ended process and its pipes."""
    atexit.unregister(process.kill)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was still to be written cannot be
                pipe.close()


def _exchange_line(process: subprocess.Popen[bytes], question: bytes, seconds: float) -> tuple[bytes, bool]:
    """(the reply, empty without one; whether the time sufficed)."""
    assert process.stdin is not None
    try:
        process.stdin.write(question)
        process.stdin.flush()
    except OSError:
        return b"", True
    return read_reply_within(process, seconds)


def read_reply_within(process: subprocess.Popen[bytes], seconds: float) -> tuple[bytes, bool]:
    """(the next line a process writes, empty without one; whether the time sufficed). A late process is killed."""
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
    """The helper's side: answer questions until the input ends, within `memory` bytes of address space.

    `answer` returns plain data; a `MemoryError` becomes `Exhausted` over there.
    """
    questions, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes nowhere
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
            return  # what is left of the memory cannot be trusted


def error_reply(error: BaseException) -> dict[str, str]:
    """A reply that says what went wrong in the program."""
    return {"error": one_line(f"{type(error).__name__}: {error}", 300)}


def _bound_memory(memory: int) -> None:
    try:
        import resource
    except ImportError:  # not on this system: time alone is bounded
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory if hard < 0 else min(memory, hard), hard))
