"""A run directory made by hand from a real task: real problems, prompts and verdicts, and no model.

Two seeds of a trained arm, an off-target task, samples at temperature 1, one cut completion, one failed cell.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from elicit import runs
from elicit.comparison.cell_state import goal_of, load_test_problems
from elicit.comparison.spec import Spec, build_task, check_spec
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.comparison.storage import prompts
from elicit.comparison.summary.summarise import write_summary
from elicit.format_versions import CURRENT_VERSIONS
from elicit.loading import catalog
from elicit.schema import Row
from elicit.tasks import Problem, Task

SPEC: dict[str, Any] = {
    "models": ["cued"],
    "task": "addition",
    "off_target": ["mod_chain"],
    "arms": {
        "base": {"method": "base"},
        "sft": {"method": "sft", "demonstrations": 8},
        "mean_steering": {"method": "mean_steering"},
        "grpo": {"method": "grpo"},
    },
    "seeds": 2,
    "test": 12,
    "samples": {"n": 3, "arms": ["sft"]},
}
CURVE = [{"step": i + 1, "loss": 1.0 / (i + 1), "grad_norm": 0.5, "learning_rate": 1e-3} for i in range(5)]
DOSES = [
    {"layer": 1, "strength": s, "absolute": 10 * s, "accuracy": 0.5, "ci": [0.2, 0.8], "n": 4, "features": [3, 7]}
    for s in (0.5, 1.0)
]
#: arm -> how often it is right: problem i is solved unless i is divisible by this (base: never).
_MISSES = {"base": 1, "sft": 3, "mean_steering": 5}


def make(run: Path) -> Path:
    """Write the run directory, with its summary."""
    spec = check_spec(SPEC)
    runs.write_text(run / "spec.yaml", yaml.safe_dump({**spec.to_dict(), "limit": None}, sort_keys=False))
    runs.write_json(
        run / "manifest.json",
        {
            "format_version": CURRENT_VERSIONS["run"],
            "spec_sha256": "0" * 64,
            "command": ["elicit", "run"],
            "git": {"sha": "f" * 40, "dirty": False},
            "packages": {"torch": "2.13.0", "trl": None},
            "models": {},
            "limit": None,
            "start": "2026-11-21T09:04:55Z",
            "end": "2026-11-21T09:14:55Z",
        },
    )
    for cell in list_cells(spec):
        if cell.arm == "grpo":
            failed = {"state": "failed", "error": "all clipped", "traceback": None}
            runs.write_json(cell.folder_in(run) / "status.json", failed)
        else:
            _write(cell, spec, run)
    write_summary(run)
    return run


def _write(cell: Cell, spec: Spec, run: Path) -> None:
    folder = cell.folder_in(run)
    asked: dict[str, tuple[str, str]] = {}
    for label, description in {"addition": spec.task, **spec.off_target}.items():
        task = build_task(description, catalog.read_dialect("cued"), where=label)
        rows = []
        for i, problem in enumerate(load_test_problems(task, spec, None)):
            shown = problem.prompt if cell.arm != "sft" else f"[shown]{problem.prompt}"
            asked[prompts.hash_prompt(shown)] = (shown, "")
            right = bool((i + cell.seed) % _MISSES[cell.arm])
            rows.append(_row(task, problem, label, cell.seed, 0, shown, right, finished=i != 5))
            n = 3 if cell.arm == "sft" and label == "addition" else 0
            rows += [_row(task, problem, label, cell.seed, j, shown, (i + j) % 2 == 0) for j in range(1, n + 1)]
        runs.append_lines(folder / "rows" / f"{label}.jsonl", [row.to_json() for row in rows])
    prompts.write_prompt_file(folder, asked)
    runs.append_lines(folder / "metrics.jsonl", [{"kl": None, "neutral_perplexity": None}])
    records: dict[str, Any] = {
        "sft": {"curve": CURVE, "train": {"flops": 5, "tokens": 9, "labels": 8}},
        "mean_steering": {"dose_response": DOSES},
    }
    facts = {"weights_sha256": "a" * 64, "tokenizer_sha256": "b" * 64, "dtype": "float32", "device": "cpu"}
    runs.write_json(
        folder / "status.json",
        {
            "state": "done",
            "goal": goal_of(cell, spec, None),
            "seconds": 2.5,
            "fit_seconds": 1.5,
            "record": records.get(cell.arm, {}),
            "policy_sha256": hashlib.sha256(cell.name.encode()).hexdigest(),
            "model": {**facts, "dialect": catalog.read_dialect("cued")},
        },
    )


def _row(
    task: Task, problem: Problem, label: str, seed: int, sample: int, shown: str, right: bool, *, finished: bool = True
) -> Row:
    completion = (task.worked(problem) or "") if right else "no idea"
    verdict = task.verify(problem, completion)
    assert verdict.correct == right
    return Row(
        task=label,
        problem=problem.id,
        sample=sample,
        kind="sample" if sample else ("answer" if label == "addition" else "off_target"),
        prompt_hash=prompts.hash_prompt(shown),
        completion=completion,
        tokens=7 + sample,
        finished=finished,
        answer=verdict.answer,
        correct=verdict.correct,
        has_trace=verdict.has_trace,
        trace_valid=verdict.trace_valid,
        seed=seed,
        firings=1,
        prompt_tokens=11,
        notes={"acceptance": 0.25} if label == "addition" else {},
    )
