"""`elicit verify`: recompute every figure of a run from its rows and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from elicit.cli.arguments import parse


@dataclass(frozen=True)
class Verify:
    """Recompute every figure in summary.json from rows and metrics, and judge every completion again."""

    run: Positional[Path]
    """Run directory, or an archive of one."""


def main(arguments: Sequence[str]) -> int:
    """0: everything agrees. 1: something does not, and is listed."""
    options = parse(Verify, "verify", arguments)
    from elicit.comparison.archive import opened
    from elicit.comparison.verify import verify

    with opened(options.run) as run:
        found = verify(run)
    for difference in found.differences:
        print(difference)
    print(f"{found.figures} figures and {found.rows} verdicts checked, {len(found.differences)} differ")
    return 1 if found.differences else 0
