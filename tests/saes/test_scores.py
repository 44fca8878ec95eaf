"""The contrast and its interval, and AUROC, on activations whose distribution is known: scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from elicit import seeds
from saes.discovery.auroc import ActivationValues, compute_auroc
from saes.discovery.moments import Moments, compute_contrast
from tests.saes.brute import as_active


def test_the_interval_of_independent_tokens_is_about_welchs() -> None:
    random = seeds.make_generator("welch")
    f, g = random.exponential(1.0, size=(300, 200)), random.exponential(0.7, size=(200, 200))
    f[:, 7] = g[:, 7] = 2.0
    sides = [Moments(200), Moments(200)]
    for moments, values, name in zip(sides, (f, g), "ab", strict=True):
        for part in np.array_split(np.arange(len(values)), 3):
            moments.add(as_active(values[part], list(range(len(part))), [f"{name}{i}" for i in part]))
    found = compute_contrast(*sides)
    np.testing.assert_allclose(found["contrast"], f.mean(0) - g.mean(0), rtol=1e-5, atol=1e-7)
    assert np.isnan(found["contrast_low"][7])
    assert np.isnan(found["contrast_high"][7])
    varied = np.arange(200) != 7
    expected = stats.ttest_ind(f[:, varied], g[:, varied], equal_var=False).confidence_interval(0.95)
    widths = (found["contrast_high"] - found["contrast_low"])[varied] / (expected.high - expected.low)
    assert widths.mean() == pytest.approx(1, abs=0.03)
    assert widths.std() < 0.12  # what 128 parts leave of the exactness of 498 tokens


@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_covers_when_tokens_go_together(paired: bool) -> None:
    """60 problems with 2 spans of 1 to 12 tokens each, all of one level; paired, both conditions hold the same ones."""
    random = seeds.make_generator("coverage", paired)
    features, problems = 600, 60
    shared = random.normal(0, 1, size=(problems, features))
    moments, widths = [], []
    for side, centre in enumerate((1.0, 0.6)):
        sizes = random.integers(1, 13, size=2 * problems)
        span = np.repeat(np.arange(2 * problems), sizes)
        level = (shared if paired else random.normal(0, 1, size=shared.shape)) + centre
        f = (level[span // 2] + random.normal(0, 0.3, size=(len(span), features))).astype(np.float32)
        groups = [f"{'' if paired else side}{i // 2}" for i in range(2 * problems)]
        moments.append(Moments(features))
        moments[-1].add(as_active(f, span.tolist(), groups))
        widths.append(f)
    found = compute_contrast(*moments)
    covered = ((found["contrast_low"] < 0.4) & (found["contrast_high"] > 0.4)).mean()
    bounds = stats.ttest_ind(*widths, equal_var=False).confidence_interval(0.95)
    naive = ((bounds.low < 0.4) & (bounds.high > 0.4)).mean()
    assert 0.92 <= covered <= 0.98
    if paired:  # sizes differ between the conditions, so that a level does not quite cancel
        apart = np.sqrt(sum(f.var(0) / problems for f in widths)) * 2 * stats.t.ppf(0.975, problems)
        assert (found["contrast_high"] - found["contrast_low"]).mean() < 0.7 * apart.mean()
    else:
        assert naive < 0.75


@pytest.mark.parametrize("kept", [10**6, 0])
@pytest.mark.parametrize("signed", [False, True])
def test_auroc_is_scikit_learns_exactly_or_within_the_bound_it_states(kept: int, signed: bool) -> None:
    random = seeds.make_generator("auroc", signed)
    sides = []
    for n, shift in ((311, 0.3), (173, 0.0)):
        f = np.exp(random.normal(shift, 2.0, size=(n, 12))).astype(np.float32)
        f[:, 3] = np.round(f[:, 3])  # ties
        f[:, 4] = 2.5
        f[:, 5] *= 1e-20  # below the grid
        if signed:
            f *= np.where(random.random(f.shape) < 0.3, -1, 1)
        f[random.random(f.shape) < np.linspace(0, 1, 12)] = 0
        values = ActivationValues(12, limit=kept)
        for part in np.array_split(f, 3):
            values.add(as_active(part, [0] * len(part)))
        sides.append((f, values))
    found = compute_auroc(sides[0][1], sides[1][1])
    label = np.repeat([1, 0], [311, 173])
    both = np.concatenate([sides[0][0], sides[1][0]])
    expected = np.array([roc_auc_score(label, both[:, i]) for i in range(12)])
    if kept:
        np.testing.assert_allclose(found["auroc"], expected, atol=1e-12)
        assert not found["auroc_error"].any()
    else:
        off = np.abs(found["auroc"] - expected)
        assert (off <= found["auroc_error"] + 1e-12).all()
        assert off[5] > 0.002  # values that share the lowest cell: only the bound helps
        assert 0 < np.delete(off, 5).max() < 0.001
        assert found["auroc_error"][11] == 0  # never active
