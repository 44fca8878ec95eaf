"""`elicit archive`: a finished run as a few small files, for committing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments


@dataclass(frozen=True)
class ArchiveOptions:
    """Pack a finished run: spec, manifest, and as compressed JSON its summary, rows, problems and statuses."""

    run: Positional[Path]
    """Run directory."""
    target: Positional[Path]
    """New folder."""
    partial: bool = False
    """Leave out cells that are not finished, instead of refusing: for runs of many hours."""


def main(arguments: Sequence[str]) -> int:
    options = parse_arguments(ArchiveOptions, "archive", arguments)
    from elicit.comparison.archive import write_archive

    print(write_archive(options.run, options.target, partial=options.partial))
    return 0
