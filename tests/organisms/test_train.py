"""The recipe: reproducible, and written whole or not at all."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from elicit.errors import ElicitError
from elicit.organisms import train
from elicit.organisms.recipes import recipe

SHORT = dataclasses.replace(recipe("cued")[0], tokens=12_000, d_model=32, layers=1, d_mlp=32)


def test_training_is_reproducible_and_learns():
    losses = []
    first, _ = train.fit(SHORT, 0, lambda p: losses.append(p.loss))
    again, _ = train.fit(SHORT, 0, lambda _: None)
    other, _ = train.fit(SHORT, 1, lambda _: None)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert any(not torch.equal(t, other.state_dict()[name]) for name, t in first.state_dict().items())
    assert losses[-1] < losses[0]
    assert next(first.parameters()).dtype == torch.bfloat16


def test_what_is_written_loads_by_its_path(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "recipe", lambda name: (SHORT, 0))
    reports = []
    folder = train.train("cued", tmp_path / "mine", reports.append)
    assert reports[-1].tokens == reports[-1].total == SHORT.tokens
    import elicit

    model = elicit.load(str(folder))
    assert model.card["dialect"]["opening"] == "<think>"
    assert model.sample(["Q:1+2\nA:"])[0][0].tokens
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine"]
    assert json.loads((folder / "card.json").read_text())["command"] == "elicit organism train cued"
    with pytest.raises(ElicitError, match="exists already"):
        train.train("cued", folder)


def test_an_interrupted_training_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "recipe", lambda name: (SHORT, 0))

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train("cued", tmp_path / "mine", stop)
    assert list(tmp_path.iterdir()) == []


def test_bad_targets():
    from pathlib import Path

    with pytest.raises(ElicitError, match=r"unknown organism 'cud'\. Did you mean 'cued'\?"):
        train.train("cud", Path("nowhere"))
    with pytest.raises(ElicitError, match="cannot write to"):
        train.train("cued", Path("/dev/null/x/mine"))
