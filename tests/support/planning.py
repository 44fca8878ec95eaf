"""Support of tests about plans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elicit.comparison.planning.memory import ModelProfile, profile_model
from elicit.comparison.spec import check_spec
from elicit.loading import catalog
from elicit.tasks.benchmarks import gsm8k


def invent_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fewer of GSM8K's rows be invented: reading 8,792 takes seconds."""
    usual = gsm8k.BENCHMARK.usual
    assert usual is not None
    assert usual.rows == {"train": 7473, "test": 1319}  # 2110.14168
    fewer = usual._replace(rows={"train": 900, "test": 400})
    monkeypatch.setattr(gsm8k, "BENCHMARK", replace(gsm8k.BENCHMARK, usual=fewer))


def profile_model_in(place: Path | str, **options: Any) -> ModelProfile:
    """The profile of a folder's model, with fields of a spec."""
    spec = check_spec({"models": {"m": str(place)}, "task": "sums", "arms": ["base"], **options})
    found = profile_model(catalog.resolve_model(str(place)), spec)
    assert found is not None
    return found
