"""`elicit run --join`: take part in a run with other processes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from elicit.cli.progress import ProgressLines, report_to_trackers
from elicit.comparison.running.joined import join_cells
from elicit.comparison.summary.summarise import write_summary
from elicit.errors import EXIT_SOME_ARMS_FAILED
from elicit.report import terminal, write_report

if TYPE_CHECKING:
    from elicit.comparison.spec import Spec


def run_joined(
    spec: Spec,
    run: Path,
    *,
    arms: Sequence[str] | None,
    limit: int | None,
    workers: int | None,
    download: bool,
    lease: float,
    command: Sequence[str],
    trackers: Sequence[str],
    color: Literal["auto", "never"],
) -> int:
    """Take part until every cell has ended; then write the summary and the report. Returns the exit code."""
    with ProgressLines(moving=color == "auto" and sys.stderr.isatty()) as lines:
        failed = join_cells(
            spec,
            run,
            arms=arms,
            limit=limit,
            workers=workers,
            download=download,
            lease=lease,
            command=command,
            report=lines.print_event if not trackers else report_to_trackers(lines, run, trackers),
        )
    summary = write_summary(run)
    page = write_report(run)
    terminal.show(summary)
    print(f"report: {page}")
    for cell in failed:
        print(f"elicit run: {cell.name} failed; see {cell.folder_in(run) / 'status.json'}", file=sys.stderr)
    return EXIT_SOME_ARMS_FAILED if failed else 0
