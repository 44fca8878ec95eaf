"""A disk that is really full: one line, code 2, nothing half-written; with space again the same command goes on."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.comparisons import assert_same_run, elicit, reference, rows, strays, write_spec


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this test needs the right to mount a small tmpfs: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    _mount("-t", "tmpfs", "-o", "size=8k", "tmpfs", str(place))
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_stops_the_run_and_more_space_resumes_it(tmp_path: Path, disk: Path) -> None:
    """It runs full before the first cell, while rows are appended, and while a megabyte of weights is saved."""
    whole, run, spec = reference(), disk / "run", write_spec(tmp_path)
    stopped_at = set()
    for size in ("4k", "28k", "44k", "512k"):
        _mount("-o", f"remount,size={size}", str(disk))
        done = elicit("run", spec, "--out", run, "--workers", 1)
        assert done.code == 2, f"{size}: {done}"
        *progress, said = done.err.splitlines()
        assert all(line.startswith("[") for line in progress), done.err
        assert said.startswith(f"elicit run: no space left while writing {run}")
        assert said.endswith("What was finished is kept: free some space and type the same command again.")
        stopped_at.add(Path(said.split(". What was")[0]).name)
        for line in (line for lines in rows(run).values() for line in lines):  # every row is whole
            assert line.endswith("}")
        assert strays(run) == []
    assert {"addition.jsonl", "policy"} <= stopped_at
    _mount("-o", "remount,size=64m", str(disk))
    assert elicit("run", spec, "--out", run, "--workers", 1).code == 0
    assert_same_run(run, whole)


def test_a_disk_that_may_only_be_read(tmp_path: Path, disk: Path) -> None:
    _mount("-o", "remount,ro", str(disk))
    done = elicit("run", write_spec(tmp_path), "--out", disk / "run", "--workers", 1)
    assert (done.code, done.err) == (
        2,
        f"elicit run: cannot write {disk}/run/.lock: Read-only file system. "
        "Name a folder that you may write to with --out.\n",
    )


def test_a_limit_on_file_sizes_is_met_the_same_way(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the system says EFBIG instead of ENOSPC. The first to reach it are a trained arm's weights."""
    whole, run, spec = reference(), tmp_path / "run", write_spec(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        done = elicit("run", spec, "--out", run, "--workers", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(
        f"elicit run: no space left while writing {run}/cells/cued/sft/0/policy."
    )
    assert strays(run) == []
    assert elicit("run", spec, "--out", run, "--workers", 1).code == 0
    assert_same_run(run, whole)
