"""The names of `saes` are what they say, whatever was imported before."""

from __future__ import annotations

import pytest

import saes
from elicit.cli.main import run_command
from tests.support.forked import forked

EVERY_SUBMODULE = """
import importlib, pkgutil, saes
for module in pkgutil.walk_packages(saes.__path__, "saes."):
    importlib.import_module(module.name)
"""


def test_a_public_name_is_never_hidden_by_a_submodule():
    """Importing `saes.x` sets the attribute x of the package: a function of that name would be gone."""
    fresh = "import sys\nfor name in [n for n in sys.modules if n.split('.')[0] == 'saes']: del sys.modules[name]\n"
    told = "print(*(name for name in saes.__all__ if type(getattr(saes, name)).__name__ == 'module'))"
    assert forked(fresh + EVERY_SUBMODULE + told) == (0, "dashboard\n")


def test_every_public_name_is_there_and_listed():
    for name in saes.__all__:
        assert getattr(saes, name) is not None
    assert set(saes.__all__) <= set(dir(saes))
    assert {"load", "train", "evaluate", "discover", "check", "names", "stream", "SAE", "Feature"} <= set(saes.__all__)
    with pytest.raises(AttributeError, match="module 'saes' has no attribute 'lode'"):
        _ = saes.lode


def test_the_command_line_lists_what_is_shipped(capsys):
    assert run_command(["ls", "saes"]) == 0
    printed = capsys.readouterr().out
    for entry in saes.shipped():
        line = next(line for line in printed.splitlines() if line.split()[:1] == [entry.name])
        assert f"{entry.d_sae:,} latents after layer {entry.manifest.layer} of {entry.manifest.model}" in line
        assert entry.manifest.architecture in line
        assert f"explained variance {entry.manifest.card['explained_variance']['value']:.3f} [" in line
        assert f"L0 {entry.manifest.card['l0']['value']:.1f}" in line
    assert "RELEASE:ID" in printed
