"""`elicit merge`: join runs of one spec that have other cells done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments


@dataclass(frozen=True)
class MergeOptions:
    """Join runs of one spec and limit, with some cells done in each, into a new run. The runs stay as they are."""

    runs: Positional[tuple[Path, ...]]
    """Run directories. A cell that is done in several must have the same rows in all."""
    out: Path
    """The new run directory."""


def main(arguments: Sequence[str]) -> int:
    options = parse_arguments(MergeOptions, "merge", arguments)
    from elicit.comparison.merge import merge_runs
    from elicit.report import write_report

    merged = merge_runs(options.runs, options.out, command=["elicit", "merge", *map(str, arguments)])
    for path in options.runs:
        print(f"{sum(home == path for home in merged.cells.values())} cells from {path}")
    print(f"{len(merged.cells)} of {merged.total} cells finished in {options.out}")
    if len(merged.cells) < merged.total:
        print(f"run the others: elicit run {options.out / 'spec.yaml'} --out {options.out}")
    print(f"report: {write_report(options.out)}")
    return 0
