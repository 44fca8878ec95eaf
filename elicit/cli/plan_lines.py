"""Lines of `elicit run` about its plan: before the run, and next to what was measured afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elicit.comparison.planning.plan import Plan
    from elicit.comparison.spec import Spec


def print_plan(plan: Plan, unseen: Sequence[str]) -> None:
    """Print a plan to stdout.

    Args:
        unseen: models whose arms could not be checked.
    """
    effect = plan.minimum_detectable_effect
    unknown = f"; {', '.join(plan.unknown)}: unknown until downloaded" if plan.unknown else ""
    workers = f"{plan.workers} worker{'s' if plan.workers > 1 else ''}"
    lines = [
        ("cells", f"{plan.cells} ({plan.finished} finished)"),
        ("test problems", f"{plan.test_problems}"),
        ("samples", f"{plan.samples:,} at temperature 1"),
        ("generated tokens", f"about {plan.generated_tokens:,}, with votes, branches, tuning and rollouts"),
        ("  at most", f"{plan.limit_tokens:,} in answers and samples, if every completion ran to its limit"),
        ("prompt tokens", f"about {plan.read_tokens:,}"),
        ("trained tokens", f"about {plan.trained_tokens:,}"),
    ]
    if plan.checkpoints:
        lines.insert(3, ("checkpoints", f"{plan.checkpoints:,} of trained arms, answered and probed"))
    for model in plan.models:
        lengths = model.lengths
        words = f"prompt {lengths.prompt:.0f}, answer {lengths.plain:.0f}, thinking {lengths.thought:.0f} tokens"
        counted = f"; {model.characters:g} characters taken for a token" if model.characters else ""
        lines.append(("expected lengths", f"{model.label}: {words} (limit {lengths.limit}{counted})"))
    if any(model.seconds is not None for model in plan.models) or not plan.models:
        ran, factor = plan.correction.cells, plan.correction.factor
        corrected = f", {factor:.2g} times the estimate, as {ran} finished cells took" if ran else ""
        time = f"about {format_duration(plan.seconds)} on this machine with {workers}{corrected}{unknown}"
        lines.append(("time", time))
        lines.append(("memory", f"about {plan.memory_gib:.1f} GiB for {workers}{unknown}"))
    else:
        lines += [(name, unknown.removeprefix("; ")) for name in ("time", "memory")]
    for model in plan.models:
        if model.basis not in (None, "files"):
            source = "as the spec says (assume)" if model.basis == "assumed" else "by its config"
            lines.append(
                ("assumed size", f"{model.label}: {(model.parameters or 0) / 1e6:,.0f} M parameters, {source}")
            )
    for name in dict.fromkeys(unseen):
        lines.append(
            ("not checked", f"{name}: its files are not on this machine, so its prompts and arms were not read")
        )
    seen = f"{100 * effect:.0f} points" if effect is not None else "none: too few problems"
    lines.append(("minimum detectable effect", f"{seen} (80 % power, single runs, if 30 % of problems change)"))
    for name, text in lines:
        print(f"{name:<26} {text}")


def compare_with_plan(
    plan: Plan, spec: Spec, run: Path, arms: Sequence[str] | None, began: float, seconds: float
) -> str:
    """One line: what was planned, and what was measured.

    Args:
        began: when the run began, in seconds since the epoch: cells that were finished before do not count.
    """
    from elicit.comparison.cell_state import read_cell_status
    from elicit.comparison.spec.cells import list_cells

    states = [
        read_cell_status(cell, run)
        for cell in list_cells(spec, arms)
        if (path := cell.folder_in(run) / "status.json").exists() and path.stat().st_mtime >= began
    ]
    peaks = [state["peak_gib"] for state in states if state.get("peak_gib") is not None]
    if not states:
        return f"{seconds:.0f} s"
    message = f"planned {format_duration(plan.seconds)}, measured {format_duration(seconds)}"
    if peaks:
        message += f"; memory planned {plan.memory_gib:.1f} GiB, measured {plan.workers * max(peaks):.1f} GiB"
        message += f" ({plan.workers} workers)" if plan.workers > 1 else ""
    return message


def format_duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"
