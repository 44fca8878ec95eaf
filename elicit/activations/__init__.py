"""Activations of a model: sites, caches, patching. All by native hooks on the transformers model.

`model.cache` and `model.patch` (`elicit.model.BaseModel`) are the doors.
"""

from __future__ import annotations

from elicit.activations.cache import cache_activations
from elicit.activations.cached import ActivationCache, load_cache
from elicit.activations.measures import Answers, LogitDifference, LogitMeasure
from elicit.activations.results import PatchSweep
from elicit.activations.sites import SITES, Site
from elicit.activations.sweep import sweep_patches

__all__ = [
    "SITES",
    "ActivationCache",
    "Answers",
    "LogitDifference",
    "LogitMeasure",
    "PatchSweep",
    "Site",
    "cache_activations",
    "load_cache",
    "sweep_patches",
]
