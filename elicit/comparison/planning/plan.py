"""Estimate the cost and the power of a comparison before it is run. Loads no weights and touches no network.

1. Every unfinished cell's method states what it generates, reads and trains on (`elicit.method.estimate_cost`), in
   lengths that are estimated from the task (`lengths`).
2. Tokens become seconds by a short measurement of this machine at the model's shapes (`speed`, `machine`), and by what
   cells of the same run took here. On GPUs that are not here they become an interval of hours (`gpu_plan`).
3. Memory is that of a worker's largest cell: libraries, weights, cache, activations, and what training adds.
4. `designs` has the smallest differences that are detected, and what smaller designs cost.

Both aim to be within a factor of two of the measured values. The length of a model's own reasoning can be further off;
the plan states the length it assumed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from elicit import statistics
from elicit.comparison.cell_state import count_test_problems, is_done, read_cell_status
from elicit.comparison.planning import memory
from elicit.comparison.planning.basis import ModelBasis, read_model_basis
from elicit.comparison.planning.machine import (
    LOAD,
    NOT_CORRECTED,
    START,
    TRL,
    Correction,
    compute_correction,
    estimate_cell_seconds,
)
from elicit.comparison.planning.memory import Basis
from elicit.comparison.spec import Spec
from elicit.comparison.spec import checkpoints as steps
from elicit.comparison.spec.cells import Cell, list_cells
from elicit.method import TokenLengths


class ModelPlan(NamedTuple):
    """Estimated cost of one model's cells."""

    label: str
    name: str
    parameters: int | None
    """None where its size is unknown."""
    basis: Basis | None
    """Source of its size."""
    lengths: TokenLengths
    seconds: float | None
    """Of its unfinished cells, one after the other; None where its size is unknown."""
    gib: float | None
    """Memory of a worker while it runs the largest cell."""
    characters: float | None
    """Characters taken for a token where no tokenizer is here; None where tokens were counted."""


@dataclass(frozen=True)
class Plan:
    """Estimated cost of a comparison."""

    cells: int
    finished: int
    """Cells that are already finished in the run directory."""
    test_problems: int
    samples: int
    """Completions at temperature 1, in addition to the answers."""
    generated_tokens: int
    """Expected number, including votes, branches, rejected tokens and generation while fitting."""
    limit_tokens: int
    """Tokens of answers and samples if every completion ran to its limit."""
    read_tokens: int
    """Prompt tokens."""
    trained_tokens: int
    models: tuple[ModelPlan, ...]
    workers: int
    seconds: float
    """Total over models of known size."""
    memory_gib: float
    """Memory of all workers together: the largest worker's times their number."""
    minimum_detectable_effect: float | None
    """Smallest difference to SFT found with 80 % power at this n, if 30 % of problems change."""
    checkpoints: int = 0
    """Checkpoints evaluated, over all cells; not counting the last step, which is the cell's own policy."""
    correction: Correction = NOT_CORRECTED
    """What finished cells took against their estimate; the seconds are multiplied by it."""
    bases: tuple[ModelBasis, ...] = ()
    """The models with unfinished cells."""
    pending: tuple[Cell, ...] = ()
    """Unfinished cells."""

    @property
    def unknown(self) -> list[str]:
        """Models of unknown size."""
        return [model.name for model in self.models if model.parameters is None]

    def at_limit(self) -> Plan:
        """The same cells, with lengths as if every completion ran to its limit."""
        return dataclasses.replace(self, bases=tuple(basis.at_limit() for basis in self.bases))


def estimate_plan(
    spec: Spec,
    run: Path | None,
    *,
    arms: Sequence[str] | None = None,
    limit: int | None = None,
    workers: int = 1,
    fresh: bool = True,
    again: Collection[str] = (),
) -> Plan:
    """Estimate the cost of a comparison.

    Args:
        workers: processes that share the machine.
        fresh: time the machine now, even if its speed is known from an earlier plan.
        again: names of finished cells that will be run again.

    Raises:
        ElicitError: a model does not exist, or files cannot be read.
    """
    todo = list_cells(spec, arms)
    finished = {cell.name for cell in todo if run is not None and is_done(cell, spec, run, limit)} - set(again)
    pending = [cell for cell in todo if cell.name not in finished]
    worker_count = max(1, min(workers, len(pending)))
    bases = {label: read_model_basis(label, spec) for label in dict.fromkeys(cell.model for cell in pending)}
    correction = NOT_CORRECTED
    if run is not None:
        done = [cell for cell in todo if cell.name in finished and cell.model in bases]
        correction = _compare_with_finished(done, bases, spec, run, limit, fresh)
    models, totals, samples, most = [], [0.0, 0.0, 0.0], 0, 0.0
    for label, basis in bases.items():
        model_cells = [cell for cell in pending if cell.model == label]
        model_plan, price, sample_count, bound = _plan_model(
            basis, model_cells, limit, worker_count, fresh, correction.factor
        )
        models.append(model_plan)
        samples += sample_count
        most += bound
        totals = [a + b for a, b in zip(totals, price, strict=True)]
    sized_models = [model for model in models if model.seconds is not None]
    start = START if pending else 0.0
    effect = statistics.minimum_detectable_effect(count_test_problems(spec, limit), 0.5, discordance=0.3)
    return Plan(
        len(todo),
        len(finished),
        count_test_problems(spec, limit),
        samples,
        round(totals[0]),
        round(most),
        round(totals[1]),
        round(totals[2]),
        tuple(models),
        worker_count,
        start + sum(model.seconds or 0.0 for model in sized_models) / worker_count,
        worker_count * max((model.gib or 0.0 for model in sized_models), default=0.0),
        effect,
        sum(len(steps.checkpoint_steps(spec.arms[cell.arm])) for cell in pending),
        correction,
        tuple(bases.values()),
        tuple(pending),
    )


def _plan_model(
    basis: ModelBasis, model_cells: Sequence[Cell], limit: int | None, workers: int, fresh: bool, factor: float
) -> tuple[ModelPlan, tuple[float, float, float], int, float]:
    """Plan one model's cells: (plan, (generated, prompt, trained) tokens, samples, most tokens)."""
    n, profile = count_test_problems(basis.spec, limit), basis.profile
    prices = {cell: basis.price(cell, n) for cell in model_cells}
    work = [item for price in prices.values() for item in price.work]
    gib, seconds = 0.0, 0.0
    if profile is not None:
        for cell, price in prices.items():
            cost = basis.estimate_cost(cell.arm)
            seconds += factor * estimate_cell_seconds(basis, price, cost, workers, fresh=fresh)
            gib = max(gib, memory.estimate_memory_gib(profile, cost, basis.lengths, n))
        seconds += LOAD * profile.weights / 2**30 * workers
        seconds += TRL * workers if any(item.trained for item in work) else 0.0
    model_plan = ModelPlan(
        basis.label,
        basis.source.name,
        None if profile is None else profile.values,
        None if profile is None else profile.basis,
        basis.lengths,
        None if profile is None else seconds,
        gib or None,
        basis.characters,
    )
    tokens = sum(p.generated for p in work), sum(p.prompted for p in work), sum(p.trained for p in work)
    return model_plan, tokens, sum(p.samples for p in prices.values()), sum(p.most for p in prices.values())


def _compare_with_finished(
    done: Sequence[Cell], bases: dict[str, ModelBasis], spec: Spec, run: Path, limit: int | None, fresh: bool
) -> Correction:
    """Compare what finished cells took with their estimates, for those that ran on this kind of device."""
    pairs = []
    for cell in done:
        basis, status = bases[cell.model], read_cell_status(cell, run)
        profile, recorded = basis.profile, status.get("model") or {}
        if profile is None or _kind_of_device(str(recorded.get("device"))) != _kind_of_device(profile.device):
            continue
        workers = max(1, profile.threads // max(1, int(recorded.get("threads") or 1)))
        price = basis.price(cell, count_test_problems(spec, limit))
        estimated = estimate_cell_seconds(basis, price, basis.estimate_cost(cell.arm), workers, fresh=fresh)
        pairs.append((float(status.get("seconds") or 0.0), estimated))
    return compute_correction(pairs)


def _kind_of_device(device: str) -> str:
    """`cpu`, or the GPU's name as torch gives it."""
    if not device.startswith("cuda"):
        return device
    import torch

    return str(torch.cuda.get_device_name(device))
