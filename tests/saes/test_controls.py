"""Control directions: matched features, draws from the residuals' covariance, the SAE's error, a feature's twin."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit import seeds
from elicit.errors import ElicitError
from saes.controls import CALIPER, covariance, covariance_vector, error_direction, matched_features, twin
from saes.sae import SAE
from tests.saes.tiny_sae import tiny_sae

BIG = tiny_sae(16, d_sae=400)
DENSITY = np.exp(seeds.make_generator("densities").normal(-4, 1.5, size=400)).clip(max=1)
DENSITY[::7] = 0  # dead ones


@settings(max_examples=40, deadline=None)
@given(index=st.integers(1, 399).filter(lambda i: i % 7 > 0), n=st.integers(1, 30), seed=st.integers(0, 99))
def test_matched_features_are_those_within_the_caliper_it_reports(index: int, n: int, seed: int) -> None:
    top = {index + 1, index - 1} - {400, 0}
    found = matched_features(DENSITY, BIG, index, n, seed=seed, exclude=top)
    norms = BIG.directions.norm(dim=1).numpy()

    def fits(i: int, caliper: float) -> bool:
        ratios = (DENSITY[i] / DENSITY[index], norms[i] / norms[index])
        return DENSITY[i] > 0 and all(1 / caliper <= r * (1 + 1e-6) and r <= caliper * (1 + 1e-6) for r in ratios)

    within = {i for i in range(400) if i != index and i not in top and fits(i, found.caliper)}
    assert len(set(found.features)) == n
    assert set(found.features) <= within
    assert found.candidates == len(within)
    assert len(within) >= max(n, 16)
    assert found.widened == (found.caliper > CALIPER + 1e-9)
    if found.widened:  # the next narrower caliper held too few
        narrower = math.exp(math.log(found.caliper) / 1.5)
        assert sum(fits(i, narrower * (1 - 1e-5)) for i in range(400) if i != index and i not in top) < max(n, 16)
    assert found.densities == tuple(DENSITY[i] for i in found.features)


def test_matched_features_are_drawn_by_identity_and_more_draws_add_to_fewer() -> None:
    few, many = (matched_features(DENSITY, BIG, 50, n, seed=3) for n in (4, 16))
    assert many.features[:4] == few.features
    assert matched_features(DENSITY, BIG, 50, 16, seed=3) == many
    assert matched_features(DENSITY, BIG, 50, 16, seed=4).features != many.features
    table = pd.DataFrame({"density": DENSITY}).sample(frac=1, random_state=0)  # rows in another order
    assert matched_features(table, BIG, 50, 16, seed=3) == many


def test_every_candidate_is_as_likely_as_the_others() -> None:
    counts: dict[int, int] = {}
    draws = 800
    for seed in range(draws):
        found = matched_features(DENSITY, BIG, 50, 3, seed=seed)
        for i in found.features:
            counts[i] = counts.get(i, 0) + 1
    expected = 3 * draws / found.candidates
    assert len(counts) == found.candidates
    assert max(abs(n - expected) for n in counts.values()) < 5 * math.sqrt(expected)


def test_matching_says_what_it_cannot_do() -> None:
    with pytest.raises(ElicitError, match=r"feature tiny/L1/7 is never active in the text of these densities"):
        matched_features(DENSITY, BIG, 7, 3, seed=0)
    few = np.where(np.arange(400) < 5, DENSITY, 0)
    with pytest.raises(ElicitError, match="9 were asked for, but SAE 'tiny/L1' has only 3 other live features here"):
        matched_features(few, BIG, 1, 9, seed=0)
    with pytest.raises(ElicitError, match="expected one per feature"):
        matched_features(DENSITY[:10], BIG, 1, 3, seed=0)
    with pytest.raises(ElicitError, match="has no feature 400"):
        matched_features(DENSITY, BIG, 400, 3, seed=0)
    wide = matched_features(np.where(np.arange(400) < 5, DENSITY, 0), BIG, 1, 3, seed=0)
    assert wide.widened
    assert "widened from 1.25" in str(wide)


RESIDUALS = torch.from_numpy(
    seeds.make_generator("residuals").normal(size=(500, 6)) @ seeds.make_generator("mix").normal(size=(6, 6)) + 1e3
)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 500), max_size=6))
def test_covariance_is_numpys_however_the_residuals_are_cut(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), 500]
    parts = [RESIDUALS[a:b] for a, b in itertools.pairwise(bounds)]
    np.testing.assert_allclose(covariance(parts), np.cov(RESIDUALS.T), rtol=1e-8)


def test_draws_have_the_covariance_of_the_residuals_and_mean_zero() -> None:
    sigma = covariance([RESIDUALS])
    draws = torch.stack([covariance_vector(sigma, seed=seed, is_covariance=True) for seed in range(3000)])
    whitened = np.linalg.solve(np.linalg.cholesky(sigma), draws.numpy().T)
    np.testing.assert_allclose(np.cov(whitened), np.eye(6), atol=0.12)
    assert np.abs(whitened.mean(1)).max() < 0.1
    torch.testing.assert_close(covariance_vector(RESIDUALS, seed=5), draws[5])


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (RESIDUALS[:1], {}, "1 residuals were given; expected at least 2 rows"),
        (RESIDUALS, {"is_covariance": True}, "a matrix of shape (500, 6) is not a covariance"),
        (RESIDUALS * float("nan"), {}, "is not a covariance (finite, square, symmetric)"),
    ],
)
def test_what_is_no_covariance_is_refused(source: torch.Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ElicitError) as raised:
        covariance_vector(source, seed=0, **options)
    assert message in str(raised.value)


def test_the_error_direction_is_the_mean_of_what_the_sae_leaves_over() -> None:
    sae = tiny_sae(16, d_sae=40)
    h = torch.randn(2500, 16, generator=torch.Generator().manual_seed(0))
    g = torch.randn(30, 16, generator=torch.Generator().manual_seed(1)) + 0.5
    expected = (h - sae.decode(sae.encode(h))).mean(0)
    torch.testing.assert_close(error_direction(sae, h), expected, rtol=1e-4, atol=1e-5)
    both = error_direction(sae, h, g)
    torch.testing.assert_close(both, expected - (g - sae.decode(sae.encode(g))).mean(0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ElicitError, match=r"expected \[token, 16\] with at least one token"):
        error_direction(sae, h[:0])


def other(sae: SAE, order: torch.Tensor, noise: torch.Tensor) -> SAE:
    """The features of `sae` in another order, scaled, each turned by its own share of a random direction."""
    unit = torch.nn.functional.normalize(sae.directions, dim=1)
    random = torch.randn(unit.shape, generator=torch.Generator().manual_seed(9))
    rows = 3 * torch.nn.functional.normalize(unit + noise[:, None] * random, dim=1)
    return dataclasses.replace(sae, directions=rows[order], name="tiny/L1-s1", _features={})


def test_a_twin_is_the_nearest_in_angle_and_set_against_all_features() -> None:
    sae = tiny_sae(64, d_sae=50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    second = other(sae, order, torch.linspace(0, 0.4, 50))
    unit = torch.nn.functional.normalize(sae.directions, dim=1)
    cosines = (unit @ torch.nn.functional.normalize(second.directions, dim=1).T).numpy()
    for index in (0, 10, 25, 49):
        found = twin(sae.feature(index), second)
        assert found.feature.index == int(cosines[index].argmax())
        assert found.feature.sae is second
        assert found.cosine == pytest.approx(cosines[index].max(), abs=1e-5)
        np.testing.assert_allclose(found.typical, np.sort(cosines.max(1)), atol=1e-5)
        assert found.share_below == pytest.approx((cosines.max(1) < cosines[index].max() - 1e-6).mean(), abs=0.021)
    assert order[twin(sae.feature(0), second).feature.index] == 0
    assert twin(sae.feature(0), second).share_below > 0.9
    assert twin(sae.feature(49), second).share_below < 0.5


def test_only_live_features_are_the_context_of_a_twin() -> None:
    sae = tiny_sae(64, d_sae=50)
    second = other(sae, torch.arange(50), torch.zeros(50))
    live = np.zeros(50, dtype=bool)
    live[:10] = True
    assert len(twin(sae.feature(3), second, live=live).typical) == 10
    assert len(twin(sae.feature(30), second, live=live).typical) == 11  # the feature itself counts as alive
    with pytest.raises(ElicitError, match="Expected two SAEs of one place"):
        twin(sae.feature(3), tiny_sae(64, layer=2))
