"""`elicit verify`: recompute every figure of a run from its rows and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments


@dataclass(frozen=True)
class VerifyOptions:
    """Recompute every figure in summary.json from rows and metrics, and judge every completion again."""

    run: Positional[Path]
    """Run directory, or an archive of one."""


def main(arguments: Sequence[str]) -> int:
    """0: everything agrees. 1: something does not, and is listed."""
    options = parse_arguments(VerifyOptions, "verify", arguments)
    from elicit.comparison.archive import open_run_directory
    from elicit.comparison.verify import verify_run

    with open_run_directory(options.run) as run:
        result = verify_run(run)
    for line in (*result.differences, *result.notes):
        print(line)
    print(f"{result.figures} figures and {result.rows} verdicts checked, {len(result.differences)} differ")
    return 1 if result.differences else 0
