"""The sparse probe: optimality of its weights, honesty of its folds, and the sample of tokens it sees."""

from __future__ import annotations

import numpy as np
import torch
from scipy import optimize, sparse, special
from sklearn.metrics import roc_auc_score

from elicit import seeds
from saes.discovery import Span
from saes.discovery.conditions import SparseActivations
from saes.discovery.probe import compute_single_aurocs, fit_probe
from saes.discovery.sample import Row, RowSample, SpanSample


def rows_of(f: np.ndarray, units: str | list[str]) -> list[Row]:
    """Sparse rows; each in a group of its own, or in the groups given."""
    if isinstance(units, str):
        units = [f"{units}{i}" for i in range(len(f))]
    found = []
    for number, (row, unit) in enumerate(zip(f, units, strict=True)):
        feature = np.flatnonzero(row)
        span = Span([number, len(f)], 1, 2, unit)
        found.append(Row(span, feature.astype(np.int32), row[feature].astype(np.float32)))
    return found


def noisy(name: str, n: int, shift: float, features: int = 8) -> np.ndarray:
    """Sparse activations whose first two features tell the side, by `shift`."""
    random = seeds.make_generator("probe test", name)
    f = np.maximum(0, random.normal(0, 1, size=(n, features)))
    f[:, :2] = np.maximum(0, random.normal(shift, 1, size=(n, 2)))
    return f


def test_the_weights_are_optimal_for_the_penalised_loss() -> None:
    """Karush-Kuhn-Tucker: the loss pulls with 1 at weights that are used, and with less than 1 at the others."""
    f, g = noisy("a", 80, 1.0), noisy("b", 50, 0.0)
    norms = np.linspace(0.5, 2, 8)
    found = fit_probe(rows_of(f, "a"), rows_of(g, "b"), norms, seed=0)
    x = np.concatenate([f, g]) * norms / found.summary["unit"]
    np.testing.assert_allclose((x**2).mean(), 1, rtol=1e-4)
    y, w = np.repeat([1.0, -1.0], [80, 50]), found.coefficients
    weight = np.repeat([130 / 160, 130 / 100], [80, 50])

    def loss(b: float) -> float:
        return float((weight * np.logaddexp(0, -y * (x @ w + b))).sum() + abs(b) / 10)

    b = optimize.minimize_scalar(loss, bounds=(-20, 20), method="bounded", options={"xatol": 1e-10}).x
    pull = x.T @ (weight * y * special.expit(-y * (x @ w + b)))
    used = w != 0
    assert 2 <= used.sum() <= 8
    np.testing.assert_allclose(pull[used], np.sign(w[used]), atol=0.02)
    assert (np.abs(pull[~used]) <= 1.02).all()
    assert found.summary["features"] == used.sum()


def test_a_separable_pair_is_told_apart_by_one_feature() -> None:
    f, g = noisy("c", 40, 9.0), noisy("d", 40, 0.0)
    found = fit_probe(rows_of(f, "p"), rows_of(g, "p"), np.ones(8), seed=0)
    about = found.summary
    assert min(about["accuracy"], about["auroc"], about["single_auroc"]) > 0.97
    assert set(about["single_features"]) <= {0, 1}
    assert found.coefficients[:2].max() == found.coefficients.max() > 0


def test_what_a_group_shares_is_not_learned_from_its_other_tokens() -> None:
    """Every group has a feature of its own and says nothing of the condition: with groups split over folds it would."""
    groups = 40
    units = [f"g{i % groups}" for i in range(400)]
    f = np.eye(groups)[np.arange(400) % groups] * 3
    sides = [[i for i in range(400) if (i % groups) % 2 == side] for side in (0, 1)]
    parts = [rows_of(f[side], [units[i] for i in side]) for side in sides]
    found = fit_probe(*parts, np.ones(groups), seed=0)
    assert found.summary["features"] > 0  # on all rows it does use them
    assert abs(found.summary["auroc"] - 0.5) < 0.05


def test_a_feature_that_never_varies_has_no_weight() -> None:
    f, g = noisy("e", 30, 2.0), noisy("f", 30, 0.0)
    f[:, 5] = g[:, 5] = 0
    f[:, 6] = g[:, 6] = 0.7
    found = fit_probe(rows_of(f, "e"), rows_of(g, "f"), np.ones(8), seed=0)
    assert np.isnan(found.coefficients[[5, 6]]).all()
    assert not np.isnan(np.delete(found.coefficients, [5, 6])).any()


def test_single_aurocs_are_scikit_learns() -> None:
    random = seeds.make_generator("single aurocs")
    x = random.normal(size=(90, 6)) * (random.random((90, 6)) < 0.4)
    x[:, 4] = np.round(x[:, 4])
    x[:, 5] = 0
    y = (random.random(90) < 0.4).astype(int)
    expected = [roc_auc_score(y, x[:, i]) for i in range(6)]
    np.testing.assert_allclose(compute_single_aurocs(sparse.csc_array(x), y), expected, atol=1e-12)


def stream(spans: list[Span]) -> SparseActivations:
    """Feature p is active, with value p + 1, at the p-th token of every span."""
    span = torch.tensor([i for i, one in enumerate(spans) for _ in range(one.stop - one.start)])
    position = torch.tensor([p for one in spans for p in range(one.start, one.stop)])
    return SparseActivations(torch.arange(len(span)), position, position + 1.0, span, position, spans)


def test_the_sample_of_tokens_is_uniform_bounded_and_by_identity() -> None:
    spans = [Span([1, 2, 3, number], 0, 1 + number % 4) for number in range(80)]
    total = sum(span.stop for span in spans)
    counts: dict[tuple[int, int], int] = {}
    for seed in range(300):
        rows = RowSample(20, seed)
        for first in range(0, 80, 16):
            rows.add(stream(spans[first : first + 16]))
        kept = rows.get_rows()
        assert len(kept) == 20
        for row in kept:
            assert row.feature.tolist() == [row.value[0] - 1]
            place = row.span.ids[3], int(row.feature[0])
            counts[place] = counts.get(place, 0) + 1
    expected = 300 * 20 / total
    assert len(counts) == total
    assert max(abs(n - expected) for n in counts.values()) < 5 * np.sqrt(expected)
    backwards = RowSample(20, 299)
    for span in reversed(spans):
        backwards.add(stream([span]))
    assert [(row.span, row.value.tolist()) for row in backwards.get_rows()] == [
        (row.span, row.value.tolist()) for row in kept
    ]


def test_the_sample_of_spans_is_bounded_and_does_not_depend_on_their_order() -> None:
    spans = [Span([1, 2, number], 0, 3) for number in range(50)]
    samples = []
    for order in (spans, spans[::-1]):
        sample = SpanSample(7, 3)
        for span in order:
            sample.add(stream([span]))
            assert len(sample.entries) <= 14
        samples.append(sample.get_spans())
    assert samples[0] == samples[1]
    assert len(set(map(str, samples[0]))) == 7
