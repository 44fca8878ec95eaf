"""The sparse probe: L1 logistic regression on feature activations, judged by cross-validation.

    min_w,c  |w|_1 + C sum_t log(1 + exp(-y_t (w . x_t + c))),    x_ti = f_ti |D_i| / s

with x the activations in residual length, s their root mean square over rows, summed over features and spread evenly
over those that vary: one unit for all, so that of features which say the same the penalty keeps the one that writes
most to the residual (a scale of its own per feature would leave that to chance). Classes are weighted to balance, C is
1. A token sample of bounded size stands for each condition (`sample.Rows`). The table's column is w: a zero says that
the probe did not need the feature beside the others, not that it carries nothing. As a check on "one feature marks the
mode", the best single feature - chosen by AUROC, equal ones by their difference of means, and cut at its best
threshold, all on the training folds - is judged on the same held-out folds (compare Gurnee et al., 2305.01610, whose
probes select k neurons; here the penalty selects).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy import sparse

from elicit import seeds
from elicit.errors import ElicitError
from saes.discovery.sample import Row

FOLDS = 5


class Probe(NamedTuple):
    """A fitted probe and its cross-validation."""

    coefficients: Float64[np.ndarray, " d_sae"]
    """Per `unit` of f_i |D_i|, on all rows; NaN for a feature that never varies in the sample."""
    summary: dict[str, Any]
    """rows, folds, unit, features used, balanced accuracy and AUROC of probe and best single feature (fold means)."""


def fit_probe(
    positive: Sequence[Row], negative: Sequence[Row], norms: Float64[np.ndarray, " d_sae"], *, seed: int, c: float = 1.0
) -> Probe:
    """Fit and judge the probe.

    Args:
        norms: |D_i|, the lengths of the decoder rows.

    Raises:
        ElicitError: fewer than two groups in a condition, so that nothing can be held out.
    """
    rows = [*positive, *negative]
    matrix = _build_matrix(rows, norms)
    y = np.repeat([1, 0], [len(positive), len(negative)])
    varying = np.flatnonzero(_compute_variance(matrix) > 0)
    x, unit = _scale_columns(matrix, varying)
    folds = _split_folds(rows, y, seed)
    coefficients = np.full(len(norms), np.nan)
    if len(varying):
        coefficients[varying] = _fit_regression(x, y, seed, c).coef_[0]
    summary: dict[str, Any] = {"rows": [len(positive), len(negative)], "folds": len(folds), "C": c, "unit": unit}
    summary["features"] = int(np.count_nonzero(np.nan_to_num(coefficients)))
    return Probe(coefficients, summary | _cross_validate(x, y, folds, varying, seed, c))


def _cross_validate(
    x: Any, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]], names: np.ndarray, seed: int, c: float
) -> dict[str, Any]:
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    scores: dict[str, list[float]] = {"accuracy": [], "auroc": [], "single_accuracy": [], "single_auroc": []}
    singles = []
    for train, held in folds:
        if x.shape[1] == 0:
            break
        model = _fit_regression(x[train], y[train], seed, c)
        scores["accuracy"].append(balanced_accuracy_score(y[held], model.predict(x[held])))
        scores["auroc"].append(roc_auc_score(y[held], model.decision_function(x[held])))
        column, sign, cut = _find_best_single(x[train].tocsc(), y[train])
        value = sign * x[held].tocsc()[:, [column]].toarray()[:, 0]
        singles.append(int(names[column]))
        scores["single_accuracy"].append(balanced_accuracy_score(y[held], (value >= cut).astype(int)))
        scores["single_auroc"].append(roc_auc_score(y[held], value))
    means = {name: float(np.mean(values)) if values else float("nan") for name, values in scores.items()}
    return means | {"single_features": singles}


def _find_best_single(x: Any, y: np.ndarray) -> tuple[int, int, float]:
    """(column, sign, threshold): the largest |AUROC - 0.5|, then the best balanced accuracy of `sign * f >= cut`."""
    from sklearn.metrics import roc_curve

    scores = compute_single_aurocs(x, y)
    difference = x[y == 1].mean(axis=0) - x[y == 0].mean(axis=0)
    column = int(np.lexsort((np.abs(difference), np.round(np.abs(scores - 0.5), 12)))[-1])
    sign = 1 if scores[column] >= 0.5 else -1
    false, true, cuts = roc_curve(y, sign * x[:, [column]].toarray()[:, 0])
    return column, sign, float(cuts[int(np.argmax(true - false))])


def compute_single_aurocs(x: Any, y: np.ndarray) -> Float64[np.ndarray, " feature"]:
    """AUROC of every column of a sparse matrix, from its stored entries alone."""
    positive, negative = int((y == 1).sum()), int((y == 0).sum())
    scores = np.full(x.shape[1], 0.5)
    for column in range(x.shape[1]):
        entries = slice(x.indptr[column], x.indptr[column + 1])
        values, right = x.data[entries], y[x.indices[entries]] == 1
        ours, theirs = values[right], np.sort(values[~right])
        silent_p, silent_n = positive - len(ours), negative - len(theirs)
        wins = (np.searchsorted(theirs, ours, "left") + np.searchsorted(theirs, ours, "right")).sum() / 2
        wins += (ours > 0).sum() * silent_n + (theirs < 0).sum() * silent_p + silent_p * silent_n / 2
        scores[column] = wins / (positive * negative)
    return scores


def _fit_regression(x: Any, y: np.ndarray, seed: int, c: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        l1_ratio=1.0, C=c, solver="liblinear", class_weight="balanced", max_iter=1000, tol=1e-5,
        intercept_scaling=10.0,  # liblinear penalises the intercept too: make that small
        random_state=seeds.derive_small_seed("discovery probe", seed),
    )  # fmt: skip
    return model.fit(x, y)


def _split_folds(rows: Sequence[Row], y: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds that keep a group together; groups are dealt by their identity, so the order of rows does not matter."""
    units = [row.span.unit for row in rows]
    sides = [{unit for unit, label in zip(units, y, strict=True) if label == side} for side in (1, 0)]
    count = min(FOLDS, *(len(side) for side in sides))
    if count < 2:
        raise ElicitError(
            "saes.discover: scorer 'probe' needs at least two different sequences (or groups) per condition to hold "
            f"one out, but got {len(sides[0])} and {len(sides[1])}. Give more, or leave 'probe' out of scorers."
        )
    # Groups of both conditions first, then each side's own: every fold gets its share of both.
    fold: dict[str, int] = {}
    for members in (sides[0] & sides[1], sides[0] - sides[1], sides[1] - sides[0]):
        for position, unit in enumerate(
            sorted(members, key=lambda unit: seeds.derive_key("discovery fold", seed, unit))
        ):
            fold[unit] = position % count
    number = np.array([fold[unit] for unit in units])
    splits = [(np.flatnonzero(number != k), np.flatnonzero(number == k)) for k in range(count)]
    return [(train, held) for train, held in splits if len(set(y[held])) == 2 and len(set(y[train])) == 2]


def _build_matrix(rows: Sequence[Row], norms: Float64[np.ndarray, " d_sae"]) -> Any:
    ends = np.cumsum([0, *(len(row.feature) for row in rows)])
    features, values = (np.concatenate([getattr(row, name) for row in rows]) for name in ("feature", "value"))
    return sparse.csr_array((values * norms[features], features, ends), shape=(len(rows), len(norms)))


def _scale_columns(matrix: Any, varying: np.ndarray) -> tuple[Any, float]:
    """The columns that vary, in units of their common root mean square; not centred, so that zeros stay unstored."""
    x = matrix[:, varying].tocsr()
    unit = float(np.sqrt((x.data**2).sum() / max(1, x.shape[0] * x.shape[1]))) or 1.0
    # scikit-learn takes 32-bit indices only.
    indices, ends = x.indices.astype(np.int32), x.indptr.astype(np.int32)
    return sparse.csr_array((x.data / unit, indices, ends), shape=x.shape), unit


def _compute_variance(matrix: Any) -> Float64[np.ndarray, " d_sae"]:
    """Variance of each column, zero where it is rounding."""
    mean = np.asarray(matrix.mean(axis=0)).ravel()
    variance = np.asarray((matrix**2).mean(axis=0)).ravel() - mean**2
    return np.where(variance > 1e-12 * mean**2, variance, 0.0)
