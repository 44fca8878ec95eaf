"""Search decoders, which generate more than one path before they answer.

Each search stands in the file of its method, under `elicit.methods.decoding`, and is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from elicit.search.catalog import SEARCHES, load_search, load_search_class
from elicit.search.core import Query, Search, SearchResult, sample_completions, to_result

if TYPE_CHECKING:
    from elicit.search.custom import custom_generate

__all__ = [
    "SEARCHES",
    "Query",
    "Search",
    "SearchResult",
    "custom_generate",
    "load_search",
    "load_search_class",
    "sample_completions",
    "to_result",
]


def __getattr__(name: str) -> Any:
    """`custom_generate`, which imports torch, and the built-in searches by the names of their classes."""
    if name == "custom_generate":
        return importlib.import_module("elicit.search.custom").custom_generate
    for kind, (_, class_name) in SEARCHES.items():
        if class_name == name:
            return load_search_class(kind)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
