"""`summary.json` as the report reads it: panels, arms in reading order, figures, and how figures are written.

Every leaf of a summary may be null, and an arm may be missing: nothing here raises for that, and what is not known is
an en dash, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from elicit.errors import ElicitError
from elicit.schema import parent_of

DASH = "–"
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

    def estimate(self, *keys: str) -> Figure:
        """The estimate `{"value", "n", "ci"}` at a path of keys."""
        return estimate(dig(self.data, *keys))

    def versus(self, key: Literal["vs_sft", "vs_base", "vs_parent"]) -> Versus:
        found = dig(self.data, key)
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
    """In reading order: controls right after their parents."""

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
                found.append(Panel(model, task, data, _arms(data)))
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
    arms = [_arm(name, entry, entries, name in ceilings) for name, entry in entries.items()]
    below: dict[str | None, list[Arm]] = {}
    for arm in arms:
        below.setdefault(arm.parent, []).append(arm)
    ordered: list[Arm] = []

    def place(arm: Arm) -> None:
        ordered.append(arm)
        for control in below.get(arm.name, []):
            place(control)

    for arm in below.get(None, []):
        place(arm)
    return tuple(ordered)


def _arm(name: str, data: Mapping[str, Any], known: Mapping[str, Any], is_ceiling: bool) -> Arm:
    trained, measures = _traits(str(data.get("method")))
    role: Role = "arm"
    if data.get("method") == "base":
        role = "base"
    elif is_ceiling or measures:
        role = "ceiling"
    elif name == "sft":
        role = "reference"
    elif "/" in name:
        role = "control"
    return Arm(name, data, role, trained or data.get("train") is not None, parent_of(name, known))


def _traits(method: str) -> tuple[bool, bool]:
    """(trained, measures a ceiling) of a method; a method that is not known here is neither."""
    from elicit.methods.catalog import config_class

    try:
        found: Any = config_class(method)
    except ElicitError:
        return False, False
    return bool(found.traits.trained), found.traits.ceiling is not None


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


def percent(value: float | None, places: int = 1, *, signed: bool = False, minus: str = "−") -> str:
    """A share in percent (or a difference in points) without its unit."""
    return plain(None if value is None else 100 * value, places, signed=signed, minus=minus)


def plain(value: float | None, places: int = 1, *, signed: bool = False, minus: str = "−") -> str:
    """A number, an en dash for None; -0.0 is written 0.0."""
    if value is None:
        return DASH
    rounded = round(value, places)
    sign = minus if rounded < 0 else "+" if signed and rounded > 0 else ""
    return f"{sign}{abs(rounded):,.{places}f}"


def interval(figure: Figure, places: int = 1, *, scale: float = 100, signed: bool = False, minus: str = "−") -> str:
    """`[low, high]` in percent; empty without an interval. A bound that is not known is infinite."""
    if not figure.bounded:
        return ""
    low = f"({minus}∞" if figure.low is None else "[" + plain(scale * figure.low, places, signed=signed, minus=minus)
    high = "∞)" if figure.high is None else plain(scale * figure.high, places, signed=signed, minus=minus) + "]"
    return f"{low}, {high}"


def p_value(p: float | None) -> str:
    if p is None:
        return DASH
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def ceiling_name(ceiling: Mapping[str, Any]) -> str:
    """`cue prompt`, `base pass@16`."""
    kind = str(ceiling.get("kind") or "unnamed")
    if kind == "base_pass@k":
        return f"base pass@{ceiling.get('k') or 'k'}"
    return "cue prompt" if kind == "cue" else kind.replace("_", " ")


def ceilings_line(panel: Panel, places: int = 1, *, minus: str = "−") -> str:
    """What could be reached, and what guessing reaches, with intervals of `places` decimals."""
    parts = []
    for ceiling in panel.ceilings:
        figure = estimate(ceiling)
        known = f"{percent(figure.value, minus=minus)} % {interval(figure, places, minus=minus)}".strip()
        parts.append(f"{ceiling_name(ceiling)} {known}")
    guesses = panel.data.get("guesser")
    if isinstance(guesses, Mapping) and guesses:
        k = max(guesses, key=int)
        parts.append(f"uniform guesser pass@{k} {percent(number(guesses[k]), minus=minus)} %")
    return "ceilings: " + (" · ".join(parts) or "none measured")
