"""Signs of going in circles, against counts by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elicit.statistics import compression_ratio, repetition_rate


def test_by_hand() -> None:
    assert repetition_rate("a b c d a b c d a b c d") == pytest.approx(1 - 4 / 9)
    assert repetition_rate("one two three four five") == 0
    assert repetition_rate("too short") is None
    assert repetition_rate("1+2=3", n=5) == 0
    assert compression_ratio("x" * 63) is None
    assert compression_ratio("ab" * 500) < 0.05
    assert compression_ratio("x" * 64 + "\ud800") is not None


@given(st.text(max_size=200), st.integers(1, 6))
def test_bounds_and_doubling(text: str, n: int) -> None:
    found = repetition_rate(text, n)
    assert found is None or 0 <= found < 1
    twice = repetition_rate(f"{text} {text}", n)
    if found is not None:
        assert twice is not None
        assert twice >= found
