"""Cells of a spec: one idempotent piece of work per model, arm and seed. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elicit.comparison.spec.dependencies import check_needs
from elicit.comparison.spec.spec import Spec
from elicit.errors import unknown_name_error
from elicit.method import Method


@dataclass(frozen=True)
class Cell:
    """One model x arm x seed."""

    model: str
    arm: str
    seed: int
    needs: tuple[str, ...]
    fingerprint: str
    """Hash of everything that determines the fitted policy, so that a changed arm cannot reuse an old result."""

    @property
    def name(self) -> str:
        return f"{self.model}/{self.arm}/{self.seed}"

    def folder_in(self, run: Path) -> Path:
        return run / "cells" / self.model / Path(self.arm) / str(self.seed)


def list_cells(spec: Spec, arms: Sequence[str] | None = None) -> list[Cell]:
    """List all cells of a spec, or those of some arms and of the arms they need, in order of dependency.

    Raises:
        ElicitError: the spec does not have one of the arms.
    """
    every = spec.build_methods()
    selected_arms = set(every) if arms is None else _close_over_needs(arms, every)
    result = []
    for model in spec.models:
        model_spec = spec.for_model(model)
        methods = model_spec.build_methods()
        for arm in check_needs(methods):
            if arm in selected_arms:
                method = methods[arm]
                digest = compute_fingerprint(model_spec, model, arm, methods)
                result += [Cell(model, arm, seed, method.needs, digest) for seed in seeds_of(method, model_spec.seeds)]
    return result


def seeds_of(method: Method, seeds: int) -> range:
    """Seeds of an arm's cells; an arm whose method is not seeded has one cell."""
    return range(seeds if method.traits.seeded else 1)


def parent_seed(method: Method, seed: int) -> int:
    """The seed of a needed arm's cell: the same, or 0 if that arm has only one cell."""
    return seed if method.traits.seeded else 0


def _close_over_needs(arms: Sequence[str], methods: Mapping[str, Method]) -> set[str]:
    required: set[str] = set()
    pending = list(arms)
    while pending:
        arm = pending.pop()
        if arm not in methods:
            raise unknown_name_error("arm", arm, methods, where="--arms")
        if arm not in required:
            required.add(arm)
            pending += methods[arm].needs
    return required


def compute_fingerprint(spec: Spec, model: str, arm: str, methods: Mapping[str, Method]) -> str:
    """Hash of the model, the task, the arm's options and those of the arms it needs."""

    def describe_arm(name: str) -> list[Any]:
        return [name, spec.arms[name], [describe_arm(needed) for needed in methods[name].needs]]

    decisive = [spec.models[model], spec.task, spec.dtype, describe_arm(arm)]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
