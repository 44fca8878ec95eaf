"""`elicit run`: run a comparison."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from elicit.cli.arguments import parse
from elicit.errors import EXIT_SOME_ARMS_FAILED, ElicitError

if TYPE_CHECKING:
    from elicit.cli.progress import Lines
    from elicit.comparison.planning.plan import Plan
    from elicit.comparison.running.engine import Event
    from elicit.comparison.spec import Spec


@dataclass(frozen=True)
class Run:
    """Run a comparison from a spec. The same command resumes it; more arms, seeds or samples amend it."""

    spec: Positional[Path]
    """YAML file with models, task and arms."""
    out: Path | None = None
    """Run directory (default: runs/NAME of the spec's file)."""
    arms: str | None = None
    """Only these arms (comma-separated) and those they need."""
    replace: str | None = None
    """Make these arms (comma-separated) again, as the spec now has them, with all that need them; other rows stay."""
    drop: str | None = None
    """Take these arms (comma-separated) out of the run; other rows stay."""
    limit: int | None = None
    """At most this many test problems of each task: a seeded subset. The report says LIMITED."""
    workers: int | None = None
    """Processes (default: 2, or 1 on a GPU)."""
    download: bool = False
    """Fetch models and SAE releases that are not on this machine, before the first cell. Else nothing is fetched."""
    plan: Annotated[bool, arg(name="plan")] = False
    """Print cells, tokens, time, memory and the smallest effect that can be seen, and stop."""
    track: str | None = None
    """Also keep cells in trackers: tensorboard, trackio, wandb (comma-separated). Local files; wandb is offline unless
    WANDB_MODE says otherwise."""
    color: Literal["auto", "never"] = "auto"
    """Colours and a moving line on a terminal, or plain lines."""


def main(arguments: Sequence[str]) -> int:
    options = parse(Run, "run", arguments)
    from elicit.comparison.running.corrections import Corrections, replaced_arms, without_arms
    from elicit.comparison.spec import read_spec

    given = read_spec(options.spec)
    corrections = Corrections(_names(options.replace), _names(options.drop))
    spec = without_arms(given, corrections.drop, where=str(options.spec))
    run = options.out or Path("runs") / options.spec.stem
    arms = None if options.arms is None else list(_names(options.arms))
    for name, value in (("limit", options.limit), ("workers", options.workers)):
        if value is not None and value < 1:
            raise ElicitError(f"--{name} is {value}; expected at least 1.")
    trackers = [] if options.track is None else _trackers(options.track)
    from elicit.loading.catalog import resolve

    for model in spec.models.values():
        resolve(model)
    from elicit.cli import plan_lines
    from elicit.comparison.running.run_folder import check_target
    from elicit.comparison.running.template_check import check_templates

    for line in check_templates(spec):
        print(f"elicit run: {line}", file=sys.stderr)

    target = check_target(spec, run, limit=options.limit, corrections=corrections, given=given)
    again = {cell.name for cell in target.empty}
    if options.plan:
        from elicit.comparison.running.preflight import check_cells
        from elicit.comparison.spec.cells import cells

        _check_releases(spec)
        unseen = check_cells(spec, run, cells(spec, arms), limit=options.limit, again=again)
        plan_lines.show(_planned(spec, options, run, arms, again, fresh=True), unseen)
        return 0

    from elicit.cli.progress import Lines
    from elicit.comparison.running.engine import run_cells
    from elicit.comparison.summary.summarise import write_summary
    from elicit.report import terminal, write_report

    expected: list[Plan] = []
    if corrections.replace:
        also = [arm for arm in replaced_arms(spec, corrections.replace) if arm not in corrections.replace]
        needed = f", and what needs them: {', '.join(also)}" if also else ""
        print(f"made again: {', '.join(corrections.replace)}{needed}", file=sys.stderr)
    started, began = time.monotonic(), time.time()
    with Lines(moving=options.color == "auto" and sys.stderr.isatty()) as lines:
        report = lines.show if not trackers else _tracked(lines, run, trackers)
        failed = run_cells(
            given,
            run,
            arms=arms,
            limit=options.limit,
            workers=options.workers,
            download=options.download,
            corrections=corrections,
            command=["elicit", "run", *map(str, arguments)],
            report=report,
            checked=lambda: expected.append(_planned(spec, options, run, arms, again)),
        )
    summary = write_summary(run)
    page = write_report(run)
    terminal.show(summary)
    print(f"report: {page}")
    print(plan_lines.compared(expected[0], spec, run, arms, began, time.monotonic() - started), file=sys.stderr)
    for cell in failed:
        print(f"elicit run: {cell.name} failed; see {cell.folder(run) / 'status.json'}", file=sys.stderr)
    return EXIT_SOME_ARMS_FAILED if failed else 0


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _trackers(names: str) -> list[str]:
    """Before anything runs: a run without the tracker that was asked for would have to be done again."""
    from elicit.interop.trackers import check

    return check(names)


def _tracked(lines: Lines, run: Path, trackers: Sequence[str]) -> Callable[[Event], None]:
    """Shows the engine's events, and tells the trackers of them."""
    from elicit.interop.trackers import Watch

    watch = Watch(run, trackers, lines.warn)

    def report(event: Event) -> None:
        lines.show(event)
        watch.show(event)

    return report


def _check_releases(spec: Spec) -> None:
    """Names of SAEs on the hub are checked against SAELens's own table, which is here without the network."""
    from elicit.comparison.running.prepare_models import releases

    names = releases(spec)
    if names:
        from saes.loading.releases import check

        for name in names:
            check(name)


def _planned(
    spec: Spec, options: Run, run: Path, arms: list[str] | None, again: set[str], *, fresh: bool = False
) -> Plan:
    from elicit.comparison.planning.plan import plan
    from elicit.comparison.running.engine import default_workers

    workers = options.workers if options.workers is not None else default_workers(spec)
    place = run if os.path.exists(run) else None  # also for a name that no folder can have
    return plan(spec, place, arms=arms, limit=options.limit, workers=workers, fresh=fresh, again=again)
