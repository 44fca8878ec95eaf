"""Table of searches by kind, for loading them from a policy's file."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from elicit import documents
from elicit.errors import unknown_name_error
from elicit.search.core import Search

#: kind -> (module, class)
SEARCHES: dict[str, tuple[str, str]] = {
    "budget_forcing": ("elicit.methods.decoding.budget_forcing", "BudgetForcingSearch"),
    "cot_decoding": ("elicit.methods.decoding.cot_decoding", "CotDecodingSearch"),
    "forbid_first": ("elicit.methods.baselines.forbid_first", "ForbidFirstSearch"),
    "likeliest": ("elicit.methods.decoding.best_of_n", "LikeliestBestOfN"),
    "majority": ("elicit.methods.decoding.self_consistency", "MajorityVote"),
    "power_sampling": ("elicit.methods.decoding.power_sampling", "PowerSamplingSearch"),
    "verified": ("elicit.methods.decoding.best_of_n", "VerifiedBestOfN"),
}


def load_search_class(kind: str) -> type[Search]:
    """The class of a built-in kind of search."""
    module, class_name = SEARCHES[kind]
    search_class: type[Search] = getattr(importlib.import_module(module), class_name)
    return search_class


def load_search(data: Mapping[str, Any], *, where: str = "search") -> Search:
    """Build a search from its fields, including `kind`.

    Raises:
        ElicitError: the kind is unknown, or a field is missing, unknown or of the wrong type; begins with `where`.
    """
    fields = dict(data)
    documents.require_field(fields, "kind", where)
    kind = fields.pop("kind")
    if not isinstance(kind, str) or kind not in SEARCHES:
        raise unknown_name_error("search", kind, SEARCHES, where=where)
    search_class = load_search_class(kind)
    documents.as_record(fields, search_class, where)
    return search_class(**fields)  # numbers are not converted: 1 and 1.0 hash differently
