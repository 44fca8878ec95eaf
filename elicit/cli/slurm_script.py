"""A Slurm array script that starts joined processes on one run. It is written and not submitted."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from elicit.errors import ElicitError, one_line
from elicit.runs import write_text

#: Options of `elicit run` that the script does not pass on, with their values.
_OWN = ("--slurm", "--sbatch")
#: The largest array that Slurm can be configured for.
_LARGEST = 4_000_000


def write_slurm_script(run: Path, count: int, sbatch: str, arguments: Sequence[str]) -> Path:
    """Write the script beside the run's folder. Returns its path.

    Args:
        count: processes.
        sbatch: options of sbatch, as they are typed.
        arguments: those of `elicit run`.

    Raises:
        ElicitError: a number or an option that cannot be meant.
    """
    if not 1 <= count <= _LARGEST:
        raise ElicitError(f"--slurm is {count}; expected a number of processes from 1 to {_LARGEST}.")
    path = run.absolute().with_name(f"{run.name}.sbatch")
    command = [sys.executable, "-m", "elicit.cli.main", "run", *_drop_options(arguments, _OWN)]
    command += [] if "--join" in command else ["--join"]
    command += [] if _has_option(command, "--out") else ["--out", str(run)]
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name=elicit-{run.name}",
        f"#SBATCH --array=1-{count}",
        *_format_options(sbatch),
        "",
        "# Submit with sbatch. Each task of the array takes part in the run; the same file goes on with it later.",
        f"cd {shlex.quote(str(Path.cwd()))} || exit 1",
        f"exec {shlex.join(command)}",
        "",
    ]
    write_text(path, "\n".join(lines))
    return path


def _format_options(sbatch: str) -> list[str]:
    """The options as a line of the script.

    Raises:
        ElicitError: they are not options, or say what the script says.
    """
    where = f"--sbatch {one_line(repr(sbatch), 80)}"
    if not sbatch.isprintable():
        raise ElicitError(f"{where}: expected options of sbatch on one line.")
    try:
        words = shlex.split(sbatch)
    except ValueError as error:
        raise ElicitError(f'{where}: {error}. Type it as for sbatch: "--gres=gpu:1 --time=8:00:00"') from None
    if words and not words[0].startswith("-"):
        raise ElicitError(f'{where}: {words[0]!r} is not an option. Type it as for sbatch: "--gres=gpu:1"')
    if any(re.match(r"--array(=|$)|-a", word) for word in words):
        raise ElicitError(f"{where}: the array is set by --slurm N. Leave it out.")
    return [f"#SBATCH {sbatch.strip()}"] if words else []


def attach_value(arguments: Sequence[str], name: str) -> list[str]:
    """`--name value` as `--name=value`, so that the value may begin with a dash."""
    rest = list(arguments)
    if name in rest[:-1]:
        at = rest.index(name)
        rest[at : at + 2] = [f"{name}={rest[at + 1]}"]
    return rest


def _drop_options(arguments: Sequence[str], names: Sequence[str]) -> list[str]:
    """The arguments without some options and their values, in either form: `--name value`, `--name=value`."""
    rest: list[str] = []
    is_value = False
    for argument in arguments:
        if not is_value and argument.split("=")[0] not in names:
            rest.append(argument)
        is_value = not is_value and argument in names
    return rest


def _has_option(arguments: Sequence[str], name: str) -> bool:
    return any(argument.split("=")[0] == name for argument in arguments)
