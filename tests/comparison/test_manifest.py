"""The manifest says what was run, with which code and weights."""

from __future__ import annotations

import importlib.metadata

from elicit import runs
from elicit.model import load
from tests.support.comparisons import reference


def test_the_manifest_names_weights_code_and_machine():
    found = runs.read_run_json(reference() / "manifest.json")
    model = load("cued")
    assert found["models"]["cued"] == {
        "weights_sha256": model.weights_sha256,
        "tokenizer_sha256": model.tokenizer_sha256,
        "parameters": sum(parameter.numel() for parameter in model.hf.parameters()),
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "dialect": model.card["dialect"],
        "families": ["addition", "mod_chain"],
        "capable": True,
    }
    assert found["packages"]["torch"] == importlib.metadata.version("torch")
    assert found["start"] <= found["end"]
    assert len(found["spec_sha256"]) == 64
