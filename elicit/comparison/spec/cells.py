"""From a spec to cells: one idempotent piece of work per model, arm and seed. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elicit.comparison.spec.dependencies import check_needs
from elicit.comparison.spec.spec import Spec
from elicit.errors import unknown
from elicit.method import Method


@dataclass(frozen=True)
class Cell:
    """One model x arm x seed."""

    model: str
    arm: str
    seed: int
    needs: tuple[str, ...]
    fingerprint: str
    """Hash of everything that decides the fitted policy, so that a changed arm cannot hide behind an old result."""

    @property
    def name(self) -> str:
        return f"{self.model}/{self.arm}/{self.seed}"

    def folder(self, run: Path) -> Path:
        return run / "cells" / self.model / Path(self.arm) / str(self.seed)


def cells(spec: Spec, arms: Sequence[str] | None = None) -> list[Cell]:
    """All cells of a spec, or those of some arms and of what these need, in an order that respects needs.

    Raises:
        ElicitError: an arm that the spec does not have.
    """
    every = spec.methods()
    wanted = set(every) if arms is None else _closure(arms, every)
    found = []
    for model in spec.models:
        mine = spec.of(model)
        methods = mine.methods()
        for arm in check_needs(methods):
            if arm in wanted:
                method = methods[arm]
                mark = fingerprint(mine, model, arm, methods)
                found += [Cell(model, arm, seed, method.needs, mark) for seed in seeds_of(method, mine.seeds)]
    return found


def seeds_of(method: Method, seeds: int) -> range:
    """A method that is not seeded has one cell."""
    return range(seeds if method.traits.seeded else 1)


def parent_seed(method: Method, seed: int) -> int:
    """The seed of a needed arm's cell: the same, or 0 where that arm has only one."""
    return seed if method.traits.seeded else 0


def _closure(arms: Sequence[str], methods: Mapping[str, Method]) -> set[str]:
    wanted: set[str] = set()
    pending = list(arms)
    while pending:
        arm = pending.pop()
        if arm not in methods:
            raise unknown("arm", arm, methods, where="--arms")
        if arm not in wanted:
            wanted.add(arm)
            pending += methods[arm].needs
    return wanted


def fingerprint(spec: Spec, model: str, arm: str, methods: Mapping[str, Method]) -> str:
    """Hash of the model, the task, the arm's options and those of the arms it needs."""

    def chain(name: str) -> list[Any]:
        return [name, spec.arms[name], [chain(needed) for needed in methods[name].needs]]

    decisive = [spec.models[model], spec.task, spec.dtype, chain(arm)]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
