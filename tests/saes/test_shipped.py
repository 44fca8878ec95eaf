"""The SAEs that come with the lab: small, good, true to their cards, and with a feature that switches the mode."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import elicit
from elicit.comparison.spec import build_task
from elicit.sampling import Decoding
from saes import catalog
from saes.evaluation import evaluate
from saes.loading import load
from saes.training import text

LAYERS = {"cued": 3, "cued-late": 2, "incapable": 2, "serial": 4}
#: Organisms that read English, of which every layer has an SAE.
ENGLISH = ("prose", "prose-s1", "prose-s2", "prose-half", "prose-incapable")


@functools.cache
def model(name: str) -> Any:
    found = elicit.load(name)
    torch.set_num_threads(1)
    return found


def test_all_are_there_and_small() -> None:
    expected = {f"{name}/L{layer}" for name, layers in LAYERS.items() for layer in range(layers)}
    expected |= {
        f"{name}/L{layer}-s1" for name, layers in LAYERS.items() if name != "serial" for layer in range(layers)
    }
    expected |= {f"{name}/L{layer}" for name in ENGLISH for layer in range(4)}
    assert expected == set(catalog.names())
    files = [path for path in catalog.WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 11_000_000
    assert {path.name for path in files} <= {"cfg.json", "manifest.json", "sae_weights.safetensors"}


@pytest.mark.parametrize("name", catalog.names())
def test_each_belongs_to_its_organism_and_is_good(name: str) -> None:
    sae = load(name)
    about = sae.manifest
    assert about.weights_sha256 == model(about.model).weights_sha256
    assert (about.layer, about.k, sae.d_sae) == (int(name.split("/L")[1][0]), 8.0, 512)
    stored = load_file(catalog.WEIGHTS / name / "sae_weights.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    card = about.card
    assert card is not None
    assert card["explained_variance"]["value"] >= (0.93 if about.model in ENGLISH else 0.95)
    assert card["explained_variance"]["n"] > 10_000
    assert card["l0"]["value"] <= 8
    assert card["cross_entropy"]["recovered"]["value"] > 0.97


def test_a_card_is_what_anyone_measures_again() -> None:
    """From the text of the recipe alone: it is drawn (as before there were pools), split and judged anew."""
    from elicit.cli.sae_train import encode_documents
    from elicit.organisms.texts import build_organism_texts

    sae = load("cued/L1")
    documents = build_organism_texts("cued")
    sequences = encode_documents(model("cued"), iter(documents), context=256, tokens=300_000)
    parts = text.split_text(sequences)
    assert parts.sha256 == sae.manifest.text_sha256
    again = evaluate(model("cued").hf, sae, parts.held_out)
    card = sae.manifest.card
    assert card is not None
    assert again["text_sha256"] == card["text_sha256"]
    for name in ("explained_variance", "l0", "dead"):
        assert again[name]["value"] == pytest.approx(card[name]["value"], abs=1e-3)
    for name, figure in card["cross_entropy"].items():
        assert again["cross_entropy"][name]["value"] == pytest.approx(figure["value"], abs=1e-3)


@pytest.mark.parametrize("name", ["cued/L1", "cued/L1-s1", "cued/L2", "cued/L2-s1"])
def test_one_feature_of_cued_switches_the_mode(name: str) -> None:
    """Found on train problems by its mean difference, judged on problems of the selection split."""
    base, sae = model("cued"), load(name)
    task = build_task({"task": "addition"}, base.card["dialect"], where="test")
    pairs = task.problems("train", 200)
    cued = sae.encode(base.residuals([p.cue_prompt for p in pairs])[sae.layer]).mean(0)
    plain = sae.encode(base.residuals([p.prompt for p in pairs])[sae.layer]).mean(0)
    feature = sae.feature(int((cued - plain).argmax()))
    judged = task.problems("select", 100)
    decoding = Decoding(max_new_tokens=task.max_new_tokens, stop=task.stop)

    def accuracy(strength: float) -> float:
        direction = feature.direction
        with base.steer(direction, layer=sae.layer, strength=strength, unit=sae.manifest.norm, positions="first"):
            found = base.sample([p.prompt for p in judged], decoding=decoding)
        return sum(task.verify(p, c[0].text).correct for p, c in zip(judged, found, strict=True)) / len(judged)

    assert accuracy(0.0) < 0.2
    assert accuracy(2.0) >= 0.9
