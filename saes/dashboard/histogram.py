"""Logarithmic bins for activations: 32 an octave (2 % wide) from 2^-20 to 2^20, fixed before any value is seen."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

PER_OCTAVE = 32
_LOWEST, _HIGHEST = -20, 20
BINS = (_HIGHEST - _LOWEST) * PER_OCTAVE


def find_bins(values: Float[np.ndarray, " value"]) -> Int[np.ndarray, " value"]:
    """The bin of each positive value; what lies outside of the range goes into the outermost bins."""
    bins = np.floor(np.log2(values) * PER_OCTAVE).astype(np.int64) - _LOWEST * PER_OCTAVE
    inside: np.ndarray = np.clip(bins, 0, BINS - 1)
    return inside


def get_lower_edge(index: int) -> float:
    """The lower edge of a bin, which is the upper edge of the one below."""
    return float(2.0 ** (_LOWEST + index / PER_OCTAVE))
