"""Markdown tables of what stands against an arm: its own controls, and fine-tuning at what it spent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from elicit.report.data.number_format import format_amount
from experiments.table_cells import accuracy_of, interval, percent


def control_rows(summary: dict[str, Any]) -> Iterator[str]:
    """One row per control that was run: its arm's accuracy, its own, and its paired difference to the arm."""
    yield "| model | arm | accuracy | control | accuracy | control less arm, points | n × seeds |"
    yield "|---" * 7 + "|"
    for model, entry in summary["models"].items():
        task = next(iter(entry["tasks"].values()))
        arms, points = task["arms"], _list_points(task)
        for control, figures in arms.items():
            difference = figures.get("vs_parent")
            if difference is None or control in points:
                continue
            arm = arms[difference["arm"]]
            yield (
                f"| `{model}` | {difference['arm']} | {percent(accuracy_of(arm))} | {control.rpartition('/')[2]} | "
                f"{percent(accuracy_of(figures))} | {_points(difference)} | {figures['n']} × {figures['seeds']} |"
            )


def spending_rows(summary: dict[str, Any]) -> Iterator[str]:
    """One row per arm that is compared with fine-tuning at its own spending: what it spent, and the differences."""
    yield "| model | arm | accuracy | labels | tokens | to SFT at as many labels, points | at as many tokens |"
    yield "|---" * 7 + "|"
    for model, entry in summary["models"].items():
        task = next(iter(entry["tasks"].values()))
        of_curves = {*task.get("budget_curves", {}), *_list_points(task)}
        for arm, figures in task["arms"].items():
            beside = figures.get("vs_sft_at_budget") or {}
            if not figures["n"] or not (arm in of_curves or any(beside.values())):
                continue
            spent = figures["budget"]["spent"]
            cells = [format_amount(spent["labels"]), format_amount(spent["tokens"])]
            cells += [_beside(beside.get(axis)) for axis in ("labels", "tokens")]
            yield f"| `{model}` | {arm} | {percent(accuracy_of(figures))} | " + " | ".join(cells) + " |"


def _list_points(task: dict[str, Any]) -> set[str]:
    """The points of the task's budget curves, which are arms."""
    return {name for curve in task.get("budget_curves", {}).values() for name in curve["points"]}


def _points(difference: dict[str, Any]) -> str:
    return interval(difference["difference"], difference["ci"], 100, "+z.0f")


def _beside(difference: dict[str, Any] | None) -> str:
    """`-12 [-18, -6] (x 1.4 of demonstrations-64)`, or a dash."""
    if difference is None:
        return "–"
    return f"{_points(difference)} ({format_amount(difference['ratio'])} times {difference['arm']})"
