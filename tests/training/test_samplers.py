"""Rollouts that an outside engine cannot give come from the model in training, and the record says so."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import elicit
from elicit.checkpoints import PolicyDelta
from elicit.sampling import Decoding, Request, generate
from elicit.training.samplers import choose_sampler, describe_rollouts


@dataclasses.dataclass
class Unable:
    """An engine that can run the base alone, or nothing."""

    obstacle: str | None
    rollouts: bool = True

    def describe(self) -> str:
        return "another engine"

    def find_obstacle(self, weights: Any, steering: Any) -> str | None:
        return self.obstacle


def test_what_the_engine_cannot_run_is_sampled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    model = elicit.load("cued")
    requests, decoding = [Request(model.encode("3 + 4 ="), (1, 2))], Decoding(temperature=1.0, max_new_tokens=8)
    assert describe_rollouts(model, PolicyDelta()) == {}
    monkeypatch.setattr(model, "outside", Unable("one of a tied pair"))
    sampler = choose_sampler(model, PolicyDelta)
    assert sampler(model.engine, requests, decoding) == generate(model.engine, requests, decoding)
    assert "one of a tied pair" in describe_rollouts(model, PolicyDelta())["rollouts"]
    assert "another engine" not in describe_rollouts(model, PolicyDelta())["rollouts"]
    monkeypatch.setattr(model, "outside", Unable(None))
    assert describe_rollouts(model, PolicyDelta()) == {"rollouts": "another engine"}
    monkeypatch.setattr(model, "outside", Unable(None, rollouts=False))
    assert describe_rollouts(model, PolicyDelta()) == {}
