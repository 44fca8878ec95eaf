"""Signs of going in circles, against counts by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elicit.statistics import compressed, repetition


def test_by_hand() -> None:
    assert repetition("a b c d a b c d a b c d") == pytest.approx(1 - 4 / 9)
    assert repetition("one two three four five") == 0
    assert repetition("too short") is None
    assert repetition("1+2=3", n=5) == 0
    assert compressed("x" * 63) is None
    assert compressed("ab" * 500) < 0.05
    assert compressed("x" * 64 + "\ud800") is not None


@given(st.text(max_size=200), st.integers(1, 6))
def test_bounds_and_doubling(text: str, n: int) -> None:
    found = repetition(text, n)
    assert found is None or 0 <= found < 1
    twice = repetition(f"{text} {text}", n)
    if found is not None:
        assert twice is not None
        assert twice >= found
