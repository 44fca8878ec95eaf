"""Budget curves in a spec: values of an option, each of which makes an arm of its own. Imports no torch.

budgets:
  sft: {demonstrations: [4, 64, 256]}
  self_consistency: {n: [4, 64]}

1. Each value is a point: an arm with the options of the arm it is listed under and this one changed, right behind that
   arm and called `sft/demonstrations-64`. It keeps no checkpoints: what is measured is the end of its budget.
2. Where a panel names the arm, its points are in the panel too.
3. A run's own spec.yaml has the field and its points among the arms; they are expanded to themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elicit.comparison.spec.model_overrides import ModelOverrides
from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.method import Method
from elicit.methods.catalog import list_options
from elicit.methods.grid_search import SEARCH, GridSearch
from elicit.methods.outside import RecordedMethod
from elicit.schema import parent_of

#: Arm -> option -> values.
Budgets = Mapping[str, Mapping[str, Sequence[Any]]]

#: Most values of one option.
_MOST = 64
_EXAMPLE = "sft: {demonstrations: [4, 64, 256]}"


def check_budgets_form(value: Any, where: str) -> None:
    """Raise ElicitError unless `value` is arm -> option -> a list of different numbers."""
    if not isinstance(value, Mapping):
        raise ElicitError(f"{where}: budgets is {one_line(repr(value), 60)}; expected arms, such as {_EXAMPLE}")
    for arm, options in value.items():
        if not isinstance(options, Mapping) or not options:
            raise ElicitError(
                f"{where}: budgets: {one_line(arm, 60)}: {one_line(repr(options), 60)}; expected options with the "
                f"values to measure, such as {_EXAMPLE}"
            )
        for option, values in options.items():
            place = f"{where}: budgets: {one_line(arm, 60)}: {one_line(option, 60)}"
            if not isinstance(values, list) or not 1 <= len(values) <= _MOST:
                raise ElicitError(
                    f"{place} is {one_line(repr(values), 60)}; expected a list of 1 to {_MOST} numbers, such as "
                    f"{_EXAMPLE}"
                )
            for i, number in enumerate(values):
                if isinstance(number, bool) or not isinstance(number, int | float):
                    raise ElicitError(f"{place}: {one_line(repr(number), 60)} is not a number, and a budget is one.")
                if number in values[:i]:
                    raise ElicitError(f"{place}: {number} comes twice.")


def list_points(budgets: Budgets) -> dict[str, tuple[str, ...]]:
    """Arm -> the names of its points, in the order of the spec."""
    return {
        arm: tuple(_name_point(arm, option, value) for option, values in options.items() for value in values)
        for arm, options in budgets.items()
    }


def remove_points(budgets: Budgets, arms: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """The budgets without some arms, which may be points or have them."""
    remaining: dict[str, dict[str, list[Any]]] = {}
    for arm, options in budgets.items():
        for option, values in options.items() if arm not in arms else ():
            if kept := [value for value in values if _name_point(arm, option, value) not in arms]:
                remaining.setdefault(arm, {})[option] = kept
    return remaining


def expand_budgets(
    budgets: Budgets,
    arms: Mapping[str, dict[str, Any]],
    panels: Mapping[str, ModelOverrides],
    methods: Mapping[str, Method],
) -> dict[str, Any]:
    """The arms and panels of a spec, with the points of its budgets.

    Args:
        methods: the checked config of every arm.

    Raises:
        ElicitError: names the arm, the option and the value that cannot be a point.
    """
    points: dict[str, dict[str, dict[str, Any]]] = {}
    for arm, options in budgets.items():
        if arm not in arms:
            raise unknown_name_error("arm", arm, arms, where="budgets")
        _check_arm(arm, arms, methods[arm], list_points(budgets))
        points[arm] = {}
        for option, values in options.items():
            for value in values:
                name = _name_point(arm, option, value)
                point = {**{key: kept for key, kept in arms[arm].items() if key != "checkpoints"}, option: value}
                if name not in arms:
                    _check_point(arm, option, value, methods[arm])
                elif arms[name] != point:
                    raise ElicitError(
                        f"budgets: {arm}: {option}: {value} makes an arm {name!r}, and arms has one of that name with "
                        "other options. Give that arm another name."
                    )
                points[arm][name] = point
    expanded: dict[str, dict[str, Any]] = {}
    for arm, options in arms.items():
        if arm not in expanded:
            expanded |= {arm: options, **points.get(arm, {})}
    return {"arms": expanded, "panels": {model: _extend_panel(panel, points) for model, panel in panels.items()}}


def _extend_panel(panel: ModelOverrides, points: Mapping[str, Mapping[str, Any]]) -> ModelOverrides:
    if panel.arms is None:
        return panel
    named = dict.fromkeys(name for arm in panel.arms for name in (arm, *points.get(arm, ())))
    return panel.model_copy(update={"arms": list(named)})


def _name_point(arm: str, option: str, value: float) -> str:
    return f"{arm}/{option}-{value}"


def _check_arm(arm: str, arms: Mapping[str, Any], method: Method, points: Mapping[str, tuple[str, ...]]) -> None:
    """Raise ElicitError for an arm of which other budgets make no sense: a control, or itself a point."""
    parent = parent_of(arm, arms)
    if parent is not None or method.traits.is_control or method.traits.control_of is not None:
        what = f"a point of {parent!r}" if parent and arm in points.get(parent, ()) else "a control"
        raise ElicitError(f"budgets: arm {arm!r} is {what}. Name an arm that stands by itself.")


def _check_point(arm: str, option: str, value: float, method: Method) -> None:
    """Raise ElicitError for an option that the method does not have, or a value that is the arm's own."""
    if isinstance(method, RecordedMethod):
        return
    if isinstance(method, GridSearch):
        if option in method.searched:
            raise ElicitError(f"budgets: {arm}: {option} is searched by that arm ({SEARCH}). Leave one of them out.")
        method = method.candidates[0]
    names = [field.name for field in list_options(type(method))]
    if option not in names:
        raise unknown_name_error("option", option, names, where=f"budgets: {arm}")
    if getattr(method, option) == value:
        raise ElicitError(f"budgets: {arm}: {option}: {value} is the value of {arm!r} itself. Leave it out.")
