"""What needs no model starts without torch: `import torch` costs a second, `import trl` five."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from elicit.methods.catalog import METHODS
from tests.support.comparisons import reference

HEAVY = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "pandas",
    "plotly",
    "transformer_lens",
    "accelerate",
    "sae_lens",
    "ray",
)


def _imported_by(code: str) -> set[str]:
    """Which heavy packages a new interpreter has imported after `code`."""
    probe = f"{code}\nimport sys\nprint()\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.splitlines()[-1].split())


def _command(*arguments: str) -> str:
    return f"from elicit.cli.main import run_command\nassert run_command({list(arguments)!r}) == 0"


LIGHT = {
    "the package": "import elicit; elicit.ElicitError; elicit.tasks.get('addition').prompts('test', 3)",
    "help": _command("--help"),
    "a verb's help": "from elicit.cli.main import run_command\n"
    "try: run_command(['run', '--help'])\nexcept SystemExit: pass",
    "models": _command("ls", "models"),
    "saes": _command("ls", "saes"),
    "the package of SAEs": "import saes; saes.names(); saes.shipped(); saes.Manifest",
    "tasks": _command("ls", "tasks"),
    "methods": _command("ls", "methods"),
    "configs": "from elicit.methods.catalog import *\nfor name in METHODS: load_config_class(name)",
    "comparing": "from elicit.comparison import running, summary, verify\n"
    "import elicit.comparison.running.engine, elicit.comparison.summary.summarise\n"
    "import elicit.comparison.cluster.ray_executor",
    "statistics": "import elicit.statistics, elicit.runs, elicit.schema, elicit.seeds",
}


@pytest.mark.parametrize("case", LIGHT)
def test_imports_nothing_heavy(case: str) -> None:
    assert _imported_by(LIGHT[case]) == set()


def test_reading_a_run_imports_no_model_code(tmp_path: Path) -> None:
    """`elicit report` and `elicit verify` work from files."""
    run = reference()
    assert _imported_by(_command("verify", str(run))) == set()
    assert _imported_by(_command("report", str(run), "--html", str(tmp_path / "report.html"))) == set()
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("package", ["torch", "pandas"])
def test_this_test_can_fail(package: str) -> None:
    assert package in _imported_by(f"import elicit\nimport {package}")


def test_no_method_config_imports_torch_by_itself() -> None:
    """One process per module would be slow; one that blocks torch altogether shows the same of each of them."""
    block = "import sys\nfor name in ('torch', 'transformers', 'trl', 'peft'): sys.modules[name] = None\n"
    for name, (module, config) in METHODS.items():
        block += f"import {module}\nassert {module}.{config}.__dataclass_params__.frozen, {name!r}\n"
    subprocess.run([sys.executable, "-c", block], check=True, timeout=120)
