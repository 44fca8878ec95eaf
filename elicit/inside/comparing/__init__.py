"""Policies compared inside the model: residual shifts and KL, SAE features, attention.

from elicit.inside.comparing import compare_attention, compare_features, compare_shifts
compare_shifts(model, {"steered": policy}, prompts)
"""

from __future__ import annotations

from elicit.inside.comparing.attention import AttentionComparison, compare_attention
from elicit.inside.comparing.features import FeatureComparison, compare_features
from elicit.inside.comparing.shifts import ShiftComparison, compare_shifts

__all__ = [
    "AttentionComparison",
    "FeatureComparison",
    "ShiftComparison",
    "compare_attention",
    "compare_features",
    "compare_shifts",
]
