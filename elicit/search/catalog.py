"""The table of searches, for reading them back from a policy's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elicit import documents
from elicit.errors import unknown
from elicit.search.best import Likeliest, Verified
from elicit.search.budget import BudgetForcing
from elicit.search.core import Search
from elicit.search.cot import CotDecoding
from elicit.search.majority import Majority
from elicit.search.power import PowerSampling

SEARCHES: dict[str, type] = {
    search.kind: search for search in (BudgetForcing, CotDecoding, Likeliest, Majority, PowerSampling, Verified)
}


def load(data: Mapping[str, Any], *, where: str = "search") -> Search:
    """A search from its fields, `kind` among them.

    Raises:
        ElicitError: an unknown kind, or a field that is missing, unknown or of another type; it begins with `where`.
    """
    fields = dict(data)
    documents.known_field(fields, "kind", where)
    kind = fields.pop("kind")
    if not isinstance(kind, str) or kind not in SEARCHES:
        raise unknown("search", kind, SEARCHES, where=where)
    documents.as_record(fields, SEARCHES[kind], where)
    search: Search = SEARCHES[kind](**fields)  # numbers as they were written: 1 is not 1.0 in a hash
    return search
