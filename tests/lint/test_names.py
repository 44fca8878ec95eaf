"""The ratchet counts what it says: each limit is exceeded by code that breaks its rule, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint.names import LIMITS, main, measure_names

_GOOD = '"""Rows of a run."""\n\n\ndef read_rows(path):\n    """Rows of a file."""\n    return path\n'
_BAD = {
    "listed words": "def read_cells(found):\n    return found\n",
    "participles": "def drawn_rows(path):\n    return path\n",
    "one-word names": "def rows(path):\n    return path\n",
    "shared names": _GOOD,
    "clauses": 'def read_cells(path):\n    """What a file holds."""\n    return path\n',
    "calques": 'def read_cells(path):\n    raise ValueError(f"{path} is no folder")\n',
}


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.name)
def test_each_rule_is_counted_alone(tmp_path: Path, limit: object) -> None:
    name = limit.name  # type: ignore[attr-defined]
    (tmp_path / "good.py").write_text(_GOOD)
    assert main([str(tmp_path)]) == 0
    (tmp_path / "bad.py").write_text(_BAD[name])
    assert main([str(tmp_path)]) == 1
    measured = measure_names(tmp_path)
    assert [other.name for other in LIMITS if measured[other.name] > other.most] == [name]
