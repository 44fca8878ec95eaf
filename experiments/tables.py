"""Markdown tables for the README from committed results.

python experiments/tables.py experiments/results/quickstart
python experiments/tables.py experiments/results/organisms --ceilings
python experiments/tables.py experiments/results/unlock --mechanisms
python experiments/tables.py experiments/results/generalization/data_arms --trajectories
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elicit.comparison.archive import SUMMARY, unpacked
from elicit.report.trajectories.text import named


def read(folder: Path) -> dict[str, Any]:
    """The summary of a committed result."""
    return unpacked(folder / SUMMARY)


def percent(estimate: dict[str, Any] | None) -> str:
    """`82 % [78, 86]`, or a dash for what is not known."""
    if estimate is None or estimate.get("value") is None:
        return "–"
    low, high = (round(100 * bound) for bound in estimate["ci"])
    return f"{round(100 * estimate['value'])} % [{low}, {high}]"


def own(figures: dict[str, Any]) -> dict[str, Any]:
    return {"value": figures["accuracy"], "ci": figures["ci"]}


def comparison(summary: dict[str, Any]) -> Iterator[str]:
    """One row per model and arm that has been run."""
    yield "| model | arm | accuracy | gap recovered | difference to SFT, points | traces | tokens | n × seeds |"
    yield "|---|---|---|---|---|---|---|---|"
    for model, entry in summary["models"].items():
        for task in entry["tasks"].values():
            for arm, figures in task["arms"].items():
                if not figures["n"]:
                    continue  # not run yet, in the archive of a run that goes on
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


def ceilings(summary: dict[str, Any], samples: dict[str, Any]) -> Iterator[str]:
    """One row per model: its default, its ceilings, what one vector does; and a second family under two conditions."""
    arms = ["base", "cue_prompt", "forced_opening", "mean_steering", "sft"]
    heads = ["organism", *(arm.replace("_", " ") for arm in arms), "base pass@1", "pass@64", "mod_chain: base", "cue"]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for model, entry in summary["models"].items():
        for name, task in entry["tasks"].items():
            found = [percent(own(task["arms"][arm])) for arm in arms]
            curve = samples["models"][model]["tasks"][name]["arms"]["base"]["pass_at_k"]
            found += [percent(curve[k]) for k in ("1", "64")]
            found += [percent(task["arms"][arm]["off_target"]["mod_chain"]) for arm in ("base", "cue_prompt")]
            yield f"| `{model}` | " + " | ".join(found) + " |"


def mechanisms(summary: dict[str, Any]) -> Iterator[str]:
    """One row per arm: its share of the gap on the first model, its accuracy on all, its price and its rival."""
    panels = {model: next(iter(entry["tasks"].values())) for model, entry in summary["models"].items()}
    first, *others = panels
    heads = ["arm", f"`{first}`: gap recovered", "tokens", "points to the base's vote at as many tokens"]
    heads += [f"`{model}`: accuracy" for model in others]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for arm, figures in panels[first]["arms"].items():
        rival = figures["rival"] and figures["rival"]["difference"]
        found = [
            interval(figures["gap_recovered"], figures["gap_ci"], 1, ".2f"),
            f"{figures['tokens_per_problem']['value']:.0f}",
            interval(rival["difference"], rival["ci"], 100, "+.0f") if rival else "–",
        ]
        found += [
            percent(own(p["arms"][arm])) if arm in p["arms"] else "" for model, p in panels.items() if model != first
        ]
        yield f"| {arm} | " + " | ".join(found) + " |"


def trajectories(summary: dict[str, Any]) -> Iterator[str]:
    """One row per model, arm and task: where a curve begins, turns and ends, and its shape."""
    yield "| model | arm | task | base | lowest | highest | end | end − base, points | shape | valid traces | tokens |"
    yield "|---" * 11 + "|"
    for model, entry in summary["models"].items():
        for task in entry["tasks"].values():
            for arm, figures in task["arms"].items():
                for label, one in ((figures["trajectory"] or {}).get("tasks") or {}).items():
                    yield (
                        f"| `{model}` | {arm} | {label} | "
                        + " | ".join(_curve(one, figures["trajectory"]["steps"]))
                        + " |"
                    )


def _curve(one: dict[str, Any], steps: list[int]) -> list[str]:
    values = [entry["value"] for entry in one["accuracy"]]
    low, high = (values.index(pick(values)) for pick in (min, max))
    shape, ended = one["curve"], one["curve"]["end_minus_start"]
    probability = "" if shape["shape"] == "flat" else f" ({shape['probabilities'].get(shape['shape'], 0):.2f})"
    ends = [(measure[0]["value"], measure[-1]["value"]) for measure in (one["valid_trace_rate"], one["tokens"])]
    return [
        f"{100 * values[0]:.0f} %",
        *(f"{100 * values[i]:.0f} % at {steps[i]}" for i in (low, high)),
        percent(one["accuracy"][-1]),
        interval(ended["difference"], ended["ci"], 100, "+.0f"),
        f"{named(shape['shape'])}{probability}" if shape["shape"] else "–",
        "–" if ends[0][0] is None else f"{100 * ends[0][0]:.0f} to {100 * ends[0][1]:.0f} %",
        f"{ends[1][0]:.0f} to {ends[1][1]:.0f}",
    ]


def interval(value: float | None, ci: list[float] | None, scale: float, form: str) -> str:
    """`0.99 [0.97, 1.00]`, or a dash for what is not known."""
    if value is None or ci is None:
        return "–"
    return f"{scale * value:{form}} [{scale * ci[0]:{form}}, {scale * ci[1]:{form}}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ceilings", action="store_true")
    parser.add_argument("--mechanisms", action="store_true")
    parser.add_argument("--trajectories", action="store_true")
    options = parser.parse_args()
    summary = read(options.folder)
    lines = comparison(summary)
    if options.ceilings:
        lines = ceilings(summary, read(options.folder.parent / "base_samples"))
    if options.mechanisms:
        lines = mechanisms(summary)
    if options.trajectories:
        lines = trajectories(summary)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
