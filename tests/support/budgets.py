"""A run with budget curves whose cells are written by hand: what arms spent and answered can be added up on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elicit.comparison.cell_state import read_cell_status
from elicit.comparison.spec.cells import list_cells
from elicit.runs import write_json
from tests.support.rundirs import Told, make, right, wrong

PROBLEMS, PARAMETERS = 40, 1000
SPEC: dict[str, Any] = {
    "arms": {
        "base": {"method": "base"},
        "sft": {"method": "sft", "demonstrations": 16},
        "self_consistency": {"method": "self_consistency", "n": 16},
        "mean_steering": {"method": "mean_steering"},
        "mean_steering/random_vector": {"method": "random_vector", "parent": "mean_steering"},
        "grpo": {"method": "grpo", "steps": 16},
        "contrastive_decoding": {"method": "contrastive_decoding", "amateur": "incapable"},
    },
    "budgets": {"sft": {"demonstrations": [4, 64, 256]}, "self_consistency": {"n": [4]}, "grpo": {"steps": [4]}},
    "seeds": 1,
    "test": PROBLEMS,
}


def told(correct: int, tokens: int, **record: Any) -> Told:
    return Told([right(tokens)] * correct + [wrong(tokens=tokens)] * (PROBLEMS - correct), record=record)


def trained(labels: int, tokens: int, generated: int = 0) -> dict[str, int]:
    return {
        "labels": labels,
        "tokens": tokens,
        "flops": 6000 * tokens + 2000 * generated,
        "generated_tokens": generated,
    }


CELLS = {
    "cued/base/0": told(4, 5),
    "cued/sft/0": told(20, 20, train=trained(16, 5000)),
    "cued/sft/demonstrations-4/0": told(8, 20, train=trained(4, 1250)),
    "cued/sft/demonstrations-64/0": told(30, 20, train=trained(64, 20_000)),
    "cued/sft/demonstrations-256/0": told(36, 20, train=trained(256, 80_000)),
    "cued/self_consistency/0": told(6, 80),
    "cued/self_consistency/n-4/0": told(5, 20),
    "cued/mean_steering/0": told(28, 20, tuning={"generated_tokens": 6000, "labels": 64, "n": 64}),
    "cued/mean_steering/random_vector/0": told(5, 5),
    "cued/grpo/0": told(34, 20, train=trained(100, 60_000, 40_000)),
    "cued/grpo/steps-4/0": told(25, 20, train=trained(100, 15_000, 12_000)),
    "cued/contrastive_decoding/0": told(6, 30),
}


def make_budget_run(folder: Path, **cells: Told) -> Path:
    """The run on a model of `PARAMETERS` parameters; `cells`: arm -> what it left instead."""
    spec = make(folder, SPEC, {**CELLS, **{f"cued/{arm}/0": left for arm, left in cells.items()}})
    for cell in list_cells(spec):
        status = read_cell_status(cell, folder)
        write_json(cell.folder_in(folder) / "status.json", {**status, "model": {"parameters": PARAMETERS}})
    return folder
