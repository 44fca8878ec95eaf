"""A run directory made once for the tests that read one. None of them changes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop import made


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.make(tmp_path_factory.mktemp("interop") / "mine")
