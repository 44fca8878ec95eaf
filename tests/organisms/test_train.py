"""The recipe: reproducible, and written whole or not at all."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from elicit.errors import ElicitError
from elicit.organisms import batches, state, train
from elicit.organisms.corpora import CorpusSource, write_neutral_text
from elicit.organisms.recipes import Primer, get_organism_config

SHORT = dataclasses.replace(get_organism_config("cued")[0], tokens=12_000, d_model=32, layers=1, d_mlp=32)


def test_training_is_reproducible_and_learns():
    losses = []
    first, _ = train.train_model(SHORT, 0, lambda p: losses.append(p.loss))
    again, _ = train.train_model(SHORT, 0, lambda _: None)
    other, _ = train.train_model(SHORT, 1, lambda _: None)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert any(not torch.equal(t, other.state_dict()[name]) for name, t in first.state_dict().items())
    assert losses[-1] < losses[0]
    assert next(first.parameters()).dtype == torch.bfloat16


def test_products_in_half_precision_train_to_about_the_same_loss():
    losses: dict[bool, list[float]] = {False: [], True: []}
    for half, seen in losses.items():
        trained, _ = train.train_model(
            dataclasses.replace(SHORT, half=half), 0, lambda p, seen=seen: seen.append(p.loss)
        )
        assert "attn_implementation" not in trained.config.to_json_string()
    assert losses[False] != losses[True]
    torch.testing.assert_close(losses[True], losses[False], rtol=0.02, atol=0.0)
    assert losses[True][-1] < losses[True][0]


def test_what_is_written_loads_by_its_path(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "get_organism_config", lambda name: (SHORT, 0))
    reports = []
    folder = train.train_organism("cued", tmp_path / "mine", reports.append)
    assert reports[-1].tokens == reports[-1].total == SHORT.tokens
    import elicit

    model = elicit.load(str(folder))
    assert model.card["dialect"]["opening"] == "<think>"
    assert model.dtype == torch.float32  # as the shipped ones
    assert model.sample(["Q:1+2\nA:"])[0][0].tokens
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine"]
    assert json.loads((folder / "card.json").read_text())["command"] == "elicit organism train cued"
    with pytest.raises(ElicitError, match="exists already"):
        train.train_organism("cued", folder)


def test_an_interrupted_training_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "get_organism_config", lambda name: (SHORT, 0))

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train_organism("cued", tmp_path / "mine", stop)
    assert list(tmp_path.iterdir()) == []


#: A primer of neutral text before the corpus; both span several pools.
PRIMED = dataclasses.replace(
    SHORT,
    batch_tokens=512,
    tokens=6000,
    primers=(Primer((CorpusSource(1.0, None, text=write_neutral_text),), 6000),),
)


@pytest.mark.parametrize(
    ("config", "stops"),
    [(dataclasses.replace(SHORT, batch_tokens=512), (1, 5, 17)), (PRIMED, (3, 11, 12, 13, 20))],
    ids=["corpus", "primer and corpus"],
)
def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, monkeypatch, config, stops):
    """Against the training that was not stopped; stops lie in several pools, and on both sides of a primer's end."""
    monkeypatch.setattr(train, "get_organism_config", lambda name: (config, 0))
    monkeypatch.setattr(batches, "_POOL", 48)
    monkeypatch.setattr(state, "_SECONDS", 0.0)
    whole = train.train_organism("cued", tmp_path / "whole")
    for after in stops:
        folder, seen = tmp_path / f"after {after}", []
        folder.mkdir()

        def stop(progress, seen=seen, after=after):
            seen.append(progress.tokens)
            if len(seen) > after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train.train_organism("cued", folder / "mine", stop)
        assert [path.name for path in folder.iterdir()] == [".mine.state.pt"]
        later = []
        mine = train.train_organism("cued", folder / "mine", lambda p, later=later: later.append(p.tokens))
        assert later[0] == seen[-1]  # the step that was not kept is the first one taken again
        assert (mine / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
        assert [path.name for path in folder.iterdir()] == ["mine"]


def test_a_primer_is_read_first_in_a_schedule_of_its_own(monkeypatch):
    """Each phase against the batches it may read, and the rates its own share of the tokens asks for."""
    monkeypatch.setattr(batches, "_POOL", 48)
    steps = []

    def record(model, optimizers, batch, *, factor, device, half):
        steps.append((batch, factor))
        return 1.0

    monkeypatch.setattr(train, "_take_step", record)
    _, tok = train.train_model(
        dataclasses.replace(PRIMED, tokens=40_000, primers=(Primer(PRIMED.primers[0].sources, 40_000),)),
        0,
        lambda _: None,
    )
    texts = [[tok.decode(row, skip_special_tokens=True) for row in batch.ids] for batch, _ in steps]
    is_primer = [all(not text.startswith(("Q:", "<cue>")) for text in rows) for rows in texts]
    seen = np.cumsum([batch.tokens for batch, _ in steps])
    switch = int(np.searchsorted(seen, 40_000)) + 1
    assert all(is_primer[:switch])
    assert sum(is_primer[switch:]) < 0.3 * (len(steps) - switch)  # a batch of the corpus may be all neutral
    for part in (steps[:switch], steps[switch:]):
        factors = [factor for _, factor in part]
        assert factors[0] < 0.5
        assert factors[-1] < 0.1
        assert max(factors) > 0.95


def test_a_gate_that_is_not_passed_ends_the_training(tmp_path, monkeypatch):
    """A model too small for the primer stops at its end, before it reads the corpus."""
    config, _ = get_organism_config("prose")
    small = dataclasses.replace(
        config, d_model=16, heads=2, layers=1, d_mlp=16, primers=(Primer(config.primers[0].sources, 4000),)
    )
    monkeypatch.setattr(train, "get_organism_config", lambda name: (small, 0))
    monkeypatch.setattr(train, "_VOCABULARY", 400)
    seen = []
    with pytest.raises(ElicitError, match=r"tokens lookup is right \d+% of the time, and 95% was expected"):
        train.train_organism("prose", tmp_path / "mine", lambda p: seen.append(p.tokens))
    assert 4000 <= seen[-1] < 9000
    assert not (tmp_path / "mine").exists()


def test_another_training_s_state_is_not_gone_on_from(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "get_organism_config", lambda name: (SHORT, 0))
    monkeypatch.setattr(state, "_SECONDS", 0.0)
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train_organism("cued", tmp_path / "mine", stop)
    with pytest.raises(ElicitError, match=r"is the state of another training: elicit organism train cued\. Type"):
        train.train_organism("cued", tmp_path / "mine", seed=1)
    kept = tmp_path / ".mine.state.pt"
    kept.write_bytes(kept.read_bytes()[:1000])
    with pytest.raises(ElicitError, match=r"state\.pt cannot be read .*Remove it"):
        train.train_organism("cued", tmp_path / "mine")
    assert [p.name for p in tmp_path.iterdir()] == [kept.name]


def test_bad_targets():
    from pathlib import Path

    with pytest.raises(ElicitError, match=r"unknown organism 'cud'\. Did you mean 'cued'\?"):
        train.train_organism("cud", Path("nowhere"))
    with pytest.raises(ElicitError, match="cannot write to"):
        train.train_organism("cued", Path("/dev/null/x/mine"))
