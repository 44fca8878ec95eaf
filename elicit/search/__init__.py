"""Answering by searching: decoders that look at more than one path before they answer."""

from elicit.search.best import Likeliest, Verified
from elicit.search.budget import BudgetForcing
from elicit.search.catalog import load
from elicit.search.core import Ask, Found, Search, found, sampled
from elicit.search.cot import CotDecoding
from elicit.search.custom import custom_generate
from elicit.search.majority import Majority
from elicit.search.power import PowerSampling

__all__ = [
    "Ask",
    "BudgetForcing",
    "CotDecoding",
    "Found",
    "Likeliest",
    "Majority",
    "PowerSampling",
    "Search",
    "Verified",
    "custom_generate",
    "found",
    "load",
    "sampled",
]
