"""`elicit diff`: two runs or archives compared over the same problems."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments
from elicit.errors import one_line

if TYPE_CHECKING:
    from elicit.comparison.run_differences import RunDifference


@dataclass(frozen=True)
class DiffOptions:
    """Compare two runs: paired differences in accuracy with 95 % intervals, and what their specs differ in."""

    first: Positional[Path]
    """Run directory, or an archive of one."""
    second: Positional[Path]
    """Another one. Differences are the second run minus the first."""
    json: bool = False
    """Print the figures as JSON instead of a table."""


def main(arguments: Sequence[str]) -> int:
    """0, whatever differs: a difference is a result."""
    options = parse_arguments(DiffOptions, "diff", arguments)
    from elicit.comparison.run import open_run
    from elicit.comparison.run_differences import compare_runs

    with open_run(options.first) as first, open_run(options.second) as second:
        difference = compare_runs(first, second)
    if options.json:
        print(json.dumps(difference.to_json(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print("\n".join(format_difference(difference)))
    return 0


def format_difference(difference: RunDifference) -> list[str]:
    """The lines of the table and what stands below it."""
    header = ("model/arm", "task", "first", "second", "difference [95 %]", "p", "n", "seeds", "identical rows")
    table = [header]
    for arm in difference.arms:
        figures = arm.difference
        interval = "–" if figures.ci is None else "[{:+.3f}, {:+.3f}]".format(*figures.ci)
        table.append(
            (
                f"{arm.model}/{arm.arm}",
                arm.task,
                f"{arm.first:.3f}",
                f"{arm.second:.3f}",
                f"{figures.value:+.3f} {interval}",
                "–" if figures.p is None else f"{figures.p:.3g}",
                str(figures.n),
                str(len(arm.seeds)),
                f"{arm.identical_rows} of {max(arm.rows)}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]
    lines += [
        "",
        "difference: accuracy of the second run minus the first, paired over the n problems that both answered",
    ]
    lines += [
        f"note on {arm.model}/{arm.arm}, {arm.task}: {arm.difference.note}"
        for arm in difference.arms
        if arm.difference.note
    ]
    for title, names in (("first", difference.only_first), ("second", difference.only_second)):
        lines += [f"only in the {title} run: {', '.join(names)}"] if names else []
    if not difference.spec:
        return [*lines, "spec: the same"]
    return [*lines, "spec:", *(f"  {key}: {_to_text(a)} -> {_to_text(b)}" for key, (a, b) in difference.spec.items())]


def _to_text(value: Any) -> str:
    return one_line(json.dumps(value, ensure_ascii=False), 60)
