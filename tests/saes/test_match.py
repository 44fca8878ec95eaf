"""An SAE of the wrong model is refused: by hash, width, depth, layer, or by what it fails to explain."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import elicit
import saes
from elicit.errors import ElicitError
from tests.support.models import tiny_model


@pytest.fixture(scope="module")
def cued():
    return elicit.load("cued")


@pytest.fixture(scope="module")
def serial():
    return elicit.load("serial")


@pytest.fixture(scope="module")
def sae():
    return saes.load("cued/L1")


def sequences(model, n=48):
    from elicit.comparison.spec import build_task

    family = "addition" if model.name == "cued" else "mod_chain"
    task = build_task({"task": family}, model.card.get("dialect"), where="test")
    return [model.encode(p.prompt + (task.worked(p) or "")) for p in task.problems("train", n)]


def unverified(sae):
    return dataclasses.replace(sae, manifest=sae.manifest.model_copy(update={"weights_sha256": None}))


def check(sae, model, **options):
    return saes.check(sae, model.hf, model_name=model.name, **{"weights_sha256": model.weights_sha256, **options})


def test_the_weights_it_was_trained_on_need_no_text(sae, cued):
    assert check(sae, cued) == ("same weights", None)
    assert saes.check(sae, cued.bridge, model_name="x", weights_sha256=cued.weights_sha256).kind == "same weights"


def test_other_weights_are_refused_unless_asked_for_by_name(sae, cued, serial):
    with pytest.raises(
        ElicitError, match=r"'cued/L1' was trained on cued \(weights b8f685cb802f\), but serial has weig"
    ):
        check(sae, serial)
    assert check(sae, serial, transfer=True) == ("transfer", None)
    found = check(sae, serial, transfer=True, sequences=sequences(serial))
    assert found.kind == "transfer"
    assert found.explained_variance < 0.5, "the figure is told, not enforced: a transfer was asked for"


def test_unknown_weights_are_judged_by_what_the_sae_explains(sae, cued, serial):
    """The right model, another organism, the same model with one layer's weights shuffled, a model never trained."""
    unknown = unverified(sae)
    with pytest.raises(ElicitError, match=r"which weights belong together is not known. Pass sequences="):
        check(unknown, cued)
    found = check(unknown, cued, sequences=sequences(cued))
    assert found.kind == "unverified"
    assert found.explained_variance > 0.9
    with pytest.raises(
        ElicitError, match=r"'cued/L1' \(of cued\) explains -?\d+\.\d\d of the variance at layer 1 of seri"
    ):
        check(unknown, serial, sequences=sequences(serial))
    tuned = elicit.load("cued")
    with torch.no_grad():
        tuned.hf.model.embed_tokens.weight.copy_(tuned.hf.model.embed_tokens.weight.roll(1, dims=1))
    assert saes.explained_variance(tuned.hf, sae, sequences(tuned)) < 0.5
    with pytest.raises(ElicitError, match="of other weights, of another layer, or a poor one"):
        check(sae, tuned, weights_sha256=None, sequences=sequences(tuned))
    assert check(sae, cued, weights_sha256=None, sequences=sequences(cued)).kind == "unverified"
    with pytest.raises(ElicitError, match=r"less than 0\.999"):
        saes.verify_live(cued.hf, sae, sequences(cued), at_least=0.999)


def test_an_sae_read_at_another_layer_explains_less(sae, cued):
    moved = {
        layer: dataclasses.replace(sae, manifest=sae.manifest.model_copy(update={"layer": layer})) for layer in range(3)
    }
    shares = {layer: saes.explained_variance(cued.hf, one, sequences(cued)) for layer, one in moved.items()}
    assert shares[1] > max(shares[0], shares[2])


def test_explained_variance_is_that_of_its_definition_and_of_the_card(sae, cued):
    text = sequences(cued, 600)  # more than one forward pass, of other lengths each
    h = torch.cat([harvest.h for harvest in saes.stream(cued.hf, 1, text)]).double()
    left = (h - sae.reconstruct(h.float()).double()).square().sum()
    expected = 1 - float(left / (h - h.mean(dim=0)).square().sum())
    assert saes.explained_variance(cued.hf, sae, text) == pytest.approx(expected, abs=1e-6)
    card = saes.evaluate(cued.hf, sae, text[:40])
    assert card["explained_variance"]["value"] == pytest.approx(
        saes.explained_variance(cued.hf, sae, text[:40]), abs=1e-5
    )
    for few in ([], [[1]], [[1], [2]]):
        with pytest.raises(ElicitError, match="0 tokens are too few"):
            saes.explained_variance(cued.hf, sae, few)


def test_another_width_depth_or_layer_is_refused(sae, cued):
    small = tiny_model("llama")
    with pytest.raises(ElicitError, match=r"width 128 \(of cued\), but those of tiny-llama have width 32"):
        check(sae, small, transfer=True)
    deep = dataclasses.replace(sae, manifest=sae.manifest.model_copy(update={"layer": 7}))
    with pytest.raises(ElicitError, match=r"reads layer 7 \(of cued\), but cued has layers 0 to 2"):
        check(deep, cued)
    with pytest.raises(ElicitError, match=r"reads layer 1; it cannot be used at layer 2"):
        check(sae, cued, layer=2)
    assert check(sae, cued, layer=1).kind == "same weights"
