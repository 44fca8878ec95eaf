"""No module reaches itself by imports, wherever they stand; the check finds circles that are made on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint.imports import find_circles, read_import_graph

_ROOT = Path(__file__).parents[2]
_CIRCLES = {
    "at the top": {"a.py": "import pkg.b", "b.py": "from pkg.a import name"},
    "of three": {"a.py": "from pkg import b", "b.py": "from pkg import c", "c.py": "from pkg import a"},
    "in a function": {"a.py": "from pkg import b", "b.py": "def load():\n    from pkg.a import name"},
    "of types": {
        "a.py": "from pkg.b import B",
        "b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pkg.a import A",
    },
    "relative": {"a.py": "from .b import B", "b.py": "from . import a"},
}


def _write_package(folder: Path, files: dict[str, str]) -> Path:
    package = folder / "pkg"
    package.mkdir()
    for name, text in {"__init__.py": "", "leaf.py": "import json\n", **files}.items():
        (package / name).write_text(text)
    return package


@pytest.mark.parametrize("kind", _CIRCLES)
def test_a_circle_is_found(kind: str, tmp_path: Path) -> None:
    files = _CIRCLES[kind]
    graph = read_import_graph(_write_package(tmp_path, files))
    assert find_circles(graph) == [[f"pkg.{Path(name).stem}" for name in files]]


def test_a_package_and_its_module_can_be_a_circle(tmp_path: Path) -> None:
    files = {"__init__.py": "from .a import A", "a.py": "from pkg import version"}
    assert find_circles(read_import_graph(_write_package(tmp_path, files))) == [["pkg", "pkg.a"]]


def test_a_ladder_has_none(tmp_path: Path) -> None:
    files = {"a.py": "import pkg.b, pkg.leaf", "b.py": "def load():\n    from . import leaf"}
    graph = read_import_graph(_write_package(tmp_path, files))
    assert graph["pkg.a"] == {"pkg.b", "pkg.leaf"}
    assert graph["pkg.b"] == {"pkg.leaf"}
    assert find_circles(graph) == []


def test_no_circle_in_the_packages() -> None:
    graph = read_import_graph(_ROOT / "elicit", _ROOT / "saes")
    assert sum(map(len, graph.values())) > len(graph) > 400
    assert find_circles(graph) == []
