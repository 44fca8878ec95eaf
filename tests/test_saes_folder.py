"""A folder `saes/` in the working directory, of whatever kind, hides nothing: commands, workers and helper processes
import the package that is part of elicit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
#: Kind of folder -> its files.
FOLDERS = {
    "empty": {},
    "files": {"notes.txt": "mine", "loading.py": "raise RuntimeError('not this one')", "cued/L1/cfg.json": "{}"},
    "package": {"__init__.py": "raise RuntimeError('not this one')"},
}
SPEC = """\
models: [cued]
task: addition
arms:
  base: {method: base}
  sae_steering: {method: sae_steering, layers: [1], candidates: 1, strengths: [1.0], select_problems: 4,
                 train_problems: 8}
test: 4
"""


def _make_folder(path: Path, kind: str) -> Path:
    (path / "spec.yaml").write_text(SPEC)
    (path / "saes").mkdir()
    for name, text in FOLDERS[kind].items():
        (path / "saes" / name).parent.mkdir(parents=True, exist_ok=True)
        (path / "saes" / name).write_text(text)
    return path


def _run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder; the packages under test stand on its path after that folder."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def _print_of(folder: Path, *arguments: str) -> str:
    done = _run_python(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=["module", "script"])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two ways to the command line: `python -m`, which looks into the working directory first, and the installed
    script, which looks beside itself."""
    if request.param == "module":
        return ["-m", "elicit.cli.main"]
    script = tmp_path_factory.mktemp("bin") / "elicit"
    script.write_text("from elicit.cli.main import main\nmain()\n")
    return [str(script)]


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_list(kind: str, door: list[str], tmp_path: Path) -> None:
    assert "cued/L1" in _print_of(_make_folder(tmp_path, kind), *door, "ls", "saes")


@pytest.mark.parametrize("door", ["script"], indirect=True)
def test_a_plan(door: list[str], tmp_path: Path) -> None:
    folder = _make_folder(tmp_path, "package")
    assert "2 (0 finished)" in _print_of(folder, *door, "run", "spec.yaml", "--out", "out", "--plan")


@pytest.mark.parametrize("kind", FOLDERS)
def test_import_after_elicit(kind: str, tmp_path: Path) -> None:
    probe = "import elicit, saes, saes.loading\nprint(saes.__file__, saes.loading.__file__, 'cued/L1' in saes.names())"
    expected = [str(_ROOT / "saes" / name) for name in ("__init__.py", "loading/__init__.py")]
    assert _print_of(_make_folder(tmp_path, kind), "-c", probe).split() == [*expected, "True"]


@pytest.mark.parametrize("order", ["import elicit, saes", "import saes, elicit"])
def test_a_namespace_found_before_an_editable_install(order: str, tmp_path: Path) -> None:
    """Such installs find packages by a hook that comes after the path, where the empty folder stands."""
    probe = f"""
import importlib.util, pathlib, sys
sys.path[:] = [entry for entry in sys.path if not (pathlib.Path(entry) / "elicit").is_dir()]
class Finder:
    def find_spec(name, path=None, target=None):
        if name in ("elicit", "saes"):
            folder = pathlib.Path({str(_ROOT)!r}, name)
            return importlib.util.spec_from_file_location(
                name, folder / "__init__.py", submodule_search_locations=[str(folder)]
            )
sys.meta_path.append(Finder)
assert importlib.util.find_spec("saes").origin is None
{order}
assert sys.modules["saes"] is saes
print(saes.__file__, "cued/L1" in saes.names(), saes.Manifest.__module__)
"""
    output = _print_of(_make_folder(tmp_path, "empty"), "-c", probe)
    assert output.split() == [str(_ROOT / "saes" / "__init__.py"), "True", "saes.manifest"]


def test_a_package_that_was_imported_before_is_named(tmp_path: Path) -> None:
    folder = _make_folder(tmp_path, "empty")
    (folder / "saes" / "__init__.py").write_text("")
    done = _run_python(folder, "-c", "import saes, elicit")
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ImportError: elicit: ")
    assert str((folder / "saes").resolve()) in message


@pytest.mark.parametrize("module", ["elicit.loading.rendering", "elicit.loading.tokenizer_bounds"])
def test_helper_processes(module: str, door: list[str], tmp_path: Path) -> None:
    """They import from where their parent does, not from the working directory."""
    folder = _make_folder(tmp_path, "package")
    (folder / "probe.py").write_text(
        f"from elicit.confined import ConfinedProcess\nConfinedProcess({module!r}).ensure_started()\nprint('started')\n"
    )
    if door[0] == "-m":
        assert _print_of(folder, "-m", "probe") == "started\n"
    else:
        (folder / "elicit").mkdir()
        (folder / "elicit" / "__init__.py").write_text("raise RuntimeError('not this one')")
        script = tmp_path / "elsewhere" / "probe.py"
        script.parent.mkdir()
        (folder / "probe.py").rename(script)
        assert _print_of(folder, str(script)) == "started\n"


@pytest.mark.slow
def test_workers_of_a_run(tmp_path: Path) -> None:
    folder = _make_folder(tmp_path, "package")
    _print_of(folder, "-m", "elicit.cli.main", "run", "spec.yaml", "--out", "out", "--workers", "2")
    assert len(list(folder.glob("out/cells/**/policy/policy.json"))) == 2
