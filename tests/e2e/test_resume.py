"""A run can be killed at any moment, and the same command goes on: the result equals an uninterrupted run's."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elicit import runs, seeds
from elicit.comparison.running.engine import run_cells
from elicit.comparison.spec import check_spec
from tests.support.comparisons import assert_same_run, changed, content, elicit, reference, start, write_spec


def _arm_with_death(moment: int) -> None:
    """Make this process kill itself at its `moment`-th chance: around renamings, and inside and after appends."""
    chances = iter(range(1, moment + 1))

    def chance() -> None:
        if next(chances) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    rename, append = os.replace, runs.append_lines

    def replace(source: str | Path, target: str | Path) -> None:
        chance()
        rename(source, target)
        chance()

    def torn_append(path: Path, records: list[object]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_size if path.exists() else 0
        with path.open("ab") as file:  # what the disk holds when the process dies in the middle of writing
            text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
            file.write(text[: 1 + len(text) * 2 // 3])
        chance()
        os.truncate(path, before)
        append(path, records)
        chance()

    os.replace = replace  # type: ignore[assignment]
    runs.append_lines = torn_append  # type: ignore[assignment]


def _killed(spec_data: dict[str, object], run: Path, moment: int) -> bool:
    """Work on `run` in a forked child that dies at its `moment`-th chance. False: it was finished before."""
    child = os.fork()
    if child == 0:
        try:
            _arm_with_death(moment)
            os._exit(len(run_cells(check_spec(spec_data), run, workers=1)))
        except BaseException:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def test_killed_at_every_kind_of_moment_equals_uninterrupted(tmp_path: Path) -> None:
    whole, run = reference(), tmp_path / "run"
    kills = 0
    # Up to four chances are before the first cell; without a step beyond them nothing would ever be finished.
    while _killed(changed(seeds=1), run, int(seeds.make_generator("kill", kills).integers(1, 16))):
        kills += 1
        assert kills < 100, "the run makes no progress"
    assert kills >= 5
    assert elicit("run", write_spec(tmp_path), "--out", run, "--workers", 1).code == 0
    assert_same_run(run, whole)


def _children(process: subprocess.Popen[str]) -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait(what: Callable[[], bool], seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _progress(run: Path) -> int:
    """Grows with every row and every finished cell."""
    return sum(path.stat().st_size for path in run.glob("cells/**/*.json*") if path.is_file())


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts `elicit run` on two workers in the folder `run`; what is left of it is killed at the end."""
    started: list[subprocess.Popen[str]] = []
    spec = write_spec(tmp_path)

    def begin() -> subprocess.Popen[str]:
        started.append(start("run", spec, "--out", tmp_path / "run", "--workers", 2))
        return started[-1]

    yield begin
    for process in started:
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class _TooLate(Exception):
    """The run was through before its moment came. It begins again, with less patience."""


def _while_starting(process: subprocess.Popen[str], patience: float) -> None:
    """Wait until there are two workers and their tracker; the workers are importing now."""
    _wait(lambda: len(_children(process)) >= 3)
    time.sleep(0.3 * patience)


def _after_some_work(process: subprocess.Popen[str], patience: float, run: Path) -> None:
    """Wait until this process has written something, and a little longer."""
    before = _progress(run)
    _wait(lambda: _progress(run) > before or process.poll() is not None)
    time.sleep(patience)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Ctrl-C, which a terminal sends to the whole group."""
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=300)
    if process.returncode == 0:
        raise _TooLate
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "elicit run: interrupted. The same command goes on where it stopped."
    assert "Traceback" not in err


def _lose_a_worker(process: subprocess.Popen[str]) -> None:
    workers = [pid for pid in _children(process) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    if process.returncode == 0:
        raise _TooLate
    assert process.returncode == 2, err
    assert "a worker process died while cued/" in err.splitlines()[-1]
    assert "Traceback" not in err


def _lose_the_parent(process: subprocess.Popen[str], run: Path) -> None:
    """The workers stop by themselves, and nobody writes on."""
    children = _children(process)
    assert len(children) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _wait(lambda: not any(map(_alive, children)), 20)
    before = content(run)
    time.sleep(1)
    assert content(run) == before


def _lose_everything(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


_PROC = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds worker processes through /proc")


@pytest.mark.slow
@_PROC
def test_interrupted_orphaned_and_killed_processes_resume(
    tmp_path: Path, begin: Callable[[], subprocess.Popen[str]]
) -> None:
    run = tmp_path / "run"
    working = functools.partial(_after_some_work, run=run)
    ends: list[tuple[Callable[..., None], Callable[[subprocess.Popen[str]], None]]] = [
        (_while_starting, _interrupt),
        (working, _interrupt),
        (_while_starting, _lose_a_worker),
        (working, functools.partial(_lose_the_parent, run=run)),
        (working, _lose_everything),
    ]
    for moment, (wait, end) in enumerate(ends):
        patience = float(seeds.make_generator("moment", moment).random())
        for _ in range(6):  # on a fast machine the run can be through before its moment comes
            if wait is working:
                shutil.rmtree(run, ignore_errors=True)
            process = begin()
            wait(process, patience)
            try:
                if process.poll() is not None:
                    raise _TooLate
                end(process)
                break
            except _TooLate:
                shutil.rmtree(run, ignore_errors=True)
                patience /= 4
        else:
            pytest.fail(f"moment {moment} never came in time")
    assert elicit("run", tmp_path / "spec.yaml", "--out", run, "--workers", 1).code == 0
    assert_same_run(run, reference())


@_PROC
@pytest.mark.slow
@pytest.mark.parametrize("case", range(4))
def test_killed_over_and_over_through_the_command_line(
    tmp_path: Path, begin: Callable[[], subprocess.Popen[str]], case: int
) -> None:
    """Kills at moments of a clock, alternately of the group and of the parent alone, until one run gets through."""
    run = tmp_path / "run"
    for attempt in range(40):
        process = begin()
        # The longer it takes, the longer they live: on any machine one gets through in the end.
        patience = float(seeds.make_generator("clock", case, attempt).uniform(1, 8 + 2 * attempt))
        try:
            _, err = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            if attempt % 2:
                _lose_everything(process)
            else:
                children = _children(process)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                _wait(lambda c=children: not any(map(_alive, c)), 20)  # type: ignore[misc]
        else:
            assert process.returncode == 0, err
            break
    assert_same_run(run, reference())
