"""`summary.json` as the report reads it: panels, arms in reading order, figures.

Every leaf of a summary may be null, and an arm may be missing: nothing here raises for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from elicit.method import Traits
from elicit.methods.catalog import get_built_in_traits
from elicit.methods.outside import parse_traits
from elicit.report.data.families import FAMILIES, MechanismFamily, classify_arm
from elicit.report.data.recorded_edit import RecordedEdit, parse_edit
from elicit.schema import parent_of

Role = Literal["base", "ceiling", "floor", "reference", "arm", "control", "point"]
"""A point is the arm above it at another budget: another value of one option."""


class OptionalEstimate(NamedTuple):
    """A number with its interval and n; any part may be unknown."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    bounded: bool = False
    """There is an interval; one of its bounds may still be unknown (then it is infinite)."""


class PairedDifference(NamedTuple):
    """A paired difference to another arm."""

    estimate: OptionalEstimate
    p: float | None
    p_holm: float | None
    holm_tests: int | None
    """Tests that Holm's correction is over."""
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
    family: MechanismFamily
    """The family of mechanism: a control has that of the arm it controls."""
    verifier: bool = False
    """Answering consults the task's verifier: excluded from comparisons between arms, and marked everywhere."""
    traits: Traits = Traits()
    """Traits of the method."""

    @property
    def short_name(self) -> str:
        """A control's name below its parent: `/random_vector`."""
        return self.name if self.parent is None else self.name[len(self.parent) :]

    @property
    def status(self) -> str:
        return str(self.data.get("status") or "unknown")

    @property
    def seeds(self) -> int:
        return int(read_finite_number(self.data.get("seeds")) or 0)

    @property
    def accuracy(self) -> OptionalEstimate:
        return _build_estimate(self.data.get("accuracy"), self.data.get("ci"), self.data.get("n"))

    @property
    def gap(self) -> OptionalEstimate:
        return _build_estimate(self.data.get("gap_recovered"), self.data.get("gap_ci"), self.data.get("n"))

    @property
    def edit(self) -> RecordedEdit | None:
        """The edit of an arm that makes exactly one."""
        edits = self.data.get("steering")
        return parse_edit(str(edits[0])) if isinstance(edits, list) and len(edits) == 1 else None

    def read_estimate(self, *keys: str) -> OptionalEstimate:
        """The estimate `{"value", "n", "ci"}` at a path of keys."""
        return parse_estimate(get_nested(self.data, *keys))

    @property
    def failures(self) -> list[tuple[str, str]]:
        """(which seed, what it said) of every cell that failed."""
        listed = self.data.get("failed_seeds")
        entries = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
        unknown = "no reason was recorded"
        if not entries and self.status == "failed":
            return [("", str(self.data.get("error") or unknown))]
        return [
            (
                "" if read_finite_number(entry.get("seed")) is None else str(entry["seed"]),
                str(entry.get("error") or unknown),
            )
            for entry in entries
        ]

    def read_difference(self, *keys: str) -> PairedDifference:
        """The paired difference at a path of keys: `vs_sft`, `vs_base`, `vs_parent`, `leak`, `rival`, "difference"."""
        value = get_nested(self.data, *keys)
        entry: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        seeds = entry.get("seeds")
        return PairedDifference(
            _build_estimate(entry.get("difference"), entry.get("ci"), entry.get("n")),
            read_finite_number(entry.get("p")),
            read_finite_number(entry.get("p_holm")),
            None if (tests := read_finite_number(entry.get("holm_tests"))) is None else round(tests),
            str(entry.get("test") or ""),
            tuple(count for count in seeds if read_finite_number(count) is not None) if isinstance(seeds, list) else (),
            str(entry.get("note") or ""),
        )


class ModelPanel(NamedTuple):
    """One model on one task."""

    model: str
    task: str
    data: Mapping[str, Any]
    arms: tuple[Arm, ...]
    """In reading order: family by family, controls right after their parents."""
    capable: bool | None = None
    """The model has the ability; None where that is not known."""

    @property
    def n(self) -> int:
        return int(read_finite_number(self.data.get("n")) or 0)

    @property
    def sees_traces(self) -> bool:
        """The task can see worked steps: the summary has a rate of them, if only 0."""
        return any(arm.read_estimate("trace_rate").value is not None for arm in self.arms)

    @property
    def checks_traces(self) -> bool:
        """The task can check worked steps."""
        return any(arm.read_estimate("valid_trace_rate").value is not None for arm in self.arms)

    def arms_with_role(self, role: Role) -> list[Arm]:
        return [arm for arm in self.arms if arm.role == role]

    @property
    def base(self) -> Arm | None:
        return next((arm for arm in self.arms if arm.role == "base" and arm.accuracy.value is not None), None)

    @property
    def sft(self) -> Arm | None:
        return next((arm for arm in self.arms if arm.role == "reference"), None)

    @property
    def floors(self) -> list[Arm]:
        """What costs next to nothing, which a mechanism must beat; the best prompt may be a ceiling besides."""
        return [arm for arm in self.arms if arm.traits.floor]

    @property
    def ceilings(self) -> list[Mapping[str, Any]]:
        value = self.data.get("ceilings")
        return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []

    @property
    def main_ceiling(self) -> Mapping[str, Any] | None:
        """The ceiling that gaps are measured to."""
        return next((c for c in self.ceilings if c.get("kind") not in (None, "base_pass@k")), None)


def read_panels(summary: Mapping[str, Any]) -> list[ModelPanel]:
    """Models and tasks in the order of the summary."""
    model_panels = []
    for model, entry in _iterate_items(summary.get("models")):
        for task, data in _iterate_items(get_nested(entry, "tasks")):
            if isinstance(data, Mapping):
                capable = get_nested(entry, "capable")
                model_panels.append(
                    ModelPanel(model, task, data, _order_arms(data), capable if isinstance(capable, bool) else None)
                )
    return model_panels


def _iterate_items(value: Any) -> Iterable[tuple[str, Any]]:
    return ((str(key), entry) for key, entry in value.items()) if isinstance(value, Mapping) else ()


def _order_arms(data: Mapping[str, Any]) -> tuple[Arm, ...]:
    entries = {name: entry if isinstance(entry, Mapping) else {} for name, entry in _iterate_items(data.get("arms"))}
    ceiling_entries = data.get("ceilings")
    ceilings = {
        entry.get("arm")
        for entry in (ceiling_entries if isinstance(ceiling_entries, list) else [])
        if isinstance(entry, Mapping) and entry.get("kind") != "base_pass@k"
    }
    points = [name for _, curve in _iterate_items(data.get("budget_curves")) for name in _list_point_names(curve)]
    named: dict[Any, Role] = {str(data.get("reference", "sft")): "reference"}
    named.update(dict.fromkeys(points, "point"))
    named.update(dict.fromkeys(ceilings, "ceiling"))
    arms = {name: _build_arm(name, entry, entries, named.get(name)) for name, entry in entries.items()}
    controls_of: dict[str | None, list[Arm]] = {}
    for arm in arms.values():
        controls_of.setdefault(arm.parent, []).append(arm)
    ordered: list[Arm] = []

    def append_with_controls(arm: Arm, family: MechanismFamily) -> None:
        ordered.append(arm._replace(family=family))
        for control in controls_of.get(arm.name, []):
            append_with_controls(control, family)

    for family in FAMILIES.values():
        for arm in controls_of.get(None, []):
            if arm.family.key == family.key:
                append_with_controls(arm, family)
    return tuple(ordered)


def _list_point_names(curve: Any) -> list[str]:
    names = get_nested(curve, "points")
    return [str(name) for name in names] if isinstance(names, list) else []


def _build_arm(name: str, data: Mapping[str, Any], arm_entries: Mapping[str, Any], named_role: Role | None) -> Arm:
    """An arm; `named_role` is the one that the figures of its task give it."""
    traits = _read_traits(data)
    trained = traits.trained or bool(read_finite_number(get_nested(data, "train", "tokens")))
    role: Role = "arm"
    if traits.untouched:
        role = "base"
    elif named_role == "ceiling" or (traits.ceiling is not None and not traits.floor):
        role = "ceiling"
    elif traits.floor:
        role = "floor"
    elif named_role is not None:
        role = named_role
    elif "/" in name or traits.is_control:
        role = "control"
    family = classify_arm(traits, data, trained=trained, ceiling=role in ("base", "ceiling", "floor"))
    verifier = data.get("verifier")
    return Arm(
        name,
        data,
        role,
        trained,
        parent_of(name, arm_entries),
        family,
        verifier if isinstance(verifier, bool) else traits.verifier,
        traits,
    )


def _read_traits(data: Mapping[str, Any]) -> Traits:
    """The traits of an arm's method: as its summary has them, else those that the built-in method of its name has."""
    if isinstance(data.get("traits"), Mapping):
        return parse_traits(data["traits"])
    return get_built_in_traits(str(data.get("method"))) or Traits()


def get_nested(data: Any, *keys: str) -> Any:
    """The value at a path of keys, None where the path ends early."""
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def read_finite_number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def parse_estimate(data: Any) -> OptionalEstimate:
    """A figure from `{"value", "n", "ci"}`, or from None."""
    return _build_estimate(get_nested(data, "value"), get_nested(data, "ci"), get_nested(data, "n"))


def _build_estimate(value: Any, ci: Any, n: Any) -> OptionalEstimate:
    count = read_finite_number(n)
    sample_size = None if count is None else int(count)
    if not isinstance(ci, list | tuple) or len(ci) != 2:
        return OptionalEstimate(read_finite_number(value), n=sample_size)
    return OptionalEstimate(
        read_finite_number(value),
        read_finite_number(ci[0]),
        read_finite_number(ci[1]),
        sample_size,
        read_finite_number(value) is not None,
    )
