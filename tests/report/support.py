"""Summaries and run directories made by hand: no model, no torch, every figure known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from elicit import runs
from elicit.comparison.cell_state import goal_of, load_test_problems
from elicit.comparison.spec import Spec, build_task, check_spec
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.comparison.summary.summarise import write_summary
from elicit.format_versions import CURRENT_VERSIONS
from elicit.loading import catalog
from elicit.schema import Row
from elicit.tasks import Problem

ARMS: dict[str, Any] = {
    "base": {"method": "base"},
    "cue_prompt": {"method": "cue_prompt"},
    "sft": {"method": "sft", "demonstrations": 16},
    "mean_steering": {"method": "mean_steering"},
    "self_consistency": {"method": "self_consistency", "n": 4},
    "mean_steering/all_positions": {"method": "same_vector", "parent": "mean_steering"},
    "mean_steering/random_vector": {"method": "random_vector", "parent": "mean_steering"},
}
EDIT = "add mean(cue)@2 at layer 2, {}: 1 residual norms (absolute 9.5)"
DOSES = [
    {"layer": layer, "strength": s, "absolute": 9.5 * s, "accuracy": layer * s / 4, "ci": [0.0, 1.0], "n": 8}
    | {"trace_rate": 0.5}
    for layer in (1, 2)
    for s in (0.5, 1.0)
]
RECORDS: dict[str, dict[str, Any]] = {
    "sft": {"train": {"flops": 1.5e9, "tokens": 500, "labels": 16}},
    "cue_prompt": {"ceiling": "cue"},
    "mean_steering": {
        "steering": [EDIT.format("first")],
        "dose_response": DOSES,
        "chosen": DOSES[3],
        "chosen_on": {"split": "select", "n": 8, "by": "accuracy"},
    },
    "mean_steering/all_positions": {"steering": [EDIT.format("all")]},
}
#: How many of 10 problems an arm solves.
SOLVES = {"cue_prompt": 9, "sft": 6, "mean_steering": 9, "self_consistency": 1}

Says = Callable[[Cell, Problem, int], str]


def says(cell: Cell, problem: Problem, index: int) -> str:
    return f"#{problem.answer}" if index % 10 < SOLVES.get(cell.arm, 0) else "#0"


def make_run(
    run: Path,
    *,
    test: int = 40,
    completion: Says = says,
    limit: int | None = None,
    failed: str | None = None,
    records: dict[str, dict[str, Any]] = RECORDS,
    **changes: Any,
) -> Spec:
    """A finished run directory with its summary, on the real test problems of addition."""
    given = {"models": ["cued"], "task": "addition", "off_target": ["mod_chain"], "arms": ARMS, "seeds": 3}
    spec = check_spec({**given, "test": test, "samples": 2, **changes}, where="test")
    runs.write_text(run / "spec.yaml", _yaml({**spec.to_dict(), "limit": limit}))
    begun = {"command": ["elicit", "run", "x.yaml"], "start": "2026-01-02T03:04:05Z"}
    runs.write_json(run / "manifest.json", {"format_version": CURRENT_VERSIONS["run"], **begun})
    card = catalog.read_card(catalog.WEIGHTS / "cued")
    assert card is not None
    for cell in list_cells(spec):
        folder = cell.folder_in(run)
        if cell.arm == failed:
            runs.write_json(folder / "status.json", {"state": "failed", "error": "boom <b>", "goal": {}})
            continue
        for label, description in {spec.task_label: spec.task, **spec.off_target}.items():
            task = build_task(description, card["dialect"], where=label)
            rows = []
            for i, problem in enumerate(load_test_problems(task, spec, limit)):
                text = completion(cell, problem, i)
                samples = spec.samples.count_for_arm(cell.arm) if label == spec.task_label else 0
                rows += [_row(cell, label, task, problem, sample, text) for sample in range(1 + samples)]
            runs.append_lines(folder / "rows" / f"{label}.jsonl", [row.to_json() for row in rows])
        runs.write_text(folder / "metrics.jsonl", '{"kl": null, "neutral_perplexity": 1.25}\n')
        status = {
            "state": "done",
            "goal": goal_of(cell, spec, limit),
            "seconds": 1.5,
            "record": records.get(cell.arm, {}),
        }
        runs.write_json(folder / "status.json", status)
    write_summary(run)
    return spec


def _row(cell: Cell, label: str, task: Any, problem: Problem, sample: int, text: str) -> Row:
    asked = problem.cue_prompt if cell.arm == "cue_prompt" else problem.prompt
    mark = hashlib.sha256(str(asked).encode()).hexdigest()[:16]
    verdict = task.verify(problem, text)
    kind: Any = "sample" if sample else "answer" if label == "addition" else "off_target"
    return Row(
        label, problem.id, sample, kind, mark, text, 5, True, *verdict, seed=cell.seed, firings=0, prompt_tokens=9
    )


def _yaml(data: Any) -> str:
    import yaml

    return str(yaml.safe_dump(data, sort_keys=False))


def estimate(value: float | None, ci: tuple[float | None, float | None] | None = None, n: int = 100) -> dict[str, Any]:
    return {"value": value, "n": n, "ci": None if ci is None else list(ci)}


def versus(difference: float, half: float = 0.04, p: float | None = None) -> dict[str, Any]:
    """A difference with an interval of `half` on each side; significant exactly if that leaves out 0."""
    found = (0.001 if abs(difference) > half else 0.8) if p is None else p
    return {
        "difference": difference,
        "ci": [difference - half, difference + half],
        "p": found,
        "p_holm": found,
        "test": "two-level t over seeds and problems",
        "n": 100,
        "seeds": [1, 3],
        "note": None,
    }


def arm(
    accuracy: float, *, base: float = 0.05, sft: float | None = 0.6, ceiling: float | None = 0.95, **changes: Any
) -> dict[str, Any]:
    """An arm's entry as `summarise` writes it; `ceiling=None` withholds the gap."""
    gap = None if ceiling is None else (accuracy - base) / (ceiling - base)
    entry = {
        "method": "mean_steering",
        "n": 100,
        "seeds": 1,
        "status": "done",
        "error": None,
        "accuracy": accuracy,
        "ci": [max(0.0, accuracy - 0.04), min(1.0, accuracy + 0.04)],
        "trace_rate": estimate(0.0, (0.0, 0.04)),
        "valid_trace_rate": None,
        "finished_rate": estimate(1.0, (0.96, 1.0)),
        "tokens_per_problem": estimate(5.0),
        "firings_per_problem": 0.0,
        "pass_at_k": None,
        "pass_at_k_valid_trace": None,
        "kl": None,
        "neutral_perplexity": None,
        "off_target": {},
        "train": None,
        "steering": None,
        "seconds": 1.0,
        "gap_recovered": gap,
        "gap_ci": None if gap is None else [gap - 0.05, gap + 0.05],
        "gap_ceiling": "cue",
        "gap_note": None
        if gap is not None
        else "cue - base = 0.000 does not exceed two standard errors (0.020, n=100)",
        "vs_sft": None if sft is None else versus(accuracy - sft),
        "vs_base": versus(accuracy - base),
    }
    return {**entry, **changes}


def summary(
    *, sft: float | None = 0.6, base: float = 0.05, ceiling: float | None = 0.95, limit: int | None = None, **arms: Any
) -> dict[str, Any]:
    """A summary of one model `m` with base, cue prompt, SFT (3 seeds) and the arms given (`__` stands for `/`).

    `ceiling=None` is a cue prompt that does no better than the base: gaps are withheld.
    """
    entries = {"base": arm(base, base=base, sft=sft, ceiling=ceiling, method="base", vs_base=None)}
    top = base if ceiling is None else ceiling
    no_gap = {"gap_recovered": None, "gap_ci": None, "gap_note": None, "gap_ceiling": None}
    entries["cue_prompt"] = arm(top, base=base, sft=sft, ceiling=ceiling, method="cue_prompt", **no_gap)
    if sft is not None:
        train = {"flops": 1e9, "tokens": 100, "labels": 16}
        entries["sft"] = arm(sft, base=base, ceiling=ceiling, method="sft", seeds=3, vs_sft=None, train=train)
    entries |= {name.replace("__", "/"): entry for name, entry in arms.items()}
    ceilings = [{"kind": "cue", "arm": "cue_prompt", **estimate(top, (top - 0.04, min(1, top + 0.04)))}]
    task = {"n": 100, "guesser": {"1": 0.005, "4": 0.02}, "ceilings": ceilings, "arms": entries}
    return {
        "format_version": CURRENT_VERSIONS["summary"],
        "limit": limit,
        "seeds": 3,
        "models": {"m": {"tasks": {"addition": task}}},
    }
