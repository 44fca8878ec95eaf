"""policy.json: damage is one line; a field that Decoding, Prompting or a search gets later breaks no saved policy."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from elicit import policy_document
from elicit.errors import ElicitError
from elicit.format_versions import CURRENT_VERSIONS
from elicit.methods.baselines.forbid_first import ForbidFirstSearch
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.prompting import Prompting
from elicit.readouts.catalog import READOUTS, load_readout_class
from elicit.sampling import Decoding
from elicit.search import (
    BudgetForcingSearch,
    CotDecodingSearch,
    LikeliestBestOfN,
    MajorityVote,
    PowerSamplingSearch,
    VerifiedBestOfN,
)
from elicit.search.catalog import SEARCHES, load_search_class
from elicit.steering import Steering
from tests.support.models import tiny_model


@functools.cache
def _base() -> BaseModel:
    return tiny_model("llama")


def _policy() -> Policy:
    edit = Steering(torch.ones(_base().d_model), 1, 2, "add", "first", 3, "one")  # whole numbers keep their kind
    warm = Decoding(temperature=1, top_p=0.5, max_new_tokens=9, stop=("\n",))
    record = {"train": {"steps": 3}, "loss": float("nan")}
    return Policy(_base(), warm, Prompting("cue"), (edit,), search=MajorityVote(5), record=record)


def _first_format(policy: Policy) -> str:
    """The hash as it was before files had a format: every field of every part."""
    assert policy.search is not None
    parts: dict[str, Any] = {
        "base": {"weights_sha256": policy.model.weights_sha256},
        "decoding": dataclasses.asdict(policy.decoding),
        "prompting": dataclasses.asdict(policy.prompting),
        "search": {"kind": policy.search.kind, **dataclasses.asdict(policy.search)},
    }
    texts = [json.dumps(parts, sort_keys=True), *(edit.sha256 for edit in policy.steering), "base"]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def test_a_policy_of_before_files_had_a_format_is_read(tmp_path: Path) -> None:
    policy = _policy()
    policy.save(tmp_path)
    path = tmp_path / "policy.json"
    document = json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(text))
    assert document.pop("format_version") == CURRENT_VERSIONS["policy"]
    assert document["sha256"] == _first_format(policy)
    path.write_text(json.dumps(document))
    again = Policy.load(tmp_path, _base())
    assert again.sha256 == policy.sha256
    assert again.record["train"] == {"steps": 3}


def test_a_new_field_leaves_saved_policies_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = _policy()
    policy.save(tmp_path)
    grown = {
        kind: dataclasses.make_dataclass(kind.__name__, [("added", float, 0.5)], bases=(kind,), frozen=True)
        for kind in (Decoding, Prompting, MajorityVote)
    }
    monkeypatch.setattr(policy_document, "Decoding", grown[Decoding])
    monkeypatch.setattr(policy_document, "Prompting", grown[Prompting])
    monkeypatch.setattr(importlib.import_module(MajorityVote.__module__), "MajorityVote", grown[MajorityVote])
    again = Policy.load(tmp_path, _base())
    assert again.decoding.added == again.search.added == 0.5  # type: ignore[attr-defined, union-attr]
    assert again.sha256 == policy.sha256
    # Used, the field is written, read and hashed.
    other = dataclasses.replace(again, decoding=dataclasses.replace(again.decoding, added=0.25))  # type: ignore[call-arg]
    assert other.sha256 != policy.sha256
    (tmp_path / "other").mkdir()
    other.save(tmp_path / "other")
    assert json.loads((tmp_path / "other" / "policy.json").read_text())["decoding"]["added"] == 0.25
    assert "added" not in json.loads((tmp_path / "other" / "policy.json").read_text())["prompting"]
    monkeypatch.undo()
    with pytest.raises(ElicitError, match=r"policy\.json: unknown field decoding\.added"):
        Policy.load(tmp_path / "other", _base())


#: Part or kind, an instance, and the first digits of the hash of its fields, as they were in version 0.1.0.
FROZEN = [
    ("decoding", Decoding(), "c44a9fdd9f1b83d3"),
    ("prompting", Prompting(), "674cf7b49755ac62"),
    ("budget_forcing", BudgetForcingSearch("a", "b", "c"), "bfd7d1606122f7d1"),
    ("cot_decoding", CotDecodingSearch(), "4d8e5b755559fabf"),
    ("forbid_first", ForbidFirstSearch(), "44136fa355b3678a"),
    ("likeliest", LikeliestBestOfN(3), "389d42d9a5766a33"),
    ("majority", MajorityVote(3), "389d42d9a5766a33"),
    ("power_sampling", PowerSamplingSearch(), "87afde3647498027"),
    ("verified", VerifiedBestOfN(3), "389d42d9a5766a33"),
]


def _hash_fields(part: str, record: Any) -> str:
    plain = policy_document.plain_fields(part, record)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize(("part", "record", "sha256"), FROZEN, ids=[part for part, _, _ in FROZEN])
def test_an_optional_field_changes_no_hash(part: str, record: Any, sha256: str) -> None:
    assert _hash_fields(part, record) == sha256
    kind = type(record)
    for name in (kind.__name__, "Renamed"):  # what a class is called does not matter
        added = [("added", float, 0.5), ("listed", tuple, dataclasses.field(default_factory=tuple))]
        grown = dataclasses.make_dataclass(name, added, bases=(kind,), frozen=True)
        values = {item.name: getattr(record, item.name) for item in dataclasses.fields(record)}
        assert _hash_fields(part, grown(**values)) == sha256
        assert _hash_fields(part, grown(**values, added=0.25)) != sha256


def test_every_search_that_can_be_saved_is_frozen() -> None:
    frozen = {part: type(record) for part, record, _ in FROZEN}
    assert frozen == {
        "decoding": Decoding,
        "prompting": Prompting,
        **{kind: load_search_class(kind) for kind in SEARCHES},
    }


def test_the_catalogs_name_every_class_by_its_kind() -> None:
    for kind in SEARCHES:
        assert load_search_class(kind).kind == kind
    for kind in READOUTS:
        assert load_readout_class(kind).kind == kind


def test_a_class_that_declares_nothing_keeps_its_hash() -> None:
    first = dataclasses.make_dataclass("New", [("n", int), ("mild", bool, True)], frozen=True)
    grown = dataclasses.make_dataclass("New", [("n", int), ("mild", bool, True), ("added", int, 3)], frozen=True)
    assert _hash_fields("new", first(5)) == _hash_fields("new", grown(5)) != _hash_fields("new", grown(5, added=4))
    assert policy_document.plain_fields("new", first(5)) == {"n": 5}


def test_fields_of_searches_are_written_as_ever() -> None:
    for search in (PowerSamplingSearch(), BudgetForcingSearch("a", "b", "c"), MajorityVote(3)):
        assert policy_document.plain_fields(search.kind, search) == dataclasses.asdict(search)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("format_version", CURRENT_VERSIONS["policy"] + 1, "pip install --upgrade elicit-reasoning"),
        ("format", CURRENT_VERSIONS["policy"] + 1, "pip install --upgrade elicit-reasoning"),
        ("format_version", "1", "field format_version is '1'"),
        ("sha256", None, "field sha256: "),
        ("base", {"name": "x"}, "the field base.weights_sha256 is missing"),
        ("base", [], "field base: "),
        ("decoding", {"temperature": "1"}, "field decoding.temperature: "),
        ("decoding", {"temperature": -1}, "temperature is -1"),
        ("decoding", {"stop": "\n"}, "field decoding.stop: "),
        ("prompting", {"template": "x"}, "lacks {prompt}"),
        ("search", {"n": 5}, "search: the field kind is missing"),
        ("search", {"kind": ["majority"], "n": 5}, "unknown search"),
        ("search", {"kind": "majority", "n": "5"}, "field n: "),
        ("search", {"kind": "majority", "m": 5}, "the field n is missing"),
        ("record", [], "field record: "),
        ("record", {"train": 3}, "record.train"),
        ("record", {"train": {"steps": "3"}}, "record.train: field steps: "),
        ("checkpoints", {"../../x": "y"}, "expected a whole number"),
        ("extra", 1, "unknown field extra"),
    ],
)
def test_damage_names_the_file_and_the_field(tmp_path: Path, field: str, value: Any, said: str) -> None:
    _policy().save(tmp_path)
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ElicitError) as caught:
        Policy.load(tmp_path, _base())
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
