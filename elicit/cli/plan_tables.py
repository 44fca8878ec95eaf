"""Tables of `elicit run --plan`: arms on GPUs that may not be here, and smaller designs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from elicit.cli.plan_lines import format_duration
from elicit.comparison.cell_state import count_test_problems
from elicit.comparison.planning.arms_here import plan_here
from elicit.comparison.planning.basis import ModelBasis
from elicit.comparison.planning.designs import (
    AS_IT_IS,
    Clock,
    DesignCost,
    count_comparisons,
    find_same,
    price_designs,
)
from elicit.comparison.planning.gpu_plan import ArmOnGpu, GpuPlan, estimate_cell, place_on_gpu, plan_on_gpus
from elicit.comparison.planning.gpus import Gpus, is_this_machine, parse_gpus
from elicit.comparison.planning.machine import estimate_cell_seconds
from elicit.comparison.planning.plan import Plan
from elicit.comparison.planning.roofline import TRAINING, TRANSFORMERS, VLLM, Interval
from elicit.comparison.planning.token_costs import CellPrice
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell


def read_gpus(text: str | None, plan: Plan) -> Gpus | None:
    """What was typed after `--gpus`, for the models of a plan; None for nothing, and for `cpu`.

    Raises:
        ElicitError: as `parse_gpus`; the GPU does not compute in a model's dtype.
    """
    if text is None or is_this_machine(text):
        return None
    gpus = parse_gpus(text)
    for basis in plan.bases:
        if basis.profile is not None:
            gpus.gpu.find_flops(basis.profile.dtype)
    return gpus


def print_tables(plan: Plan, spec: Spec, gpus: Gpus | None, limit: int | None) -> None:
    """Print the tables that a plan has; without GPUs those that hold for this machine."""
    if gpus is not None:
        print()
        _print_gpu_table(plan, spec, gpus, limit)
    _print_comparisons(plan, limit)
    _print_designs(plan, spec, gpus, limit)


def _print_gpu_table(plan: Plan, spec: Spec, gpus: Gpus, limit: int | None) -> None:
    found = plan_on_gpus(plan, gpus, limit)
    at_limit = plan_on_gpus(plan.at_limit(), gpus, limit)
    place = f"{gpus.count} x {gpus.gpu.name}"
    if not found.arms:
        print(f"on {place}: nothing to estimate; no unfinished cell has a model of known size")
        return
    engine = "transformers" if spec.engine == "transformers" else "vLLM"
    print(f"on {place}: GPU-hours of all models and seeds, estimated (the spec's engine: {engine})")
    header = ("arm", "cells", "generated", "read", "trained", "PFLOP", "transformers", "with vLLM", "moved", "GiB")
    _print_columns([header, *(_describe_arm(arm, gpus) for arm in found.arms)])
    print(
        f"until the last cell ends: {_hours(found.transformers)} hours on transformers, {_hours(found.vllm)} with "
        "vLLM, with one process for each GPU (--join --device cuda:N, or --on ray); at most "
        f"{_two_digits(at_limit.transformers.high)} and {_two_digits(at_limit.vllm.high)} if every completion ran to "
        "its limit"
    )
    print(_describe_move(found))
    training = "-".join(f"{100 * share:.0f}" for share in TRAINING)
    print(
        f"assumed, for no GPU has been measured: {TRANSFORMERS.assumptions}; {VLLM.assumptions}; training {training} % "
        "of arithmetic"
    )


def print_arms_here(plan: Plan, limit: int | None) -> None:
    """Print hours and memory of every arm on this machine, by its measured speed and by cells that have finished."""
    arms = plan_here(plan, limit)
    if not arms:
        return
    workers = f"{plan.workers} worker{'s' if plan.workers > 1 else ''}"
    print(f"\non this machine: time of all models and seeds, shared by {workers}, estimated")
    rows = [
        (
            *(arm.arm, str(arm.cells)),
            *(_count(tokens) for tokens in (arm.generated, arm.prompted, arm.trained)),
            *(f"{arm.flops / 1e12:,.2g}", format_duration(3600 * arm.hours), f"{arm.gib:.1f}"),
        )
        for arm in arms
    ]
    _print_columns([("arm", "cells", "generated", "read", "trained", "TFLOP", "time", "GiB"), *rows])


def _describe_arm(arm: ArmOnGpu, gpus: Gpus) -> tuple[str, ...]:
    gib = f"{arm.gib:.0f}" + (f" on {arm.gpus} GPUs" if arm.gpus > 1 else "")
    if arm.too_large:
        which = "" if arm.too_large == arm.cells else f"{arm.too_large} cells "
        gib += f", {which}too large for " + (f"{gpus.count} GPUs" if arm.gpus > gpus.count else "one GPU")
        gib += f" (processes: {arm.would_do} would do)" if arm.would_do else ""
    tokens = (_count(tokens) for tokens in (arm.generated, arm.prompted, arm.trained))
    hours = _hours(arm.transformers), _hours(arm.vllm)
    return (arm.arm, str(arm.cells), *tokens, _two_digits(arm.flops / 1e15), *hours, f"{100 * arm.moved:.0f} %", gib)


def _describe_move(found: GpuPlan) -> str:
    """What vLLM takes over, what stays and why, and the memory that is left for it."""
    stays: dict[str, list[str]] = {}
    for arm in found.arms:
        for obstacle in arm.obstacles:
            stays.setdefault(obstacle, []).append(arm.arm)
    reasons = "".join(
        f"; {obstacle} ({', '.join(arms) if len(arms) <= 4 else f'{len(arms)} arms'})"
        for obstacle, arms in stays.items()
    )
    if found.share_for_vllm is None:
        room = "on one GPU there is no room for both: give it its own (engine: {vllm: {url: ...}})"
    else:
        room = f"beside the lab on one GPU it has room with options: {{gpu_memory_utilization: {found.share_for_vllm}}}"
    return f"vLLM takes over answers, samples and searches; here stay training and reading{reasons}\nvLLM: {room}"


def _print_comparisons(plan: Plan, limit: int | None) -> None:
    for size, count in sorted(count_comparisons(plan.bases, limit).items(), reverse=True):
        runs = f"{size.runs[0]} seed{'s' if size.runs[0] > 1 else ''} with {size.runs[1]}"
        found = "none" if size.detectable is None else _points(size.detectable)
        compared = f"{count} comparison{'s' if count > 1 else ''} of {runs}"
        print(f"{'smallest difference':<26} {found} in {compared}, {size.problems} problems")


def _print_designs(plan: Plan, spec: Spec, gpus: Gpus | None, limit: int | None) -> None:
    """What smaller designs would cost and detect, over unfinished cells of models of known size."""
    bases = [basis for basis in plan.bases if basis.profile is not None]
    labels = {basis.label for basis in bases}
    cells = [cell for cell in plan.pending if cell.model in labels]
    if not cells:
        return
    costs = price_designs(bases, cells, limit, _make_clock(plan, spec, gpus, limit))
    hours = "time here" if gpus is None else "GPU-hours"
    sampled = ["of pass@1 of samples"] if costs[0].samples is not None else []
    print()
    rows = [_describe_design(cost, bases, gpus is None) for cost in costs]
    _print_columns([("smaller designs", "cells", hours, "smallest difference", *sampled), *rows])
    same = find_same(costs)
    if same is not None:
        saved = 100 * (1 - same.hours.high / costs[0].hours.high)
        print(f"as small a difference, up to 5 % more, in {saved:.0f} % fewer hours: {_name_design(same, bases)}")
    print(
        "80 % power; assumed: 30 % of problems change, half of that in every run; what training seeds add comes on top"
    )


def _make_clock(plan: Plan, spec: Spec, gpus: Gpus | None, limit: int | None) -> Clock:
    """Hours of a cell: on the GPUs with the spec's engine, or on this machine."""

    def on_gpu(basis: ModelBasis, cell: Cell, price: CellPrice) -> Interval:
        assert gpus is not None
        placed = estimate_cell(place_on_gpu(basis, gpus.gpu), cell, price, gpus.gpu, limit)
        return (placed.transformers if spec.engine == "transformers" else placed.vllm).times(placed.gpus)

    def on_this_machine(basis: ModelBasis, cell: Cell, price: CellPrice) -> Interval:
        seconds = estimate_cell_seconds(basis, price, basis.estimate_cost(cell.arm), plan.workers, fresh=False)
        hours = plan.correction.factor * seconds / plan.workers / 3600
        return Interval(hours, hours)

    return on_this_machine if gpus is None else on_gpu


def _describe_design(cost: DesignCost, bases: Sequence[ModelBasis], exact: bool) -> tuple[str, ...]:
    hours = format_duration(3600 * cost.hours.high) if exact else _hours(cost.hours)
    ends = " to ".join(dict.fromkeys(_points(cost.answers[i]) for i in (0, -1) if cost.answers))
    samples = [] if cost.samples is None else [_points(cost.samples)]
    return (f"  {_name_design(cost, bases)}", str(cost.cells), hours, ends.replace(" points to", " to"), *samples)


def _name_design(cost: DesignCost, bases: Sequence[ModelBasis]) -> str:
    design, specs = cost.design, [cost.design.apply(basis.spec) for basis in bases]
    if design == AS_IT_IS:
        return "as the spec says"
    if design.test < 1:
        return f"test: {_several(count_test_problems(spec, None) for spec in specs)}"
    return f"samples: {_several(spec.samples.n for spec in specs)}" if design.samples < 1 else f"seeds: {design.seeds}"


def _several(numbers: Iterable[int]) -> str:
    return " or ".join(map(str, sorted(set(numbers), reverse=True)))


def _points(difference: float) -> str:
    return "none" if math.isinf(difference) else f"{100 * difference:.1f} points"


def _hours(interval: Interval) -> str:
    ends = dict.fromkeys(_two_digits(hours) for hours in interval)
    return "-".join(ends)


def _two_digits(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}" if hours >= 0.01 else "<0.01"


def _count(tokens: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if tokens >= unit:
            return f"{tokens / unit:.3g} {name}"
    return f"{tokens:.0f}"


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join((row[0].ljust(len(first)), *others)).rstrip())
