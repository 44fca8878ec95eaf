"""Table of searches by kind, for loading them from a policy's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elicit import documents
from elicit.errors import unknown_name_error
from elicit.search.best import LikeliestBestOfN, VerifiedBestOfN
from elicit.search.budget import BudgetForcingSearch
from elicit.search.core import Search
from elicit.search.cot import CotDecodingSearch
from elicit.search.majority import MajorityVote
from elicit.search.power import PowerSamplingSearch

SEARCHES: dict[str, type] = {
    search.kind: search
    for search in (
        BudgetForcingSearch,
        CotDecodingSearch,
        LikeliestBestOfN,
        MajorityVote,
        PowerSamplingSearch,
        VerifiedBestOfN,
    )
}


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
    documents.as_record(fields, SEARCHES[kind], where)
    search: Search = SEARCHES[kind](**fields)  # numbers are not converted: 1 and 1.0 hash differently
    return search
