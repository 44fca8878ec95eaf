"""Markdown tables from committed results. `python -m docs.builder --write` puts them into the pages under docs/results.

python experiments/tables.py experiments/results/quickstart
python experiments/tables.py experiments/results/organisms --table ceilings
python experiments/tables.py experiments/results/unlock --table mechanisms
python experiments/tables.py experiments/results/cot_decoding --table accuracy
python experiments/tables.py experiments/results/generalization/data_arms --table trajectories
python experiments/tables.py experiments/results/quickstart --table run
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from elicit.comparison.archive import CELLS, read_compressed_json
from elicit.comparison.run import open_run
from elicit.comparison.storage.typed_files import read_manifest
from elicit.report.trajectories.text import name_shape
from experiments.levels import list_level_rows
from experiments.rival_tables import control_rows, spending_rows
from experiments.skill import list_skill_rows
from experiments.table_cells import accuracy_of, interval, percent, read


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
                    f"| `{model}` | {arm} | {percent(accuracy_of(figures))} | {percent(gap)} | {difference} | "
                    f"{100 * figures['trace_rate']['value']:.0f} % | {tokens['value']:.0f} | "
                    f"{figures['n']} × {figures['seeds']} |"
                )


def ceilings(summary: dict[str, Any], samples: dict[str, Any]) -> Iterator[str]:
    """One row per model: its default, its ceilings, what one vector does; and a second family under two conditions.

    Args:
        samples: the summary of the run whose base was sampled for pass@k.
    """
    arms = ["base", "cue_prompt", "forced_opening", "mean_steering", "sft"]
    heads = ["organism", *(arm.replace("_", " ") for arm in arms), "base pass@1", "pass@64", "mod_chain: base", "cue"]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for model, entry in summary["models"].items():
        for name, task in entry["tasks"].items():
            cells = [percent(accuracy_of(task["arms"][arm])) for arm in arms]
            curve = samples["models"][model]["tasks"][name]["arms"]["base"]["pass_at_k"]
            cells += [percent(curve[k]) for k in ("1", "64")]
            cells += [percent(task["arms"][arm]["off_target"]["mod_chain"]) for arm in ("base", "cue_prompt")]
            yield f"| `{model}` | " + " | ".join(cells) + " |"


def mechanisms(summary: dict[str, Any]) -> Iterator[str]:
    """One row per arm: its share of the gap on the first model, its accuracy on all, its price and its rivals."""
    panels = {model: next(iter(entry["tasks"].values())) for model, entry in summary["models"].items()}
    first, *others = panels
    heads = ["arm", f"`{first}`: gap recovered", "tokens", "points to the base's vote at as many tokens"]
    heads += ["the fit's tokens included"]
    heads += [f"`{model}`: accuracy" for model in others]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for arm, figures in panels[first]["arms"].items():
        rivals = [figures[key] and figures[key]["difference"] for key in ("rival", "rival_total")]
        cells = [
            interval(figures["gap_recovered"], figures["gap_ci"], 1, "z.2f"),
            f"{figures['tokens_per_problem']['value']:.0f}",
            *(interval(rival["difference"], rival["ci"], 100, "+z.0f") if rival else "–" for rival in rivals),
        ]
        cells += [
            percent(accuracy_of(p["arms"][arm])) if arm in p["arms"] else ""
            for model, p in panels.items()
            if model != first
        ]
        yield f"| {arm} | " + " | ".join(cells) + " |"


def trajectories(summary: dict[str, Any]) -> Iterator[str]:
    """One row per model, arm and task: where a curve begins, turns and ends, and its shape."""
    yield "| model | arm | task | base | lowest | highest | end | end − base, points | shape | valid traces | tokens |"
    yield "|---" * 11 + "|"
    for model, entry in summary["models"].items():
        for task in entry["tasks"].values():
            for arm, figures in task["arms"].items():
                for label, curve in ((figures["trajectory"] or {}).get("tasks") or {}).items():
                    cells = _curve_cells(curve, figures["trajectory"]["steps"])
                    yield f"| `{model}` | {arm} | {label} | " + " | ".join(cells) + " |"


def _curve_cells(curve: dict[str, Any], steps: list[int]) -> list[str]:
    values = [entry["value"] for entry in curve["accuracy"]]
    low, high = (values.index(pick(values)) for pick in (min, max))
    shape, ended = curve["curve"], curve["curve"]["end_minus_start"]
    probability = "" if shape["shape"] == "flat" else f" ({shape['probabilities'].get(shape['shape'], 0):.2f})"
    ends = [(measure[0]["value"], measure[-1]["value"]) for measure in (curve["valid_trace_rate"], curve["tokens"])]
    return [
        f"{100 * values[0]:.0f} %",
        *(f"{100 * values[i]:.0f} % at {steps[i]}" for i in (low, high)),
        percent(curve["accuracy"][-1]),
        interval(ended["difference"], ended["ci"], 100, "+z.0f"),
        f"{name_shape(shape['shape'])}{probability}" if shape["shape"] else "–",
        "–" if ends[0][0] is None else f"{100 * ends[0][0]:.0f} to {100 * ends[0][1]:.0f} %",
        f"{ends[1][0]:.0f} to {ends[1][1]:.0f}",
    ]


def accuracies(summary: dict[str, Any]) -> Iterator[str]:
    """For each task a table: one row per arm, one column per model: accuracy on it."""
    tasks: dict[str, dict[str, dict[str, Any]]] = {}
    for model, entry in summary["models"].items():
        for label, task in entry["tasks"].items():
            tasks.setdefault(label, {})[model] = task["arms"]
    for i, (label, scores) in enumerate(tasks.items()):
        if i:
            yield ""
        yield f"| {'arm' if len(tasks) == 1 else label} | " + " | ".join(f"`{model}`" for model in scores) + " |"
        yield "|---" * (len(scores) + 1) + "|"
        for arm in dict.fromkeys(arm for arms in scores.values() for arm in arms):
            figures = (arms.get(arm) for arms in scores.values())
            cells = (percent(accuracy_of(found)) if found and found["n"] else "" for found in figures)
            yield f"| {arm} | " + " | ".join(cells) + " |"


def steps(summary: dict[str, Any]) -> Iterator[str]:
    """One row per model and arm: right answers, worked answers, and those whose every step is valid."""
    yield "| model | arm | right answers | worked | every step valid | n × seeds |"
    yield "|---|---|---|---|---|---|"
    for model, entry in summary["models"].items():
        for task in entry["tasks"].values():
            for arm, figures in task["arms"].items():
                cells = [
                    percent(accuracy_of(figures)),
                    *(percent(figures[f"{k}_rate"]) for k in ("trace", "valid_trace")),
                ]
                if figures["n"]:
                    yield f"| `{model}` | {arm} | {' | '.join(cells)} | {figures['n']} × {figures['seeds']} |"


def critics(folder: Path) -> Iterator[str]:
    """One row per model and critique arm: how often its verdict on a candidate is right, before and after training."""
    yield "| model | arm | base: verdicts right | on right candidates | on wrong ones | trained | always wrong | n |"
    yield "|---" * 8 + "|"
    for cell, entry in read_compressed_json(folder / CELLS).items():
        model, *arm_parts, seed = cell.split("/")
        arm = "/".join(arm_parts) + (f" (seed {seed})" if seed != "0" else "")
        said = (entry["status"].get("record") or {}).get("critique") or {}
        if "held_out_before" not in said or said["held_out"] is None:
            continue
        before, after = said["held_out_before"], said["held_out"]
        cells = [percent(before[name]) for name in ("verdicts", "verdicts_on_right", "verdicts_on_wrong")]
        cells += [percent(after["verdicts"]), percent(after["always_wrong"])]
        yield f"| `{model}` | {arm} | {' | '.join(cells)} | {before['verdicts']['n']} |"


def searches(folder: Path) -> Iterator[str]:
    """One row per model and arm with a `search`: what was tried, in its order, and the accuracy of each on select."""
    yield "| model | arm | tried | right on select, % | best | n |"
    yield "|---|---|---|---|---|---|"
    for cell, entry in read_compressed_json(folder / CELLS).items():
        model, *arm_parts, _ = cell.split("/")
        search = (entry["status"].get("record") or {}).get("search")
        if search is None:
            continue

        def write(values: dict[str, Any], names: Iterable[str] = search["chosen"]) -> str:
            return ", ".join(
                f"{name} {values[name]:g}" if _is_number(values[name]) else str(values[name]) for name in names
            )

        cells = [
            "; ".join(write(tried) for tried in search["tried"]),
            "; ".join(f"{100 * tried['accuracy']:.0f}" for tried in search["tried"]),
            write(search["chosen"]),
        ]
        yield f"| `{model}` | {'/'.join(arm_parts)} | {' | '.join(cells)} | {search['chosen_on']['n']} |"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def run_facts(folder: Path) -> Iterator[str]:
    """The command, seeds, machine, versions and commit of a run, and the hashes of its models' weights."""
    manifest = read_manifest(folder)
    seeds, machine, packages = manifest["seeds"], manifest["machine"], manifest["packages"]
    name = folder.as_posix().partition("experiments/")[2]
    yield f"- Command: `{' '.join(manifest['command'])}`; `elicit verify experiments/{name}` recomputes every figure."
    commit = manifest["git"]["sha"][:7]
    yield f"- Seeds: {', '.join(map(str, seeds))}. Started {manifest['start']} at commit `{commit}`."
    yield (
        f"- Machine: {machine['cores']} cores ({machine['cpu']}); Python {manifest['python']}, "
        f"torch {packages['torch']}, transformers {packages['transformers']}, trl {packages['trl']}."
    )
    models = (
        f"`{label}` {model['weights_sha256'][:12]} ({model['dtype']})" for label, model in manifest["models"].items()
    )
    yield f"- Models (sha256 of the weights): {', '.join(models)}."


def spec_question(folder: Path) -> Iterator[str]:
    """The comment that the spec of a run opens with, up to the commands: what is asked."""
    spec = Path(read_manifest(folder)["command"][2])
    for line in (Path(__file__).parents[1] / spec).read_text(encoding="utf-8").splitlines():
        if not line.startswith("# ") or line.startswith("#  "):
            return
        yield line.removeprefix("# ")


def table_lines(folder: Path, table: str) -> Iterator[str]:
    """The lines of one table of a committed result."""
    if table == "question":
        return spec_question(folder)
    if table == "run":
        return run_facts(folder)
    if table == "critics":
        return critics(folder)
    if table == "skill":
        with open_run(folder) as run:
            return iter(list(list_skill_rows(run)))
    if table == "searches":
        return searches(folder)
    if table == "levels":
        with open_run(folder) as run:
            return iter(list(list_level_rows(run)))
    if table == "ceilings":
        return ceilings(read(folder), read(folder.parent / "base_samples"))
    return SUMMARY_TABLES[table](read(folder))


#: Tables that are made from a summary alone.
SUMMARY_TABLES: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "comparison": comparison,
    "mechanisms": mechanisms,
    "trajectories": trajectories,
    "accuracy": accuracies,
    "steps": steps,
    "controls": control_rows,
    "spending": spending_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--table",
        choices=[*SUMMARY_TABLES, "ceilings", "critics", "levels", "run", "searches", "skill", "question"],
        default="comparison",
    )
    options = parser.parse_args()
    print("\n".join(table_lines(options.folder, options.table)))


if __name__ == "__main__":
    main()
