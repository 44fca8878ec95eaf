"""`summary.json` as the report reads it: panels, arms in reading order, figures.

Every leaf of a summary may be null, and an arm may be missing: nothing here raises for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from elicit.errors import ElicitError
from elicit.report.data.families import CONTROLS, FAMILIES, Family, family_of
from elicit.report.data.recorded_edit import RecordedEdit, parse_edit
from elicit.schema import parent_of

Role = Literal["base", "ceiling", "reference", "arm", "control"]


class Figure(NamedTuple):
    """A number with its interval and n; any part may be unknown."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    bounded: bool = False
    """Whether there is an interval at all; one of its bounds may still be unknown (then it is infinite)."""


class Versus(NamedTuple):
    """A paired difference to another arm."""

    figure: Figure
    p: float | None
    p_holm: float | None
    test: str
    seeds: tuple[Any, ...]
    note: str


class Arm(NamedTuple):
    name: str
    data: Mapping[str, Any]
    role: Role
    trained: bool
    parent: str | None
    """The arm this is a control of, if that arm is there."""
    family: Family
    """The family of mechanism: a control has that of the arm it controls."""
    verifier: bool = False
    """Whether answering consults the task's verifier: no rival of the others, and marked everywhere."""

    @property
    def short(self) -> str:
        """A control's name below its parent: `/random_vector`."""
        return self.name if self.parent is None else self.name[len(self.parent) :]

    @property
    def status(self) -> str:
        return str(self.data.get("status") or "unknown")

    @property
    def seeds(self) -> int:
        return int(number(self.data.get("seeds")) or 0)

    @property
    def accuracy(self) -> Figure:
        return _figure(self.data.get("accuracy"), self.data.get("ci"), self.data.get("n"))

    @property
    def gap(self) -> Figure:
        return _figure(self.data.get("gap_recovered"), self.data.get("gap_ci"), self.data.get("n"))

    @property
    def edit(self) -> RecordedEdit | None:
        """The edit of an arm that makes exactly one."""
        edits = self.data.get("steering")
        return parse_edit(str(edits[0])) if isinstance(edits, list) and len(edits) == 1 else None

    def estimate(self, *keys: str) -> Figure:
        """The estimate `{"value", "n", "ci"}` at a path of keys."""
        return estimate(dig(self.data, *keys))

    @property
    def failures(self) -> list[tuple[str, str]]:
        """(which seed, what it said) of every cell that failed."""
        listed = self.data.get("failed_seeds")
        found = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
        unknown = "no reason was recorded"
        if not found and self.status == "failed":
            return [("", str(self.data.get("error") or unknown))]
        return [
            ("" if number(entry.get("seed")) is None else str(entry["seed"]), str(entry.get("error") or unknown))
            for entry in found
        ]

    def versus(self, *keys: str) -> Versus:
        """The paired difference at a path of keys: `vs_sft`, `vs_base`, `vs_parent`, `leak`, `rival`, "difference"."""
        found = dig(self.data, *keys)
        entry: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
        seeds = entry.get("seeds")
        return Versus(
            _figure(entry.get("difference"), entry.get("ci"), entry.get("n")),
            number(entry.get("p")),
            number(entry.get("p_holm")),
            str(entry.get("test") or ""),
            tuple(count for count in seeds if number(count) is not None) if isinstance(seeds, list) else (),
            str(entry.get("note") or ""),
        )


class Panel(NamedTuple):
    """One model on one task."""

    model: str
    task: str
    data: Mapping[str, Any]
    arms: tuple[Arm, ...]
    """In reading order: family by family, controls right after their parents."""
    capable: bool | None = None
    """Whether the model has the ability at all, where that is known."""

    @property
    def n(self) -> int:
        return int(number(self.data.get("n")) or 0)

    def role(self, role: Role) -> list[Arm]:
        return [arm for arm in self.arms if arm.role == role]

    @property
    def base(self) -> Arm | None:
        return next((arm for arm in self.arms if arm.role == "base" and arm.accuracy.value is not None), None)

    @property
    def sft(self) -> Arm | None:
        return next((arm for arm in self.arms if arm.role == "reference"), None)

    @property
    def ceilings(self) -> list[Mapping[str, Any]]:
        found = self.data.get("ceilings")
        return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []

    @property
    def top(self) -> Mapping[str, Any] | None:
        """The ceiling that gaps are measured to."""
        return next((c for c in self.ceilings if c.get("kind") not in (None, "base_pass@k")), None)


def panels(summary: Mapping[str, Any]) -> list[Panel]:
    """Models and tasks in the order of the summary."""
    found = []
    for model, entry in _items(summary.get("models")):
        for task, data in _items(dig(entry, "tasks")):
            if isinstance(data, Mapping):
                capable = dig(entry, "capable")
                found.append(Panel(model, task, data, _arms(data), capable if isinstance(capable, bool) else None))
    return found


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return ((str(key), entry) for key, entry in value.items()) if isinstance(value, Mapping) else ()


def _arms(data: Mapping[str, Any]) -> tuple[Arm, ...]:
    entries = {name: entry if isinstance(entry, Mapping) else {} for name, entry in _items(data.get("arms"))}
    listed = data.get("ceilings")
    ceilings = {
        entry.get("arm")
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, Mapping) and entry.get("kind") != "base_pass@k"
    }
    arms = {name: _arm(name, entry, entries, name in ceilings) for name, entry in entries.items()}
    below: dict[str | None, list[Arm]] = {}
    for arm in arms.values():
        below.setdefault(arm.parent, []).append(arm)
    ordered: list[Arm] = []

    def place(arm: Arm, family: Family) -> None:
        ordered.append(arm._replace(family=family))
        for control in below.get(arm.name, []):
            place(control, family)

    for family in FAMILIES.values():
        for arm in below.get(None, []):
            if arm.family.key == family.key:
                place(arm, family)
    return tuple(ordered)


def _arm(name: str, data: Mapping[str, Any], known: Mapping[str, Any], is_ceiling: bool) -> Arm:
    method = str(data.get("method"))
    trained, measures, verifier = _traits(method)
    trained = trained or bool(number(dig(data, "train", "tokens")))
    role: Role = "arm"
    if method == "base":
        role = "base"
    elif is_ceiling or measures:
        role = "ceiling"
    elif name == "sft":
        role = "reference"
    elif "/" in name or method in CONTROLS:
        role = "control"
    family = family_of(method, data, trained=trained, ceiling=role in ("base", "ceiling"))
    said = data.get("verifier")
    return Arm(name, data, role, trained, parent_of(name, known), family, said if isinstance(said, bool) else verifier)


def _traits(method: str) -> tuple[bool, bool, bool]:
    """(trained, measures a ceiling, consults the verifier) of a method; one that is not known here is none of these."""
    from elicit.methods.catalog import config_class

    try:
        found: Any = config_class(method)
    except ElicitError:
        return False, False, False
    return bool(found.traits.trained), found.traits.ceiling is not None, bool(found.traits.verifier)


def dig(data: Any, *keys: str) -> Any:
    """The value at a path of keys, None where the path ends early."""
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def estimate(data: Any) -> Figure:
    """A figure from `{"value", "n", "ci"}`, or from None."""
    return _figure(dig(data, "value"), dig(data, "ci"), dig(data, "n"))


def _figure(value: Any, ci: Any, n: Any) -> Figure:
    count = number(n)
    whole = None if count is None else int(count)
    if not isinstance(ci, list | tuple) or len(ci) != 2:
        return Figure(number(value), n=whole)
    return Figure(number(value), number(ci[0]), number(ci[1]), whole, number(value) is not None)
