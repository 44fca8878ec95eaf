"""The public surface: every name that a package states can be imported, and every method is among them."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from elicit.methods.catalog import METHODS, load_config_class

PACKAGES = ("elicit", "elicit.analysis", "elicit.inside.lenses", "elicit.methods", "elicit.tasks", "saes")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_stated_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    assert len(module.__all__) == len(set(module.__all__)) > 5
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match="absent"):
        module.absent  # noqa: B018


def test_every_method_is_stated() -> None:
    methods = importlib.import_module("elicit.methods")
    for name in METHODS:
        config = load_config_class(name)
        assert getattr(methods, config.__name__) is config


def test_configs_import_no_torch() -> None:
    code = "import sys; from elicit.methods import *; from elicit.analysis import *; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
