"""`elicit report`: print a run's table and write its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments


@dataclass(frozen=True)
class ReportOptions:
    """Summarise a run directory anew, print its table and write its report.html."""

    run: Positional[Path]
    """Run directory, or an archive of one."""
    html: Path | None = None
    """Also copy the report to this file (for an archive, which keeps none)."""


def main(arguments: Sequence[str]) -> int:
    options = parse_arguments(ReportOptions, "report", arguments)
    from elicit.comparison.archive import open_run_directory
    from elicit.comparison.summary.summarise import write_summary
    from elicit.report import terminal, write_report
    from elicit.runs import write_text

    with open_run_directory(options.run) as run:
        summary = write_summary(run)
        page = write_report(run)
        terminal.show(summary)
        if options.html is not None:
            write_text(options.html, page.read_text(encoding="utf-8"))
    print(f"report: {options.html or (page if run == options.run else 'type --html FILE to keep it')}")
    return 0
