"""Imports between the modules of a package, and the circles among them.

Read from the source, so that every import counts: at the top of a file, inside a function, under `TYPE_CHECKING`, and
relative ones. Names of modules in strings (`importlib`) do not count, nor does it that importing a module runs the
`__init__` of the packages around it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path


def read_import_graph(*packages: Path) -> dict[str, frozenset[str]]:
    """Module -> the modules of these packages that it imports anywhere in its source."""
    files = {
        _name_module(path.relative_to(package.parent)): path
        for package in packages
        for path in sorted(package.rglob("*.py"))
    }
    return {module: frozenset(_iter_imports(module, path, files)) - {module} for module, path in files.items()}


def find_circles(graph: Mapping[str, frozenset[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module, sorted: sets in which every module reaches every other."""
    reachable = {module: _find_reachable(graph, module) for module in graph}
    circles = {tuple(sorted(other for other in reachable[module] if module in reachable[other])) for module in graph}
    return [list(circle) for circle in sorted(circles) if len(circle) > 1]


def _find_reachable(graph: Mapping[str, frozenset[str]], start: str) -> set[str]:
    """The modules on paths of at least one import from a module."""
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting.extend(graph[module])
    return reached


def _name_module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _iter_imports(module: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Known modules that a file imports; `from package import name` is the module of that name where there is one."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                candidates = (f"{source}.{alias.name}", source)
                yield from [candidate for candidate in candidates if candidate in known][:1]
