"""`elicit report`: print a run's table and write its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from elicit.cli.arguments import parse


@dataclass(frozen=True)
class Report:
    """Summarise a run directory anew, print its table and write its report.html."""

    run: Positional[Path]
    """Run directory."""


def main(arguments: Sequence[str]) -> int:
    options = parse(Report, "report", arguments)
    from elicit.comparison.summarise import write_summary
    from elicit.report import terminal, write_report

    summary = write_summary(options.run)
    page = write_report(options.run)
    terminal.show(summary)
    print(f"report: {page}")
    return 0
