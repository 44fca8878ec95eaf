"""Methods from outside this package: found, checked, and, where their code is gone, read from what a run recorded."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import TypeAdapter, ValidationError

from elicit.errors import ElicitError
from elicit.method import FamilyKey, Method, Traits
from elicit.plugins import list_entry_points, load_reference, parse_reference

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task

#: Entry points of installed packages: name -> module:Class.
GROUP = "elicit.methods"


@dataclass(frozen=True)
class RecordedMethod(Method):
    """A method from outside as a run recorded it, without its code: all that reports and checks need.

    Fitting it raises ElicitError.
    """

    method: str
    """As the spec names it."""
    needed_arms: tuple[str, ...] = ()
    package: str | None = None
    """The distribution that it came from, such as `my-package 1.2`; None for a file."""

    @property
    def needs(self) -> tuple[str, ...]:
        return self.needed_arms

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        raise ElicitError(f"method {self.method}: its code is not here. {self._suggest_source()}")

    def _suggest_source(self) -> str:
        return "Bring its file back." if self.package is None else f"Install {self.package}."

    def to_record(self) -> dict[str, Any]:
        """As plain data, for a run's manifest."""
        return {"traits": dump_traits(self.traits), "needs": list(self.needed_arms), "package": self.package}


def record_method(name: str, method: Method) -> RecordedMethod:
    """The record of a configured method."""
    recorded = RecordedMethod(name, method.needs, _find_distribution(type(method).__module__))
    recorded.change_traits(**dataclasses.asdict(method.traits))
    return recorded


def read_recorded_method(name: str, record: Mapping[str, Any]) -> RecordedMethod:
    """The method of a manifest's record."""
    recorded = RecordedMethod(name, tuple(record.get("needs") or ()), record.get("package"))
    recorded.change_traits(**dataclasses.asdict(parse_traits(record.get("traits"))))
    return recorded


def dump_traits(traits: Traits) -> dict[str, Any]:
    """Traits as plain data, without those that are at their default."""
    default = Traits()
    plain = {name: value for name, value in dataclasses.asdict(traits).items() if value != getattr(default, name)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def parse_traits(data: object) -> Traits:
    """Traits from plain data, as far as they are understood: what is unknown or damaged is at its default."""
    plain = data if isinstance(data, Mapping) else {}
    known = {field.name: plain[field.name] for field in dataclasses.fields(Traits) if field.name in plain}
    try:
        return TypeAdapter(Traits).validate_python(known)
    except ValidationError as error:
        damaged = {str(problem["loc"][0]) for problem in error.errors()}
        return TypeAdapter(Traits).validate_python({name: known[name] for name in known.keys() - damaged})


def find_method_reference(name: str) -> str | None:
    """The reference to code behind a method's name: itself, or that of an entry point; None for an unknown name."""
    return name if parse_reference(name) is not None else list_entry_points(GROUP).get(name)


def shorten_reference(name: str) -> str:
    """A method's name as results show it: of a file its name alone, wherever it lies."""
    reference = parse_reference(name)
    return f"{Path(reference.module).name}:{reference.name}" if reference is not None and reference.is_file else name


def load_method_class(reference: str) -> type[Method]:
    """The class behind a reference.

    Raises:
        MissingCodeError: its file or module is not here.
        ElicitError: code that cannot be imported, or a class that is not a method's config.
    """
    value = load_reference(reference)
    if not isinstance(value, type) or not issubclass(value, Method):
        raise ElicitError(f"{reference}: expected a subclass of elicit.method.Method.")
    method_class: type[Method] = value
    parameters = vars(method_class).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise ElicitError(f"{reference}: put @dataclass(frozen=True) above the class: its fields are the options.")
    if method_class.__abstractmethods__:
        raise ElicitError(f"{reference}: the class has no {' and '.join(sorted(method_class.__abstractmethods__))}.")
    if method_class.traits.family not in (None, *get_args(FamilyKey)):
        raise ElicitError(
            f"{reference}: family is {method_class.traits.family!r}; expected one of {', '.join(get_args(FamilyKey))}."
        )
    return method_class


def reference_object(value: Any) -> str:
    """`module:Name` of a class or a function.

    Raises:
        ElicitError: one that cannot be imported by that name: of a script, a notebook or inside a function.
    """
    module, name = value.__module__, value.__qualname__
    try:
        same = module != "__main__" and load_reference(f"{module}:{name}") is value
    except ElicitError:
        same = False
    if not same:
        raise ElicitError(
            f"{name} of {module} cannot be imported again, so a run with it could not be resumed. Put it into a file "
            f"and name it: 'my_file.py:{value.__name__}', or import it from a module."
        )
    return f"{module}:{name}"


def _find_distribution(module: str) -> str | None:
    """The installed distribution of a module, with its version; None for a file's, or one that is only on the path."""
    for name in importlib.metadata.packages_distributions().get(module.partition(".")[0], ()):
        return f"{name} {importlib.metadata.version(name)}"
    return None
