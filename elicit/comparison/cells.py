"""From a spec to cells: one idempotent piece of work per model, arm and seed. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elicit.comparison import demand, steps
from elicit.comparison.needs import check_needs
from elicit.comparison.spec import Spec
from elicit.errors import ElicitError, unknown
from elicit.methods.core import Method


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


def check_amendment(old: Mapping[str, Any], new: Mapping[str, Any], run: Path) -> None:
    """More arms, models, off-target tasks, seeds, problems (tested, or at checkpoints) or samples amend a run.

    Anything else is another spec.

    Raises:
        ElicitError: showing the first difference.
    """

    def refuse(field: str, before: Any, after: Any) -> ElicitError:
        def show(value: Any) -> str:
            return json.dumps(value, ensure_ascii=False)[:120]

        return ElicitError(
            f"{run} holds a run of another spec: {field} was {show(before)}, now {show(after)}. "
            "Name another folder with --out, or go back to the old value (adding arms, tasks, seeds, samples is fine)."
        )

    for field in ("task", "dtype", "device", "kl_problems"):
        if old.get(field) != new.get(field):
            raise refuse(field, old.get(field), new.get(field))
    for field in ("models", "arms", "off_target"):
        for name, value in old.get(field, {}).items():
            if name not in new[field]:
                raise refuse(f"{field}.{name}", value, None)
            if new[field][name] != value:
                raise refuse(f"{field}.{name}", value, new[field][name])
    for model, before in old.get("panels", {}).items():
        _check_panel(before, new["panels"].get(model), f"panels.{model}", refuse)
    for field in ("seeds", "test"):
        if new[field] < old[field]:
            raise refuse(field, old[field], new[field])
    if demand.shrunk(old["samples"], new["samples"]):
        raise refuse("samples", old["samples"], new["samples"])
    if steps.shrunk(old.get("trajectory"), new.get("trajectory")):
        raise refuse("trajectory", old.get("trajectory"), new.get("trajectory"))


def _check_panel(
    old: Mapping[str, Any], new: Mapping[str, Any] | None, where: str, refuse: Callable[[str, Any, Any], ElicitError]
) -> None:
    """A model's own part of the spec may gain arms, seeds and test problems, and lose nothing."""
    if new is None or (old["task"], old["off_target"]) != (new["task"], new["off_target"]):
        raise refuse(where, old, new)
    if new["arms"] is not None and (old["arms"] is None or not set(old["arms"]) <= set(new["arms"])):
        raise refuse(f"{where}.arms", old["arms"], new["arms"])
    for field in ("seeds", "test"):
        if (old[field] is None) != (new[field] is None) or (old[field] or 0) > (new[field] or 0):
            raise refuse(f"{where}.{field}", old[field], new[field])
