"""Dependencies between arms: needed arms come first, and a control has its parent's options. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from elicit.errors import ElicitError, unknown_name_error
from elicit.method import Method
from elicit.methods.catalog import load_config_class
from elicit.schema import parent_of


def check_needs(methods: Mapping[str, Method]) -> list[str]:
    """Sort arm names so that every arm comes after those it needs.

    Raises:
        ElicitError: an arm needs one that does not exist, or itself through others.
    """
    ordered: list[str] = []
    state: dict[str, int] = {}

    def visit_arm(arm: str, trail: tuple[str, ...]) -> None:
        if state.get(arm) == 2:
            return
        if state.get(arm) == 1:
            raise ElicitError(f"arms need each other in a circle: {' -> '.join((*trail, arm))}.")
        state[arm] = 1
        for needed in methods[arm].needs:
            if needed not in methods:
                raise unknown_name_error("arm", needed, methods, where=f"arm {arm!r} needs another arm")
            visit_arm(needed, (*trail, arm))
        state[arm] = 2
        ordered.append(arm)

    for arm in methods:
        visit_arm(arm, ())
    return ordered


def check_kinds(methods: Mapping[str, Method]) -> None:
    """Check that arms fitted on another arm name one of a suitable kind.

    Raises:
        ElicitError: names both arms, and the methods that would be suitable.
    """
    for arm, method in methods.items():
        kinds = tuple(load_config_class(name) for name in method.traits.fits_on)
        for needed in method.needs if kinds else ():
            if not isinstance(methods[needed], kinds):
                raise ElicitError(
                    f"arm {arm!r} is fitted on arm {needed!r}, which has nothing of the kind that it changes. "
                    f"Name an arm of {' or '.join(method.traits.fits_on)}."
                )


def check_controls(methods: Mapping[str, Method]) -> None:
    """Check that controls with training of their own train as their parents do: a control changes one thing.

    Raises:
        ElicitError: names the first option that differs.
    """
    for arm, method in methods.items():
        parent = parent_of(arm, methods)
        kind = method.traits.control_of
        if parent is None or kind is None or load_config_class(kind) is not type(methods[parent]):
            continue
        for field in dataclasses.fields(method):  # type: ignore[arg-type]
            value, parent_value = getattr(method, field.name), getattr(methods[parent], field.name)
            if value != parent_value:
                raise ElicitError(
                    f"arm {arm!r} is a control of {parent!r}, but its {field.name} is {value}, its parent's "
                    f"{parent_value}. "
                    f"Type: {field.name}: {parent_value}"
                )
