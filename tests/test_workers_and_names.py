"""What a user's own script, prompt or folder may run into: no main guard, loose options, a folder called `saes`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import elicit
from elicit import Decoding, ElicitError

ROOT = Path(__file__).parents[1]
_SCRIPT = """
import elicit
elicit.compare("cued", "addition", arms=["base", "cue_prompt"], seeds=1, test=8, workers=2, out={out!r})
"""
_HIDDEN = """
import sys
from importlib.machinery import ModuleSpec
class Folder:
    def find_spec(self, name, path=None, target=None):
        if name == "saes":
            spec = ModuleSpec("saes", None, is_package=True)
            spec.submodule_search_locations = ["/nowhere"]
            return spec
sys.meta_path.insert(0, Folder())
{first}
import elicit
import saes
print(saes.load.__module__, saes.__file__)
"""


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_workers_without_a_main_guard(tmp_path: Path) -> None:
    done = python(_SCRIPT.format(out=str(tmp_path / "run")), tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert "if __name__ ==" in last
    assert "out of memory" not in done.stderr


@pytest.mark.parametrize("first", ["", "import saes"])
def test_a_folder_called_saes_hides_nothing(tmp_path: Path, first: str) -> None:
    done = python(_HIDDEN.format(first=first), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["saes.loading", str(ROOT / "saes" / "__init__.py")]


def test_fields_of_decoding_by_themselves() -> None:
    model = elicit.load("cued")
    prompts = elicit.tasks.get("addition").prompts("test", n=3)
    assert model.sample(prompts, n=2, temperature=1.0, max_new_tokens=5, stop="\n") == model.sample(
        prompts, n=2, decoding=Decoding(temperature=1.0, max_new_tokens=5, stop=("\n",))
    )
    with pytest.raises(ElicitError, match="temperature"):
        model.sample(prompts, temprature=1.0)
    with pytest.raises(ElicitError, match=r"\[prompt\]"):
        model.sample(prompts[0])  # type: ignore[arg-type]
