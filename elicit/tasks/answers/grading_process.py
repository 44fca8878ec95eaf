"""A helper process for graders in third-party code: math-verify, and the scorers of reasoning-gym.

Such code can run forever (a power of a power) and cannot be stopped in a thread. So each of our processes starts one
helper process when it is first needed. The helper loads the libraries and forks a worker, which answers the questions.
A worker that exceeds a question's processor time is killed by the system; the answer is then None, and the next worker
is ready within milliseconds. The helper exits when its input closes.

Time is bounded for each question and in total: once unanswered questions have cost `BATCH` seconds together, every
further one gets `IMPATIENT` seconds.

Questions are pickled data of our own; replies are one line of JSON each. The helper never runs a model's text as code.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import Any, BinaryIO, NamedTuple

from elicit.confined import read_reply_within, start_module
from elicit.errors import ElicitError, one_line

#: Seconds in which the helper must import the libraries for a kind of question (cold disks are slow).
START = 300.0
#: Address space limit of a worker in bytes, so that an answer cannot exhaust the machine's memory.
MEMORY = 4 << 30
#: Processor seconds that unanswered questions may cost in total, and the limit of each question after that.
BATCH, IMPATIENT = 30.0, 0.5
#: Limit on wall-clock time, as a multiple of the processor time, for busy machines.
_BY_THE_CLOCK = 8.0

_LOCK = threading.Lock()
_helpers: dict[tuple[int, str], subprocess.Popen[bytes]] = {}
#: Seconds that unanswered questions of each kind have cost.
_lost: dict[str, float] = {}


def ask_helper(kind: str, question: Any, seconds: float) -> Any:
    """The helper's reply; None if it takes more than `seconds` of processor time or fails on this question.

    Args:
        kind: "math", with (right answer, answer): are they equal? "gym", with (generator, its configuration, entry,
            answer): the score.

    Raises:
        ElicitError: the helper cannot start.
    """
    with _LOCK:
        if _lost.get(kind, 0.0) >= BATCH:
            seconds = min(seconds, IMPATIENT)
        data = pickle.dumps((seconds, question))
        for _ in range(2):  # a helper that exited or was killed is started once more
            process = _get_helper(kind)
            try:
                reply, in_time = _exchange_with_helper(process, data, seconds * _BY_THE_CLOCK + 5.0)
            except BaseException:
                process.kill()  # interrupted between question and reply: the next reply would belong to this question
                raise
            if reply:
                answered, result = json.loads(reply)
                return result if answered else _record_lost_time(kind, seconds)
            process.kill()
            process.wait()
            if not in_time:
                break
        return _record_lost_time(kind, seconds)


def _record_lost_time(kind: str, seconds: float) -> None:
    before = _lost.get(kind, 0.0)
    _lost[kind] = before + seconds
    if before < BATCH <= _lost[kind]:
        warnings.warn(
            f"answers that take too long to judge have cost {BATCH:.0f} s; from here on one may take {IMPATIENT} s "
            "before it counts as wrong",
            stacklevel=4,
        )


def _get_helper(kind: str) -> subprocess.Popen[bytes]:
    helper_key = (os.getpid(), kind)
    process = _helpers.get(helper_key)
    if process is None or process.poll() is not None:
        process = _helpers[helper_key] = _start_helper(kind)
    return process


def _start_helper(kind: str) -> subprocess.Popen[bytes]:
    process = start_module("elicit.tasks.answers.grading_process", kind, MPLBACKEND="agg")
    hello, _ = read_reply_within(process, START)
    if hello != b'"ready"\n':
        process.kill()
        why = one_line(hello.decode("utf-8", "replace"), 200)
        raise ElicitError(
            f"the helper process for {kind} answers cannot start: {why or 'it ended'}. See: elicit doctor"
        )
    return process


def _exchange_with_helper(process: subprocess.Popen[bytes], question: bytes, seconds: float) -> tuple[bytes, bool]:
    """(reply, empty if there is none; True if the reply came in time)."""
    assert process.stdin is not None
    try:
        process.stdin.write(len(question).to_bytes(8, "little") + question)
        process.stdin.flush()
    except OSError:
        return b"", True
    return read_reply_within(process, seconds)


# --- in the helper -----------------------------------------------------------------------------------------------


class _Worker(NamedTuple):
    pid: int
    questions: int
    replies: int


def run_helper(kind: str) -> None:
    questions, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # discard what libraries print
    try:
        answer = {"math": _load_math_grader, "gym": _load_gym_scorer}[kind]()
    except Exception as error:
        _send_json(replies, f"{type(error).__name__}: {error}")
        return
    _send_json(replies, "ready")
    worker = None
    while len(head := questions.read(8)) == 8:
        data = questions.read(int.from_bytes(head, "little"))
        worker = worker or _fork_worker(answer)
        line = _ask_worker(worker, head + data, pickle.loads(data)[0] * _BY_THE_CLOCK)
        if line is None:
            _kill_worker(worker)
            worker = None
        replies.write(line or b"[false, null]\n")
        replies.flush()


def _fork_worker(answer: Any) -> _Worker:
    (question_out, question_in), (reply_out, reply_in) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid:
        os.close(question_out)
        os.close(reply_in)
        return _Worker(pid, question_in, reply_out)
    os.close(question_in)
    os.close(reply_out)
    try:
        _limit_worker_memory()
        _answer_questions(answer, os.fdopen(question_out, "rb"), os.fdopen(reply_in, "wb"))
    finally:
        os._exit(0)


def _answer_questions(answer: Any, questions: BinaryIO, replies: BinaryIO) -> None:
    """Answer questions until there are no more. The timer's signal ends the process, whatever code is running."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    while len(head := questions.read(8)) == 8:
        seconds, question = pickle.loads(questions.read(int.from_bytes(head, "little")))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            reply = answer(*question)
        except Exception:
            reply = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send_json(replies, [True, reply])


def _ask_worker(worker: _Worker, question: bytes, seconds: float) -> bytes | None:
    """The worker's reply line; None if it exits without one or takes longer than `seconds` of wall-clock time."""
    try:
        view = memoryview(question)
        while view:
            view = view[os.write(worker.questions, view) :]
    except OSError:
        return None
    line = b""
    end = time.monotonic() + seconds
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([worker.replies], [], [], max(0.0, end - time.monotonic()))
        piece = os.read(worker.replies, 65_536) if ready else b""
        if not piece:
            return None
        line += piece
    return line


def _kill_worker(worker: _Worker) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    os.waitpid(worker.pid, 0)
    os.close(worker.questions)
    os.close(worker.replies)


def _send_json(replies: BinaryIO, reply: Any) -> None:
    replies.write(json.dumps(reply).encode() + b"\n")
    replies.flush()


def _limit_worker_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard < 0 else min(MEMORY, hard), hard))


def _load_math_grader() -> Any:
    from latex2sympy2_extended import NormalizationConfig  # type: ignore[import-untyped]
    from math_verify import LatexExtractionConfig, parse, verify

    # Units are already stripped by our own list: math-verify's includes h, m, s, t, ..., so `5 t` would be 5.
    cleaning = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all")
    form = [LatexExtractionConfig(normalization_config=cleaning)]

    def answers_equal(gold: str, answer: str) -> bool:
        """The right answer goes first: the comparison is not symmetric."""
        known, candidate = (parse(f"${text}$", extraction_config=form, parsing_timeout=None) for text in (gold, answer))
        return bool(verify(known, candidate, timeout_seconds=None))

    return answers_equal


def _load_gym_scorer() -> Any:
    import functools

    import reasoning_gym

    @functools.lru_cache(maxsize=8)
    def create_scorer(name: str, settings: bytes) -> Any:
        return reasoning_gym.create_dataset(name, **pickle.loads(settings)).score_answer

    def score_entry(name: str, settings: dict[str, Any], entry: dict[str, Any], answer: str) -> float:
        return float(create_scorer(name, pickle.dumps(settings))(answer, entry))

    return score_entry


if __name__ == "__main__":
    run_helper(sys.argv[1])
