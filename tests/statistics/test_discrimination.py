"""AUROC and false discovery: against sklearn and scipy, by simulation, at the ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from elicit.statistics import estimate_auroc, false_discovery_correction


def test_equals_sklearn_with_ties() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        labels = random.random(50) < 0.3
        scores = random.integers(0, 8, 50) + labels
        estimate = estimate_auroc(scores, labels)
        assert estimate.value == pytest.approx(roc_auc_score(labels, scores))
        assert estimate.ci is not None
        assert estimate.ci[0] <= estimate.value <= estimate.ci[1]


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_interval_covers(shift: float) -> None:
    truth, random = float(stats.norm.cdf(shift / math.sqrt(2))), np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        labels = np.arange(60) < 25
        ci = estimate_auroc(random.normal(size=60) + shift * labels, labels).ci
        assert ci is not None
        covered += ci[0] <= truth <= ci[1]
    assert 0.915 <= covered / 400 <= 0.99


def test_ends() -> None:
    perfect = estimate_auroc([1.0, 2.0, 3.0, 4.0], [False, False, True, True])
    assert perfect.value == 1
    assert perfect.ci is not None
    assert perfect.ci[0] < 0.75
    assert perfect.ci[1] == 1
    nothing = estimate_auroc([1.0, 2.0], [False, False])
    assert math.isnan(nothing.value)
    assert nothing.ci is None
    with pytest.raises(ValueError, match="finite"):
        estimate_auroc([math.nan, 1.0], [True, False])


def test_false_discovery_equals_scipy_and_holds_its_rate() -> None:
    random = np.random.default_rng(2)
    values = random.random(200) ** 3
    np.testing.assert_allclose(false_discovery_correction(list(values)), stats.false_discovery_control(values))
    shares = []
    for _ in range(300):
        p = np.concatenate([random.random(90), random.random(10) * 1e-4])
        rejected = np.array(false_discovery_correction(list(p))) <= 0.1
        shares.append(rejected[:90].sum() / max(1, rejected.sum()))
    assert np.mean(shares) < 0.12
    assert false_discovery_correction([]) == []
