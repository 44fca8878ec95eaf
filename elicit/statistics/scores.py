"""Score arrays, and the checks every statistic makes before it counts.

Rows are training seeds, columns are problems, entries are 0/1 (or fractions of samples that were right), NaN is
missing. Arms of one comparison share their columns; a deterministic arm has one row.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

Scores = Float[np.ndarray, "seeds problems"]


def validate_scores(scores: ArrayLike, name: str = "scores") -> Scores:
    """`scores` as floats, without the rows that hold nothing.

    Raises:
        ValueError: not two-dimensional, nothing in it but NaN, or an entry outside [0, 1].
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape (seeds, problems), but has shape {array.shape}")
    array = array[~np.isnan(array).all(axis=1)]
    if array.size == 0:
        raise ValueError(f"{name} holds no score: it is empty or every entry is NaN")
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    if low < -1e-9 or high > 1 + 1e-9:
        raise ValueError(f"{name} must lie in [0, 1], but runs from {low:g} to {high:g}")
    return array


def select_shared_problems(**arms: ArrayLike) -> list[Scores]:
    """The arms, reduced to the problems that every row of every arm has a score for.

    Raises:
        ValueError: as `checked`; also if the arms differ in their number of columns, or no problem is in all of them.
    """
    arrays = [validate_scores(scores, name) for name, scores in arms.items()]
    widths = {name: array.shape[1] for name, array in zip(arms, arrays, strict=True)}
    if len(set(widths.values())) > 1:
        raise ValueError(f"arms must share their problems (columns), but have {widths}")
    complete = ~np.isnan(np.concatenate(arrays)).any(axis=0)
    if not complete.any():
        raise ValueError(f"no problem has a score in every row of {', '.join(arms)}")
    return [array[:, complete] for array in arrays]


def is_binary(scores: Scores) -> bool:
    """Every entry is exactly 0 or 1."""
    return bool(np.isin(scores, (0.0, 1.0)).all())
