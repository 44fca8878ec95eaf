"""Every dependency has its reason in CONTRIBUTING.md, and every core dependency is used by the packages."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
#: Loaded by others, never imported here: transformers places models on several devices with it.
_INDIRECT = {"accelerate"}


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _names_of(requirements: list[str]) -> set[str]:
    return {_normalise(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}


def _iter_table_rows(columns: int) -> Iterator[list[str]]:
    """Rows of the tables with so many columns under the heading Dependencies, without their heads."""
    section = (_ROOT / "CONTRIBUTING.md").read_text().split("\n## Dependencies\n")[1].split("\n## ")[0]
    for table in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
        for line in table.splitlines()[2:]:
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) == columns:
                yield cells


def _split_names(cell: str) -> set[str]:
    return {_normalise(name) for name in cell.split(", ")}


def test_core_dependencies_have_their_reasons() -> None:
    reasons = {name: reason for packages, reason in _iter_table_rows(2) for name in _split_names(packages)}
    assert set(reasons) == _names_of(_PROJECT["dependencies"])
    assert all(reasons.values())


def test_extras_have_their_reasons() -> None:
    described: dict[str, set[str]] = {}
    for extras, packages, reason in _iter_table_rows(3):
        assert reason
        for extra in extras.split(", "):
            described.setdefault(extra, set()).update(_split_names(packages))
    assert set(described) == set(_PROJECT["optional-dependencies"])
    for extra, requirements in _PROJECT["optional-dependencies"].items():
        assert _names_of(requirements) <= described[extra], extra
    everything = set().union(*map(_names_of, _PROJECT["optional-dependencies"].values()))
    assert set().union(*described.values()) == everything


def _list_imported_modules() -> set[str]:
    """Top-level modules that the packages import anywhere."""
    modules: set[str] = set()
    for path in [*_ROOT.glob("elicit/**/*.py"), *_ROOT.glob("saes/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.split(".")[0])
    return modules


def test_core_dependencies_are_imported() -> None:
    distributions = packages_distributions()
    imported = {_normalise(d) for module in _list_imported_modules() for d in distributions.get(module, ())}
    assert _names_of(_PROJECT["dependencies"]) - imported == _INDIRECT
