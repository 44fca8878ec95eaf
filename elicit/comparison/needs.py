"""In which order arms can be fitted: what an arm needs comes before it. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from elicit.errors import ElicitError, unknown
from elicit.methods.core import Method


def check_needs(methods: Mapping[str, Method]) -> list[str]:
    """Arm names in an order in which every arm comes after those it needs.

    Raises:
        ElicitError: an arm that needs an arm that is not there, or itself through others.
    """
    ordered: list[str] = []
    state: dict[str, int] = {}

    def visit(arm: str, trail: tuple[str, ...]) -> None:
        if state.get(arm) == 2:
            return
        if state.get(arm) == 1:
            raise ElicitError(f"arms need each other in a circle: {' -> '.join((*trail, arm))}.")
        state[arm] = 1
        for needed in methods[arm].needs:
            if needed not in methods:
                raise unknown("arm", needed, methods, where=f"arm {arm!r} needs another arm")
            visit(needed, (*trail, arm))
        state[arm] = 2
        ordered.append(arm)

    for arm in methods:
        visit(arm, ())
    return ordered
