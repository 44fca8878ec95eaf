"""Comparing what two devices gave."""

from __future__ import annotations

import math
from typing import Any


def differences(expected: Any, observed: Any, tolerance: float, place: str = "") -> list[str]:
    """Where two results differ: text and whole numbers at all, other numbers by more than `tolerance` (relative)."""
    if isinstance(expected, dict) and isinstance(observed, dict):
        if expected.keys() != observed.keys():
            return [f"{place}: other keys"]
        return [
            line for key in expected for line in differences(expected[key], observed[key], tolerance, f"{place}/{key}")
        ]
    if isinstance(expected, list) and isinstance(observed, list):
        if len(expected) != len(observed):
            return [f"{place}: {len(observed)} entries, expected {len(expected)}"]
        pairs = enumerate(zip(expected, observed, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, tolerance, f"{place}[{i}]")]
    if isinstance(expected, float) and isinstance(observed, float | int):
        close = math.isclose(expected, observed, rel_tol=tolerance, abs_tol=tolerance)
        return [] if close else [f"{place}: {observed!r}, expected {expected!r}"]
    return [] if expected == observed else [f"{place}: {observed!r}, expected {expected!r}"]
