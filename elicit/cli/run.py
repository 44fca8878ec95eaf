"""`elicit run`: run a comparison."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from elicit.cli.arguments import parse
from elicit.errors import EXIT_SOME_ARMS_FAILED, ElicitError


@dataclass(frozen=True)
class Run:
    """Run a comparison from a spec. The same command resumes it; more arms, seeds or samples amend it."""

    spec: Positional[Path]
    """YAML file with models, task and arms."""
    out: Path | None = None
    """Run directory (default: runs/NAME of the spec's file)."""
    arms: str | None = None
    """Only these arms (comma-separated) and those they need."""
    limit: int | None = None
    """At most this many test problems of each task: a seeded subset. The report says LIMITED."""
    workers: int | None = None
    """Processes (default: 2, or 1 on a GPU)."""
    plan: Annotated[bool, arg(name="plan")] = False
    """Print cells, tokens, time, memory and the smallest effect that can be seen, and stop."""
    color: Literal["auto", "never"] = "auto"
    """Colours and a moving line on a terminal, or plain lines."""


def main(arguments: Sequence[str]) -> int:
    options = parse(Run, "run", arguments)
    from elicit.comparison.spec import read_spec

    spec = read_spec(options.spec)
    run = options.out or Path("runs") / options.spec.stem
    arms = None if options.arms is None else [arm.strip() for arm in options.arms.split(",") if arm.strip()]
    for name, value in (("limit", options.limit), ("workers", options.workers)):
        if value is not None and value < 1:
            raise ElicitError(f"--{name} is {value}; expected at least 1.")
    from elicit.loading.catalog import resolve

    for model in spec.models.values():
        resolve(model)
    if options.plan:
        return _print_plan(options, run, arms)

    from elicit.cli.progress import Lines
    from elicit.comparison.engine import run_cells
    from elicit.comparison.summarise import write_summary
    from elicit.report import terminal, write_report

    started = time.monotonic()
    with Lines(moving=options.color == "auto" and sys.stderr.isatty()) as lines:
        failed = run_cells(
            spec,
            run,
            arms=arms,
            limit=options.limit,
            workers=options.workers,
            command=["elicit", "run", *map(str, arguments)],
            report=lines.show,
        )
    summary = write_summary(run)
    page = write_report(run)
    terminal.show(summary)
    print(f"report: {page}")
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    for cell in failed:
        print(f"elicit run: {cell.name} failed; see {cell.folder(run) / 'status.json'}", file=sys.stderr)
    return EXIT_SOME_ARMS_FAILED if failed else 0


def _print_plan(options: Run, run: Path, arms: list[str] | None) -> int:
    from elicit.comparison.plan import plan
    from elicit.comparison.spec import read_spec

    found = plan(read_spec(options.spec), run if run.exists() else None, arms=arms, limit=options.limit)
    effect = found.minimum_detectable_effect
    print(f"cells                      {found.cells} ({found.finished} finished)")
    print(f"test problems              {found.test_problems}")
    print(f"samples                    {found.samples:,} at temperature 1")
    print(f"generated tokens           at most {found.generated_tokens:,} for answers, votes and samples")
    print(
        f"time                       about {found.seconds / 60:.1f} minutes on this kind of CPU; fitting (training, "
        "rollouts, tuning) and searches other than votes are not counted"
    )
    print(f"memory                     about {found.memory_gib:.1f} GiB a worker")
    print(
        "minimum detectable effect  "
        + (f"{100 * effect:.0f} points" if effect is not None else "none: too few problems")
        + " (80 % power, single runs, if 30 % of problems change)"
    )
    return 0
