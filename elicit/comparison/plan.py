"""What a comparison will cost and what it can show, before anything is run. Loads no weights where a config will do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elicit import statistics
from elicit.comparison.cells import Cell, cells
from elicit.comparison.spec import Spec, build_task
from elicit.comparison.work import is_done, tested
from elicit.loading import catalog

#: Generated tokens per second and core at one million parameters, measured with experiments/benchmarks/sampling.py on a
#: 2-core machine; larger models scale with their size. An estimate: within a factor of a few.
_TOKENS_PER_SECOND_AT_1M = 20_000.0
_IMPORT_SECONDS = 8.0


@dataclass(frozen=True)
class Plan:
    """The cost of a comparison, estimated."""

    cells: int
    finished: int
    """Cells that the run directory has already."""
    test_problems: int
    samples: int
    """Completions at temperature 1 that are drawn beside the answers."""
    generated_tokens: int
    """Of answers and samples, if every completion runs to its limit and every vote is counted. What fitting generates
    and trains on, and what searches other than votes reject, is not in it: no config tells."""
    seconds: float
    memory_gib: float
    minimum_detectable_effect: float | None
    """Smallest difference to SFT found with 80 % power at this n, if 30 % of problems change."""


def plan(spec: Spec, run: Path | None, *, arms: Sequence[str] | None = None, limit: int | None = None) -> Plan:
    """Estimate a comparison."""
    n = tested(spec, limit)
    todo = cells(spec, arms)
    finished = [cell for cell in todo if run is not None and is_done(cell, spec, run, limit)]
    open_cells = [cell for cell in todo if cell not in finished]
    samples, tokens, seconds, largest = 0, 0, _IMPORT_SECONDS if open_cells else 0.0, 0
    for cell in open_cells:
        size = parameters(spec.models[cell.model])
        largest = max(largest, size)
        drawn, mine = _completions(cell, spec.of(cell.model), limit)
        samples += drawn
        tokens += mine
        seconds += mine / (_TOKENS_PER_SECOND_AT_1M / max(size / 1e6, 0.2))
    effect = statistics.minimum_detectable_effect(n, 0.5, discordance=0.3)
    return Plan(len(todo), len(finished), n, samples, tokens, seconds, 1.0 + 4 * largest * 4 / 2**30, effect)


def _completions(cell: Cell, spec: Spec, limit: int | None) -> tuple[int, int]:
    """Samples of a cell, and tokens that its answers and samples can have at most."""
    n = tested(spec, limit)
    target, *others = (
        build_task(description, where="task").max_new_tokens for description in (spec.task, *spec.off_target.values())
    )
    votes = int(dataclasses.asdict(spec.methods()[cell.arm]).get("n", 1))  # type: ignore[call-overload]
    samples = spec.samples.of(cell.arm) * spec.samples.among(n)
    return samples, n * votes * (target + sum(others)) + samples * target


def parameters(name: str) -> int:
    """Number of weights of a model, from its files' headers alone; 0 for a hub id that would have to be fetched."""
    source = catalog.resolve(name)
    if source.path is None:
        return 0
    if source.kind == "gguf":
        return source.path.stat().st_size * 2  # about four bits a weight
    return sum(_values(path) for path in source.path.glob("*.safetensors"))


def _values(path: Path) -> int:
    """Values in a safetensors file: its header is a length (8 bytes) and JSON."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    total = 0
    for name, entry in header.items():
        if name != "__metadata__":
            size = 1
            for dimension in entry["shape"]:
                size *= dimension
            total += size
    return total
