"""The identity of a run: its spec and limit. Device and cache size of a process are not part of it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from elicit.comparison.run_differences import flatten_fields
from elicit.comparison.spec import Spec
from elicit.comparison.storage.manifest import MACHINE


class FieldDifference(NamedTuple):
    """A field that two specs disagree on, with its values as JSON."""

    field: str
    first: str
    second: str


def find_first_difference(
    first: Spec, first_limit: int | None, second: Spec, second_limit: int | None
) -> FieldDifference | None:
    """The first field that differs; None for one and the same run."""
    left, right = _describe_run(first, first_limit), _describe_run(second, second_limit)
    for field in dict.fromkeys([*left, *right]):
        if left.get(field) != right.get(field):
            values = [json.dumps(fields.get(field), ensure_ascii=False)[:120] for fields in (left, right)]
            return FieldDifference(field, *values)
    return None


def _describe_run(spec: Spec, limit: int | None) -> dict[str, Any]:
    """Dotted field -> value."""
    plain = {name: value for name, value in spec.to_dict().items() if name not in MACHINE}
    return dict(flatten_fields({**plain, "limit": limit}))
