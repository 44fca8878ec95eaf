"""Markdown tables for the README from committed results.

python experiments/tables.py experiments/results/quickstart
python experiments/tables.py experiments/results/organisms --ceilings
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def percent(estimate: dict[str, Any] | None) -> str:
    """`82 % [78, 86]`, or a dash for what is not known."""
    if estimate is None or estimate.get("value") is None:
        return "–"
    low, high = (round(100 * bound) for bound in estimate["ci"])
    return f"{round(100 * estimate['value'])} % [{low}, {high}]"


def own(figures: dict[str, Any]) -> dict[str, Any]:
    return {"value": figures["accuracy"], "ci": figures["ci"]}


def comparison(summary: dict[str, Any]) -> Iterator[str]:
    """One row per model and arm."""
    yield "| model | arm | accuracy | gap recovered | difference to SFT, points | traces | tokens | n × seeds |"
    yield "|---|---|---|---|---|---|---|---|"
    for model, entry in summary["models"].items():
        for task in entry["tasks"].values():
            for arm, figures in task["arms"].items():
                gap = {"value": figures["gap_recovered"], "ci": figures["gap_ci"]}
                versus = figures["vs_sft"]
                difference = "–"
                if versus and versus["ci"]:
                    low, high = (round(100 * bound) for bound in versus["ci"])
                    difference = f"{100 * versus['difference']:+.0f} [{low:+d}, {high:+d}]"
                tokens = figures["tokens_per_problem"]
                yield (
                    f"| `{model}` | {arm} | {percent(own(figures))} | {percent(gap)} | {difference} | "
                    f"{100 * figures['trace_rate']['value']:.0f} % | {tokens['value']:.0f} | "
                    f"{figures['n']} × {figures['seeds']} |"
                )


def ceilings(summary: dict[str, Any]) -> Iterator[str]:
    """One row per model: its default, its ceilings, what one vector does."""
    arms = ["base", "cue_prompt", "forced_opening", "mean_steering", "mean_steering/random_vector", "sft"]
    yield "| organism | task | " + " | ".join(arms) + " | base pass@1 | base pass@32 |"
    yield "|---" * (len(arms) + 4) + "|"
    for model, entry in summary["models"].items():
        for name, task in entry["tasks"].items():
            found = [percent(own(task["arms"][arm])) if arm in task["arms"] else "–" for arm in arms]
            curve = task["arms"]["base"]["pass_at_k"] or {}
            found += [percent(curve.get(k)) for k in ("1", "32")]
            yield f"| `{model}` | {name} | " + " | ".join(found) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ceilings", action="store_true")
    options = parser.parse_args()
    summary = json.loads((options.folder / "summary.json").read_text())
    print("\n".join((ceilings if options.ceilings else comparison)(summary)))


if __name__ == "__main__":
    main()
