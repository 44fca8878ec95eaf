"""Code from outside: entry points of installed packages, and references that a spec or an option names.

    my_file.py:MyTask            a class in one file; relative paths start at `base`
    my_package.module:MyTask     a class in an installed package (or one on PYTHONPATH)

A package offers names by entry points, in the groups `elicit.tasks`, `elicit.readers`,
`elicit.report_sections` and `saes.formats`:

    [project.entry-points."elicit.tasks"]
    my_task = "my_package.module:MyTask"

A file is imported by itself: it may import installed packages, but not the files beside it (make a package of those).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from elicit.errors import ElicitError, one_line, unknown_name_error

#: How the modules of single files are called.
_FILE_MODULE = "elicit_file_"


class MissingCodeError(ElicitError):
    """The file or module of a reference is not on this machine: what was made with it can be read, but not repeated."""


class Reference(NamedTuple):
    """A reference in its two parts."""

    module: str
    """A path that ends in `.py`, or a dotted module name."""
    name: str
    """The attribute: `MyTask`, or `Outer.Inner`."""

    @property
    def is_file(self) -> bool:
        return self.module.endswith(".py")

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


def parse_reference(text: str) -> Reference | None:
    """The parts of `my_file.py:Name` or `my_package.module:Name`; None for text of another form."""
    module, _, name = text.rpartition(":")
    reference = Reference(module, name)
    dotted = reference.is_file or all(part.isidentifier() for part in module.split("."))
    return reference if dotted and all(part.isidentifier() for part in name.split(".")) else None


def load_reference(text: str, *, base: Path | None = None) -> Any:
    """The object that a reference names. Importing runs the file's code.

    Args:
        base: the folder that relative files start at; the working directory if None.

    Raises:
        MissingCodeError: no such file or module here.
        ElicitError: text of another form, code that cannot be imported, or a name that it does not define.
    """
    reference = _require_reference(text)
    path = _source_path(reference, base)
    try:
        module = _import_file(path) if reference.is_file else importlib.import_module(reference.module)
    except Exception as error:
        raise ElicitError(f"{text}: {path} cannot be imported: {describe_failure(error, path)}") from error
    value: Any = module
    for part in reference.name.split("."):
        if not _defines(value, part):
            known = [name for name in vars(value) if not name.startswith("_")]
            raise unknown_name_error(f"name in {reference.module}", part, known, where=text)
        value = getattr(value, part)
    return value


def find_source(text: str, *, base: Path | None = None) -> Path:
    """The file that a reference names, found without running it.

    Raises:
        MissingCodeError: no such file or module here.
        ElicitError: text of another form, or a module that does not come from a Python file.
    """
    return _source_path(_require_reference(text), base)


def source_sha256(text: str, *, base: Path | None = None) -> str:
    """The sha256 of that one file; what it imports is not covered. Raises as `find_source`."""
    return hashlib.sha256(find_source(text, base=base).read_bytes()).hexdigest()


def absolute_reference(text: str, *, base: Path | None = None) -> str:
    """A reference to a file with its path in full; any other text, and a file that is not there, as it is."""
    reference = parse_reference(text)
    if reference is None or not reference.is_file:
        return text
    path = (base or Path()) / Path(reference.module).expanduser()
    return f"{path.resolve()}:{reference.name}" if path.is_file() else text


def describe_class(kind: type) -> str:
    """The reference that loads a class again.

    Raises:
        ElicitError: a class of the running script or notebook, or one that stands inside a function.
    """
    module = sys.modules.get(kind.__module__)
    path = vars(module).get("__file__") if module is not None else None
    if kind.__module__ == "__main__" or path is None or "<locals>" in kind.__qualname__:
        raise ElicitError(
            f"{kind.__qualname__} is defined in the running script, a notebook or a function, from where a run cannot "
            f"load it again. Put it into a file of its own, such as my_file.py, and import it from there"
        )
    home = path if kind.__module__.startswith(_FILE_MODULE) else kind.__module__
    return f"{home}:{kind.__qualname__}"


def find_class_file(kind: type) -> Path | None:
    """The file of a class from outside; None for one that is part of elicit."""
    path = vars(sys.modules.get(kind.__module__, sys)).get("__file__")  # none for what was typed at a prompt
    built_in = kind.__module__.split(".")[0] in ("elicit", "saes")
    return None if built_in or path is None else Path(path)


def list_entry_points(group: str) -> dict[str, str]:
    """Name -> reference `module:Name` of everything that installed packages offer under a group, sorted by name.

    Raises:
        ElicitError: two packages offer different code under one name.
    """
    references: dict[str, str] = {}
    for point in importlib.metadata.entry_points(group=group):
        if references.setdefault(point.name, point.value) != point.value:
            raise ElicitError(
                f"two installed packages offer {point.name!r} in {group}: {references[point.name]} and {point.value}. "
                "Uninstall one of them, or name the code itself: MODULE:NAME."
            )
    return dict(sorted(references.items()))


def _require_reference(text: str) -> Reference:
    reference = parse_reference(text)
    if reference is None:
        raise ElicitError(f"{one_line(text, 80)!r} does not name code. Type my_file.py:Name or my_package.module:Name")
    return reference


def _source_path(reference: Reference, base: Path | None) -> Path:
    """The file that a reference names. Of a dotted module only the packages above it are imported."""
    if reference.is_file:
        path = (base or Path()) / Path(reference.module).expanduser()
        if not path.is_file():
            raise MissingCodeError(f"{reference}: the file {path} does not exist.")
        return path.resolve()
    try:
        spec = importlib.util.find_spec(reference.module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise MissingCodeError(
            f"{reference}: the module {reference.module!r} is not installed here. Install its package, or name a file: "
            f"my_file.py:{reference.name}"
        )
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise ElicitError(f"{reference}: the module {reference.module!r} does not come from a Python file.")
    return Path(spec.origin)


def _import_file(path: Path) -> ModuleType:
    """The module of one file: the same one for the same bytes, another one after an edit."""
    source = path.read_bytes()
    name = f"{_FILE_MODULE}{path.stem}_{hashlib.sha256(str(path).encode() + source).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up while it is being made
    try:
        exec(compile(source, str(path), "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def describe_failure(error: Exception, path: Path) -> str:
    """An exception in one line, with the last line of `path` that it went through."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    place = f"line {line}: " if line is not None else ""
    return f"{place}{type(error).__name__}: {one_line(error, 200)}"


def _defines(value: Any, name: str) -> bool:
    return name in dir(value)
