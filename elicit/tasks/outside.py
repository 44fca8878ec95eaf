"""Tasks from outside: a class in a file, a class in a package, or an entry point of the group `elicit.tasks`.

The code is a `Task` (`TaskBase` is the short way to one) or a `ProblemFamily`: a class, whose constructor takes the
options, or an instance, which takes none.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple, get_type_hints

from pydantic import TypeAdapter, ValidationError

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.plugins import describe_failure, find_class_file, list_entry_points, load_reference, parse_reference
from elicit.tasks.core import Task
from elicit.tasks.families.family import ProblemFamily

GROUP = "elicit.tasks"
_TASK = tuple(name for name in vars(Task) if not name.startswith("_"))
_FAMILY = tuple(name for name in vars(ProblemFamily) if not name.startswith("_"))


class OutsideCode(NamedTuple):
    """Code that a task's name leads to."""

    value: Any
    """A class or an instance."""
    is_family: bool


def find_reference(name: str) -> str | None:
    """The reference that a task's name is or stands for; None for a name that is neither."""
    if parse_reference(name) is not None:
        return name
    return list_entry_points(GROUP).get(name)


def load_code(reference: str) -> OutsideCode:
    """The task or family of a reference. A class is not yet made.

    Raises:
        ElicitError: code that cannot be imported, or that is something else.
    """
    value = load_reference(reference)
    members = set(dir(value))
    missing = {
        what: [name for name in names if name not in members and _is_method(interface, name)]
        for what, interface, names in (("task", Task, _TASK), ("family", ProblemFamily, _FAMILY))
    }
    if not missing["family"] and missing["task"]:
        return OutsideCode(value, True)
    if missing["task"]:
        raise ElicitError(
            f"{reference} is not a task: it lacks {', '.join(missing['task'])}. "
            "Type: class MyTask(elicit.tasks.TaskBase) with problems() and verify()"
        )
    return OutsideCode(value, False)


def make_object(reference: str, code: OutsideCode, options: Mapping[str, Any]) -> Task | ProblemFamily:
    """The task or family with its options.

    Raises:
        ElicitError: options that it does not take, one that is missing, or what its constructor says of them.
    """
    title = f"task {reference.rpartition(':')[2]!r}"
    value = code.value
    if not isinstance(value, type):
        if options:
            raise ElicitError(f"{title} is an object and takes no options; leave out {', '.join(options)}.")
    else:
        check_options(title, value, options)
        options = _check_option_types(title, value, options)
        try:
            value = value(**options)
        except ElicitError as error:
            raise ElicitError(f"{title}: {error}") from None
        except Exception as error:
            raise ElicitError(f"{title} cannot be made: {type(error).__name__}: {one_line(error, 200)}") from error
    members = set(dir(value))
    for name in _FAMILY if code.is_family else _TASK:
        if name not in members:
            raise ElicitError(f"{title} ({reference}) has no {name}; see elicit.tasks.TaskBase.")
    result: Task | ProblemFamily = value
    if not code.is_family:
        _draw_one_problem(title, value)
    return result


def _draw_one_problem(title: str, task: Task) -> None:
    """Raises ElicitError, with the line, for a mistake in the code that gives a task's problems."""
    try:
        task.problems("test", 1)
    except ElicitError:  # a file that is absent, or too few: whoever needs the problems hears of it
        return
    except Exception as error:
        path = find_class_file(type(task))
        place = type(error).__name__ if path is None else f"{path}, {describe_failure(error, path)}"
        raise ElicitError(f"{title}: {place}") from error


def check_options(title: str, kind: type, options: Mapping[str, Any]) -> None:
    """Raises ElicitError for an option that the constructor does not take, or one that it needs."""
    parameters = inspect.signature(kind).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            raise unknown_name_error(f"option of {title}", option, parameters)
    for name, parameter in parameters.items():
        required = (
            parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.VAR_POSITIONAL
        )
        if required and name not in options:
            raise ElicitError(f"{title}: option {name} is missing.")


def _check_option_types(title: str, kind: type, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of a dataclass whose fields are of plain types as these; all others as they are.

    A field of another type may take several forms, which its class reads itself.

    Raises:
        ElicitError: an option of another type; names it, its value and the type.
    """
    try:
        types = get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
    except NameError:  # a type that stands only in annotations
        return options
    checked = dict(options)
    for option, value in options.items():
        if types.get(option) in (bool, int, float, str):
            try:
                checked[option] = TypeAdapter(types[option]).validate_python(value)
            except ValidationError:
                raise ElicitError(
                    f"{title}: {option} is {one_line(repr(value), 60)}; expected {types[option].__name__}."
                ) from None
    return checked


def _is_method(interface: type, name: str) -> bool:
    """Methods stand on the class; other members may be set by its constructor."""
    return inspect.isfunction(vars(interface)[name])
