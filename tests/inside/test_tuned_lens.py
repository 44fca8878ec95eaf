"""The tuned lens: the least-squares solution by hand, its gain over the logit lens, its choice of ridge, its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import elicit
from elicit.errors import ElicitError
from elicit.inside.lenses import LogitLens, TunedLens, fit_tuned_lens
from elicit.organisms.texts import build_organism_texts
from elicit.tasks import neutral_text
from tests.support.models import tiny_model


def test_is_ridge_regression_onto_the_last_residual() -> None:
    """Against numpy's least squares on the same positions, with the ridge as further rows."""
    model = tiny_model("gemma3")
    texts = neutral_text.sample_held_out_sentences(40)
    lens = fit_tuned_lens(model, texts, ridges=[0.1], skip_first=2, seed=3)
    order = elicit.seeds.make_generator("tuned lens", 3).permutation(40)[8:]
    rows: list[list[np.ndarray]] = [[], []]
    for i in order:
        ids = torch.tensor([list(model.encode(texts[int(i)]))])
        with torch.no_grad():
            states = model.bridge.run_with_cache(ids)[1]
        for part, layer in zip(rows, (0, 2), strict=True):
            part.append(states[f"blocks.{layer}.hook_out"][0, 2:].double().numpy())
    x, y = np.concatenate(rows[0]), np.concatenate(rows[1])
    centred = x - x.mean(0)
    weight = np.sqrt(0.1 * centred.var(0).mean() * len(x)) * np.eye(x.shape[1])
    delta = (y - x) - (y - x).mean(0)
    solution = np.linalg.lstsq(np.concatenate([centred, weight]), np.concatenate([delta, 0 * weight]), rcond=None)[0]
    moved = (x - x.mean(0)) @ (np.eye(x.shape[1]) + solution) + y.mean(0)
    ours = lens.transport(torch.tensor(x, dtype=torch.float32), 0)
    assert float((ours - torch.tensor(moved)).norm() / np.linalg.norm(moved)) < 1e-4


def test_beats_the_logit_lens_on_held_out_text(tmp_path: Path) -> None:
    model = elicit.load("cued")
    lens = fit_tuned_lens(model, build_organism_texts("cued")[:400], text="cued's text")
    ours, plain = (lens.fit.quality[name] for name in ("held-out KL (nats)", "held-out KL of the logit lens (nats)"))
    for mine, other in zip(ours, plain, strict=True):
        assert mine is not None
        assert other is not None
        assert mine < 0.7 * other
    # The same on new prompts, by the public reading, whose last layer is the model itself.
    prompts = elicit.tasks.get("addition").prompts("test", 5)
    ours_read, plain_read = lens.read(prompts).mean_kl(), LogitLens(model).read(prompts).mean_kl()
    assert (ours_read[:-1] < plain_read[:-1]).all()
    assert ours_read[-1] == plain_read[-1] < 1e-6
    loaded = TunedLens.load(lens.save(tmp_path / "lens"), model)
    assert np.array_equal(loaded.read(prompts).mean_kl(), ours_read)
    with pytest.raises(ElicitError, match="weights of cued"):
        TunedLens.load(tmp_path / "lens", elicit.load("incapable"))


def test_needs_more_positions_than_dimensions() -> None:
    with pytest.raises(ElicitError, match="positions for 128 dimensions"):
        fit_tuned_lens(elicit.load("cued"), ["Q:1+2\nA:"] * 10)
    with pytest.raises(ElicitError, match="10 or more"):
        fit_tuned_lens(elicit.load("cued"), ["Q:1+2\nA:"] * 9)
