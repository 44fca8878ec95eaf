"""A helper process for verdicts that need other people's code: math-verify, and the scorers of reasoning-gym.

Such code can take for ever (a power of a power), cannot be stopped in a thread, and math-verify stops itself by signals
that only a main thread gets. So it runs in one process per process of ours, started when first needed; a question that
takes too long is answered None and the helper is stopped. The helper ends with its input.

What goes in is our own data, pickled; what comes out is one line of JSON. The helper never runs a model's text as code.
"""

from __future__ import annotations

import atexit
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from typing import Any, BinaryIO

from elicit.errors import ElicitError, one_line

#: Seconds the helper has to import what a kind of question needs (cold disks are slow).
START = 300.0
#: Address space of the helper in bytes: an answer may not take the machine's memory.
MEMORY = 8 << 30

_LOCK = threading.Lock()
_helpers: dict[tuple[int, str], subprocess.Popen[bytes]] = {}


def ask(kind: str, question: Any, seconds: float) -> Any:
    """The helper's reply, None if it takes longer than `seconds` or fails on this question.

    Args:
        kind: "math", with (right answer, answer): are they equal? "gym", with (generator, its configuration, entry,
            answer): the score.

    Raises:
        ElicitError: if the helper cannot start.
    """
    data = pickle.dumps(question)
    with _LOCK:
        for _ in range(2):  # a helper that ended by itself, or was ended by others, gets a second chance
            process = _running(kind)
            try:
                reply, in_time = _exchange(process, data, seconds)
            except BaseException:
                process.kill()  # interrupted between question and reply: the next reply would belong to this question
                raise
            if reply:
                return json.loads(reply)
            process.kill()
            process.wait()
            if not in_time:
                break
        return None


def _running(kind: str) -> subprocess.Popen[bytes]:
    place = (os.getpid(), kind)
    process = _helpers.get(place)
    if process is None or process.poll() is not None:
        process = _helpers[place] = _start(kind)
    return process


def _start(kind: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "elicit.tasks.helper", kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C is for us; the helper ends when its input does
    )
    atexit.register(process.kill)
    hello, _ = _reply(process, START)
    if hello != b'"ready"\n':
        process.kill()
        why = one_line(hello.decode("utf-8", "replace"), 200)
        raise ElicitError(
            f"the helper process for {kind} answers cannot start: {why or 'it ended'}. See: elicit doctor"
        )
    return process


def _exchange(process: subprocess.Popen[bytes], question: bytes, seconds: float) -> tuple[bytes, bool]:
    """(the reply, empty without one; whether the time sufficed)."""
    assert process.stdin is not None
    try:
        process.stdin.write(len(question).to_bytes(8, "little") + question)
        process.stdin.flush()
    except OSError:
        return b"", True
    return _reply(process, seconds)


def _reply(process: subprocess.Popen[bytes], seconds: float) -> tuple[bytes, bool]:
    assert process.stdout is not None
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        line: bytes = process.stdout.readline()
    finally:
        timer.cancel()
    return (line if line.endswith(b"\n") else b""), not late.is_set()


# --- in the helper -----------------------------------------------------------------------------------------------


def main(kind: str) -> None:
    questions, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes nowhere
    try:
        answer = {"math": _math, "gym": _gym}[kind]()
    except Exception as error:
        _send(replies, f"{type(error).__name__}: {error}")
        return
    _limit_memory()
    _send(replies, "ready")
    while len(head := questions.read(8)) == 8:
        question = pickle.loads(questions.read(int.from_bytes(head, "little")))
        try:
            reply = answer(*question)
        except Exception:
            reply = None
        _send(replies, reply)


def _send(replies: BinaryIO, reply: Any) -> None:
    replies.write(json.dumps(reply).encode() + b"\n")
    replies.flush()


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on this system
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard < 0 else min(MEMORY, hard), hard))


def _alarm(seconds: float) -> None:
    """Stop Python code after a while, which spares a new start of the helper; other code is stopped with it."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _too_long)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _too_long(*_: object) -> None:
    raise TimeoutError


def _math() -> Any:
    from math_verify import LatexExtractionConfig, parse, verify

    form = [LatexExtractionConfig()]

    def equal(gold: str, answer: str) -> bool:
        """The right answer goes first: the comparison is not symmetric."""
        known, said = (parse(f"${text}$", extraction_config=form, parsing_timeout=3) for text in (gold, answer))
        return bool(verify(known, said, timeout_seconds=3))

    return equal


def _gym() -> Any:
    import functools

    import reasoning_gym

    @functools.lru_cache(maxsize=8)
    def scorer(name: str, settings: bytes) -> Any:
        return reasoning_gym.create_dataset(name, **pickle.loads(settings)).score_answer

    def score(name: str, settings: dict[str, Any], entry: dict[str, Any], answer: str) -> float:
        _alarm(2.0)
        try:
            return float(scorer(name, pickle.dumps(settings))(answer, entry))
        finally:
            _alarm(0.0)

    return score


if __name__ == "__main__":
    main(sys.argv[1])
