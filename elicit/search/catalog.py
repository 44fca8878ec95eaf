"""The table of searches, for reading them back from a policy's file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

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


def plain(search: Search) -> dict[str, Any]:
    """A search as plain data."""
    return {"kind": search.kind, **dataclasses.asdict(search)}  # type: ignore[call-overload]


def load(data: Mapping[str, Any]) -> Search:
    """Read what `plain` wrote. Raises ElicitError for an unknown kind."""
    fields = dict(data)
    kind = fields.pop("kind")
    if kind not in SEARCHES:
        raise unknown("search", kind, SEARCHES)
    search: Search = SEARCHES[kind](**fields)
    return search
