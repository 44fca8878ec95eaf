"""Answering by searching: decoders that look at more than one path before they answer."""

from elicit.search.catalog import load
from elicit.search.core import Ask, Found, Search, found, sampled
from elicit.search.majority import Majority

__all__ = ["Ask", "Found", "Majority", "Search", "found", "load", "sampled"]
