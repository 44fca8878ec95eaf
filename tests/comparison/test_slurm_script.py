"""The Slurm script of a run: bash reads it, its command takes part in the run, and nonsense is refused."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.comparisons import changed, elicit, with_arms, write_spec


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return write_spec(folder, changed(arms=with_arms("base"), off_target={}, seeds=1, samples=0, test=4, kl_problems=0))


def test_the_script_starts_joined_processes(spec: Path) -> None:
    run = spec.parent / "my run"
    options = "--gres=gpu:1 --time=8:00:00"
    done = elicit("run", spec.name, "--out", run.name, "--slurm", 3, "--sbatch", options, "--workers", 1, "--lease", 90)
    assert done.code == 0, done.err
    script = Path(done.out.strip())
    assert script == spec.parent / "my run.sbatch"
    assert not run.exists()
    subprocess.run(["bash", "-n", script], check=True)
    lines = script.read_text().splitlines()
    assert {"#SBATCH --array=1-3", f"#SBATCH {options}"} <= set(lines)
    command = shlex.split(next(line for line in lines if line.startswith("exec ")))
    expected = ["run", spec.name, "--out", run.name, "--workers", "1", "--lease", "90", "--join"]
    assert command[command.index("elicit.cli.main") + 1 :] == expected
    # What each task of the array does, with the interpreter replaced by one that tells its arguments.
    told = script.read_text().replace(shlex.quote(command[1]), "printf '%s\\n'").replace("exec ", "")
    printed = subprocess.run(["bash", "-c", told], capture_output=True, text=True, check=True, cwd=os.sep)
    assert printed.stdout.splitlines()[-len(expected) :] == expected
    assert elicit(*expected).code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--slurm", 0), "--slurm is 0"),
        (("--slurm", 2, "--sbatch", "gpu:1"), "'gpu:1' is not an option"),
        (("--slurm", 2, "--sbatch=--array=1-9"), "the array is set by --slurm"),
        (("--slurm", 2, "--sbatch", "-a 1-9"), "the array is set by --slurm"),
        (("--slurm", 2, "--sbatch", "--comment='x"), "No closing quotation"),
        (("--slurm", 2, "--sbatch", "--time=1\nrm -r x"), "on one line"),
        (("--sbatch", "--time=1"), "--sbatch goes with --slurm"),
        (("--slurm", 2, "--plan"), "Type one of them"),
        (("--slurm", 2, "--drop", "base"), "--drop needs the run to itself"),
        (("--slurm", 2, "--arms", "nothing"), "unknown arm 'nothing'"),
    ],
)
def test_nonsense_is_refused(spec: Path, options: tuple[object, ...], said: str) -> None:
    refused = elicit("run", spec, "--out", "run", *options)
    assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
    assert said in refused.err
    assert os.listdir() == ["spec.yaml"]
