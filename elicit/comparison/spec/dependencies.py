"""Dependencies between arms: needed arms come first, and a control has its parent's options. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elicit.errors import ElicitError, unknown_name_error
from elicit.method import Method
from elicit.methods.catalog import is_built_in, list_options, list_providers, load_config_class
from elicit.methods.grid_search import GridSearch
from elicit.methods.outside import RecordedMethod, find_method_reference
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
        parts = set(method.traits.fits_on)
        for needed in method.needs if parts else ():
            if not parts & set(methods[needed].traits.provides):
                raise ElicitError(
                    f"arm {arm!r} is fitted on arm {needed!r}, which has nothing of the kind that it changes. "
                    f"Name an arm of {' or '.join(list_providers(parts) or sorted(parts))}."
                )


def check_controls(methods: Mapping[str, Method]) -> None:
    """Check that controls with training of their own train as their parents do: a control changes one thing.

    Raises:
        ElicitError: names the first option that differs.
    """
    for arm, method in methods.items():
        parent = parent_of(arm, methods)
        kind = method.traits.control_of
        if parent is None or kind is None or not _is_of_kind(methods[parent], kind):
            continue
        options, parent_options = _describe_options(method), _describe_options(methods[parent])
        shared = options.keys() & parent_options.keys() - set(method.traits.varies)
        for name in sorted(shared):
            value, parent_value = options[name], parent_options[name]
            if value != parent_value:
                searched = name in _list_searched(methods[parent])
                typed = f"search: {{{name}: {list(parent_value)}}}" if searched else f"{name}: {parent_value}"
                raise ElicitError(
                    f"arm {arm!r} is a control of {parent!r}, but its {name} is {value}, its parent's "
                    f"{parent_value}. Type: {typed}"
                )


def check_control_parents(methods: Mapping[str, Method]) -> None:
    """Check that a control of one method that is named under an arm is named under an arm of that method.

    Raises:
        ElicitError: the arm above it does not exist, or is of another method.
    """
    for arm, method in methods.items():
        kind = method.traits.control_of
        if kind is None or "/" not in arm or isinstance(method, RecordedMethod):
            continue
        parent = parent_of(arm, methods)
        if parent is None:
            others = [name for name in methods if name != arm]
            raise unknown_name_error("arm", arm.rpartition("/")[0], others, where=f"arm {arm!r}: the arm it controls")
        if not isinstance(methods[parent], RecordedMethod) and not _is_of_kind(methods[parent], kind):
            suitable = [name for name, other in methods.items() if _is_of_kind(other, kind)]
            hint = f"Type: {suitable[0]}/{arm.rpartition('/')[2]}" if suitable else f"Add an arm of {kind}."
            raise ElicitError(f"arm {arm!r} is a control of {kind}, but {parent!r} is an arm of another method. {hint}")


def _is_of_kind(method: Method, kind: str) -> bool:
    """The method is the one that a control names: by the class's name, or by the method's."""
    if isinstance(method, RecordedMethod):
        return False  # checked when it was run
    method_class = type(method.candidates[0] if isinstance(method, GridSearch) else method)
    if kind == method_class.__name__:
        return True
    known = is_built_in(kind) or find_method_reference(kind) is not None
    return known and load_config_class(kind) is method_class


def _describe_options(method: Method) -> dict[str, Any]:
    """Option -> value; of a search, the values that are tried."""
    if isinstance(method, GridSearch):
        return {**_describe_options(method.candidates[0]), **method.searched}
    return {field.name: getattr(method, field.name) for field in list_options(type(method))}


def _list_searched(method: Method) -> tuple[str, ...]:
    return tuple(method.searched) if isinstance(method, GridSearch) else ()
