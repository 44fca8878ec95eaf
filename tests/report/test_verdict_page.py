"""The wording of a verdict, on one page of synthetic runs; every other test of the verdict checks facts.

After a change of words, write the page anew and read its diff:

    python -m tests.report.verdict_runs
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator
from enum import Enum
from typing import Any

from elicit.report.verdict import arm_facts, caution_facts, facts, judge_summary, kinds, write_verdict
from tests.report.synthetic import big_summary
from tests.report.verdict_runs import PAGE, list_summaries, write_page


def test_the_page_says_what_was_reviewed() -> None:
    assert write_page() == PAGE.read_text(encoding="utf-8"), "run `python -m tests.report.verdict_runs`, read the diff"


def test_the_page_holds_every_kind_of_fact() -> None:
    """No kind of sentence escapes review: every class of facts, every member of every kind, every flag both ways."""
    seen = {part for data in list_summaries().values() for v in judge_summary(data) for part in _parts(v)}
    modules = (arm_facts, caution_facts, facts, kinds)
    classes = {c for module in modules for _, c in inspect.getmembers(module, inspect.isclass)}
    expected: set[Any] = {
        c for c in classes if dataclasses.is_dataclass(c) and c.__module__.startswith(facts.__package__)
    }
    expected |= {member for c in classes if issubclass(c, Enum) for member in c}
    for owner in expected.copy():
        if inspect.isclass(owner) and dataclasses.is_dataclass(owner):
            flags = [name for name, hint in typing.get_type_hints(owner).items() if hint is bool]
            expected |= {(owner, name, value) for name in flags for value in (True, False)}
    assert expected - seen == set()


def test_the_words_on_forty_arms_are_few() -> None:
    text = write_verdict(judge_summary(big_summary(1))[0])
    assert max(len(family.sentences) for family in text.families) <= 9
    assert sum(len(family.sentences) for family in text.families) <= 40


def _parts(value: Any) -> Iterator[Any]:
    """Classes, members of kinds and flags in a verdict."""
    if isinstance(value, Enum):
        yield value
    elif isinstance(value, tuple):
        for entry in value:
            yield from _parts(entry)
    elif dataclasses.is_dataclass(value):
        yield type(value)
        for field in dataclasses.fields(value):
            entry = getattr(value, field.name)
            if isinstance(entry, bool):
                yield type(value), field.name, entry
            yield from _parts(entry)
