"""The checked state of the panel's controls: one frozen `Setting`, read from whatever the page sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.steering import MODES, Mode, parse


@dataclass(frozen=True)
class Setting:
    """One state of the controls."""

    sae: int
    """Which of the panel's SAEs, by its number in the list."""
    feature: int
    strength: float
    """In the mode's own unit (see `edits.feature_edit`)."""
    mode: Mode = "add"
    positions: str = "first"
    seed: int = 0
    temperature: float = 0.0
    prompt: str | None = None
    """A prompt typed into the panel. None: the prompts or problems the panel was made with."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown_name_error("steering mode", self.mode, MODES)
        parse(self.positions)
        if self.prompt == "":
            raise ElicitError("panel: the prompt is empty. Type one, or go back to the given prompts.")
        if any("\ud800" <= character <= "\udfff" for character in self.prompt or ""):
            raise ElicitError("panel: the prompt holds half a surrogate pair, which is not a character. Type it anew.")
        if self.temperature < 0:
            raise ElicitError(f"panel: temperature is {self.temperature:g}; expected 0 (greedy) or more.")


_NAMES = tuple(field.name for field in dataclasses.fields(Setting))


def apply_changes(setting: Setting, changes: Mapping[str, Any], *, saes: Sequence[str]) -> Setting:
    """`setting` with some fields changed.

    Args:
        changes: field -> value, in JSON's types. `sae` may be the name of an SAE.

    Raises:
        ElicitError: an unknown field, or a value that cannot be used.
    """
    fields: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in _NAMES:
            raise unknown_name_error("panel field", name, _NAMES)
        if name == "sae":
            fields[name] = _resolve_sae_number(value, saes)
        elif name in ("feature", "seed"):
            fields[name] = _check_whole_number(name, value)
        elif name in ("strength", "temperature"):
            fields[name] = _check_number(name, value)
        else:
            if not isinstance(value, str) and not (name == "prompt" and value is None):
                raise ElicitError(f"panel: {name} is {one_line(repr(value), 60)}; expected text.")
            fields[name] = value
    return dataclasses.replace(setting, **fields)


#: Beyond this, products with units are no numbers any more. NaN is not below it.
_HUGE = 1e100


def _check_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _HUGE:
        raise ElicitError(f"panel: {name} is {one_line(repr(value), 60)}; expected a number.")
    return float(value)


def _check_whole_number(name: str, value: object) -> int:
    number = _check_number(name, value)
    if number != int(number) or number < 0:
        raise ElicitError(f"panel: {name} is {number:g}; expected a whole number from 0.")
    return int(number)


def _resolve_sae_number(value: object, saes: Sequence[str]) -> int:
    if isinstance(value, str):
        if value not in saes:
            raise unknown_name_error("SAE of this panel", value, saes)
        return list(saes).index(value)
    number = _check_whole_number("sae", value)
    if number >= len(saes):
        raise ElicitError(f"panel: unknown SAE {number}; this panel has {len(saes)}.")
    return number
