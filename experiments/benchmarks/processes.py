"""Trainings in several processes beside those of one: how far losses and weights part.

    python experiments/benchmarks/processes.py cued serial --processes 2 --out runs/processes

Each model is trained in four ways (full weights and LoRA, by SFT and by GRPO) in two runs of one spec. Prints a row for
each: steps, the largest difference between losses of the same step, the largest difference between trained values, the
largest change that training made to one, and the number of rows that are not equal. For comparison, `sft` is trained
once more by one process, with the rows of each batch in reverse: another rounding of the same arithmetic.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from elicit.comparison.reader import read_run_spec
from elicit.comparison.running.engine import run_cells
from elicit.comparison.spec import build_model_task, check_spec
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.methods.catalog import configure_method
from elicit.model import load
from elicit.training import supervised

SFT: dict[str, Any] = {"method": "sft", "demonstrations": 60, "epochs": 3, "batch_size": 8}
GRPO: dict[str, Any] = {"method": "grpo", "steps": 8, "problems": 6, "generations": 8, "pilot_problems": 64}
ARMS = {
    "base": {"method": "base"},
    "sft": SFT,
    "sft-lora": {**SFT, "lora_rank": 8},
    "grpo": GRPO,
    "grpo-lora": {**GRPO, "lora_rank": 8},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--max-new-tokens", type=int, help="of an answer; for a model of few positions")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    length = {} if options.max_new_tokens is None else {"max_new_tokens": options.max_new_tokens}
    task = {"task": "addition", **length}
    fields = {"models": options.models, "task": task, "arms": ARMS, "test": 100, "kl_problems": 0}
    runs = [options.out / "one", options.out / "several"]
    for run, processes in zip(runs, (1, options.processes), strict=True):
        run_cells(check_spec({**fields, "processes": processes}, where="spec"), run, workers=1)
    spec, _ = read_run_spec(runs[0])
    print(f"{'model':<12} {'arm':<10} steps  loss     weights  change   rows")
    for cell in list_cells(spec):
        if cell.arm != "base":
            print(compare_cells(cell, spec.models[cell.model], *runs))
        if cell.arm == "sft":
            print(compare_orders(cell, spec.models[cell.model], task))


def compare_cells(cell: Cell, model: str, one: Path, several: Path) -> str:
    """One row of the table."""
    folders = [cell.folder_in(run) for run in (one, several)]
    curves = [json.loads((folder / "status.json").read_text())["record"]["curve"] for folder in folders]
    if not curves[0]:
        return f"{cell.model:<12} {cell.arm:<10} nothing to train on"
    weights = [load_file(next((folder / "policy").glob("*.safetensors"))) for folder in folders]
    start = {name: value.detach() for name, value in load(model, dtype="float32").hf.named_parameters()}
    loss = max(abs(a["loss"] - b["loss"]) for a, b in zip(*curves, strict=True))
    apart = max(float((value - weights[1][name]).abs().max()) for name, value in weights[0].items())
    values = {n: v - start.get(n, torch.zeros(())) for n, v in weights[0].items() if n in start or "lora_B" in n}
    change = max(float(value.abs().max()) for value in values.values())
    lines = [(folder / "rows" / "addition.jsonl").read_text().splitlines() for folder in folders]
    different = sum(a != b for a, b in zip(*lines, strict=True))
    head = f"{cell.model:<12} {cell.arm:<10} {len(curves[0]):<6}"
    return f"{head} {loss:.1e}  {apart:.1e}  {change:.1e}  {different} of {len(lines[0])}"


def compare_orders(cell: Cell, name: str, description: Mapping[str, Any]) -> str:
    """The row of one process that takes each batch in reverse, beside one that does not."""
    model = load(name, dtype="float32")
    task = build_model_task(model, description, where="task")
    method = configure_method("sft", {key: value for key, value in SFT.items() if key != "method"})
    plan, policies = supervised.plan_batches, []
    for order in (1, -1):
        supervised.plan_batches = lambda *given, order=order: [batch[::order] for batch in plan(*given)]
        policies.append(method.fit(model, task, seed=cell.seed, needs={}))
    supervised.plan_batches = plan
    one, reverse = policies
    loss = max(abs(a["loss"] - b["loss"]) for a, b in zip(one.record["curve"], reverse.record["curve"], strict=True))
    apart = max(float((value - reverse.weights.tensors[key]).abs().max()) for key, value in one.weights.tensors.items())
    return f"{cell.model:<12} {'(reverse)':<10} {len(one.record['curve']):<6} {loss:.1e}  {apart:.1e}"


if __name__ == "__main__":
    main()
