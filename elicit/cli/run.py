"""`elicit run`: run a comparison."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from elicit.cli.arguments import parse_arguments
from elicit.errors import EXIT_SOME_ARMS_FAILED, ElicitError

if TYPE_CHECKING:
    from elicit.comparison.planning.plan import Plan
    from elicit.comparison.spec import Spec


@dataclass(frozen=True)
class RunOptions:
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
    """Processes (default: 2, or 1 on a GPU). With --on: cells at a time (default: as many as the cluster holds)."""
    download: bool = False
    """Fetch models and SAE releases that are not on this machine, before the first cell. Else nothing is fetched."""
    plan: Annotated[bool, arg(name="plan")] = False
    """Print cells, tokens, time, memory, the smallest effect that can be seen and smaller designs, and stop."""
    gpus: str | None = None
    """With --plan: hours and memory of every arm on these GPUs, such as 4xA100-80GB (cpu: this machine)."""
    join: bool = False
    """Work on a run together with other processes, on this and other machines that share its folder."""
    lease: float = 60.0
    """With --join: seconds without a sign of life after which the cells of another process are taken over."""
    device: str | None = None
    """Device of this process, instead of the spec's: cpu, cuda, cuda:1, balanced or auto."""
    on: str | None = None
    """Run each cell as a task of a Ray cluster: ray (one on this machine, for this run), ray://HOST:PORT, or HOST:PORT
    or auto on one of its machines."""
    gpus_per_cell: float | None = None
    """With --on: GPUs of a cell, such as 0.5 (default: 1, or 0 on the CPU)."""
    cpus_per_cell: float | None = None
    """With --on: CPUs of a cell (default: its threads)."""
    memory_per_cell: float | None = None
    """With --on: GiB of the host's memory of a cell (default: the plan's estimate)."""
    processes: int | None = None
    """Processes that share one training of sft, critique or grpo, instead of the spec's: one a GPU."""
    slurm: int | None = None
    """Write a Slurm array script that starts this many joined processes, print its path, and stop."""
    sbatch: str | None = None
    """With --slurm: options for sbatch, such as "--gres=gpu:1 --time=8:00:00"."""
    track: str | None = None
    """Also keep cells in trackers: tensorboard, trackio, wandb (comma-separated). Local files; wandb is offline unless
    WANDB_MODE says otherwise."""
    color: Literal["auto", "never"] = "auto"
    """Colours and a moving line on a terminal, or plain lines."""

    @property
    def resources(self) -> dict[str, float | None]:
        """Options of each cell on a cluster, by their names."""
        return {name: getattr(self, f"{name}_per_cell") for name in ("cpus", "gpus", "memory")}


def main(arguments: Sequence[str]) -> int:
    from elicit.cli.slurm_script import attach_value

    options = parse_arguments(RunOptions, "run", attach_value(arguments, "--sbatch"))
    _check_combination(options)
    if options.plan:
        from elicit.comparison.planning.stand_ins import describe_stand_ins, read_spec_for_plan

        with tempfile.TemporaryDirectory(prefix="elicit-plan-") as folder:
            code = _plan_or_run(options, arguments, *read_spec_for_plan(options.spec, Path(folder)))
            print("".join(f"{line}\n" for line in describe_stand_ins(Path(folder))), end="")
            return code
    from elicit.comparison.spec import read_limited_spec

    return _plan_or_run(options, arguments, *read_limited_spec(options.spec))


def _plan_or_run(options: RunOptions, arguments: Sequence[str], full_spec: Spec, spec_limit: int | None) -> int:
    from elicit.cli.cluster_options import open_cluster
    from elicit.cli.slurm_script import write_slurm_script
    from elicit.comparison.running.corrections import Corrections, list_replaced_arms, remove_arms
    from elicit.comparison.spec.name_checks import check_device
    from elicit.comparison.spec.shared_training import describe_processes

    if options.device is not None:
        check_device(options.device, "--device")
        full_spec = full_spec.model_copy(update={"device": options.device})
    if options.processes is not None:
        full_spec = full_spec.model_copy(update={"processes": options.processes})
    options = replace(options, limit=spec_limit if options.limit is None else options.limit)
    corrections = Corrections(_split_names(options.replace), _split_names(options.drop))
    spec = remove_arms(full_spec, corrections.drop, where=str(options.spec))
    run = options.out or Path("runs") / options.spec.stem
    arms = None if options.arms is None else list(_split_names(options.arms))
    for name, value in (
        ("limit", options.limit),
        ("workers", options.workers),
        ("processes", options.processes),
    ):
        if value is not None and value < 1:
            raise ElicitError(f"--{name} is {value}; expected at least 1.")
    trackers = [] if options.track is None else _check_trackers(options.track)
    from elicit.loading.catalog import resolve_model

    for model in spec.models.values():
        resolve_model(model)
    from elicit.cli import plan_lines
    from elicit.comparison.running.run_folder import check_target
    from elicit.comparison.running.template_check import check_chat_templates
    from elicit.comparison.spec.cells import list_cells

    for line in check_chat_templates(spec):
        print(f"elicit run: {line}", file=sys.stderr)
    if (words := describe_processes(spec)) is not None:
        print(f"elicit run: processes: {words}", file=sys.stderr)

    if options.slurm is not None:
        list_cells(spec, arms)
        print(write_slurm_script(run, options.slurm, options.sbatch or "", arguments))
        return 0
    if options.join and not options.plan:
        from elicit.cli.run_joined import run_joined

        return run_joined(
            spec,
            run,
            arms=arms,
            limit=options.limit,
            workers=options.workers,
            download=options.download,
            lease=options.lease,
            command=["elicit", "run", *map(str, arguments)],
            trackers=trackers,
            color=options.color,
        )
    target = check_target(spec, run, limit=options.limit, corrections=corrections, user_spec=full_spec)
    again = {cell.name for cell in target.empty}
    if options.plan:
        from elicit.cli import plan_tables
        from elicit.comparison.running.preflight import check_cells, check_this_device

        _check_releases(spec)
        check_this_device(spec)
        unseen = check_cells(spec, run, list_cells(spec, arms), limit=options.limit, again=again)
        plan = _build_plan(spec, options, run, arms, again, fresh=True)
        gpus = plan_tables.read_gpus(options.gpus, plan)
        plan_lines.print_plan(plan, unseen)
        if options.gpus is not None and gpus is None:
            plan_tables.print_arms_here(plan, options.limit)
        plan_tables.print_tables(plan, spec, gpus, options.limit)
        return 0

    from elicit.cli.progress import ProgressLines, report_to_trackers
    from elicit.comparison.running.engine import run_cells
    from elicit.comparison.summary.summarise import write_summary
    from elicit.report import terminal, write_report

    expected: list[Plan] = []
    if corrections.replace:
        also = [arm for arm in list_replaced_arms(spec, corrections.replace) if arm not in corrections.replace]
        needed = f", and what needs them: {', '.join(also)}" if also else ""
        print(f"made again: {', '.join(corrections.replace)}{needed}", file=sys.stderr)
    started, began = time.monotonic(), time.time()
    moving = options.color == "auto" and sys.stderr.isatty()
    cluster = open_cluster(options.on, options.resources, workers=options.workers)
    with cluster as executor, ProgressLines(moving=moving) as lines:
        report = lines.print_event if not trackers else report_to_trackers(lines, run, trackers)
        failed = run_cells(
            full_spec,
            run,
            arms=arms,
            limit=options.limit,
            workers=options.workers,
            executor=executor,
            download=options.download,
            corrections=corrections,
            command=["elicit", "run", *map(str, arguments)],
            report=report,
            checked=lambda: expected.extend([] if executor else [_build_plan(spec, options, run, arms, again)]),
        )
    summary = write_summary(run)
    page = write_report(run)
    terminal.show(summary)
    print(f"report: {page}")
    for plan in expected:  # of this machine; a cluster has none
        print(plan_lines.compare_with_plan(plan, spec, run, arms, began, time.monotonic() - started), file=sys.stderr)
    for cell in failed:
        print(f"elicit run: {cell.name} failed; see {cell.folder_in(run) / 'status.json'}", file=sys.stderr)
    return EXIT_SOME_ARMS_FAILED if failed else 0


def _check_combination(options: RunOptions) -> None:
    """Raise ElicitError for an option that needs another, or that does not go with another."""
    from elicit.cli.cluster_options import check_cluster_options

    check_cluster_options(options.on, options.resources, {"join": options.join, "slurm": options.slurm})
    joined = options.join or options.slurm is not None
    for name in ("replace", "drop"):
        if joined and getattr(options, name) is not None:
            raise ElicitError(
                f"--{name} needs the run to itself. Type it without --join and --slurm, before others join."
            )
    if options.lease < 2 or options.lease > 86400:
        raise ElicitError(f"--lease is {options.lease:g}; expected seconds from 2 to 86400.")
    if options.sbatch is not None and options.slurm is None:
        raise ElicitError("--sbatch goes with --slurm N. Type both, or neither.")
    if options.gpus is not None:
        from elicit.comparison.planning.gpus import is_this_machine, parse_gpus

        if not options.plan:
            raise ElicitError("--gpus goes with --plan: it says what a run on such GPUs would cost. Type both.")
        if not is_this_machine(options.gpus):
            parse_gpus(options.gpus)
    if options.slurm is not None and options.plan:
        raise ElicitError("--slurm writes a script and --plan prints a plan. Type one of them.")


def _split_names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _check_trackers(names: str) -> list[str]:
    """Before anything runs: a run without the tracker that was asked for would have to be done again."""
    from elicit.interop.trackers import parse_tracker_names

    return parse_tracker_names(names)


def _check_releases(spec: Spec) -> None:
    """Names of SAEs on the hub are checked against SAELens's own table, which is here without the network."""
    from elicit.comparison.running.prepare_models import list_sae_releases

    names = list_sae_releases(spec)
    if names:
        from saes.loading.releases import check_release_name

        for name in names:
            check_release_name(name)


def _build_plan(
    spec: Spec, options: RunOptions, run: Path, arms: list[str] | None, again: set[str], *, fresh: bool = False
) -> Plan:
    from elicit.comparison.planning.plan import estimate_plan
    from elicit.comparison.running.workers import default_workers

    workers = options.workers if options.workers is not None else default_workers(spec)
    directory = run if os.path.exists(run) else None  # also for a name that no folder can have
    return estimate_plan(spec, directory, arms=arms, limit=options.limit, workers=workers, fresh=fresh, again=again)
