"""A damaged policy folder is one line that says so, or a policy; never a traceback, a hang or a flood."""

from __future__ import annotations

import pytest
import torch

from elicit.errors import ElicitError
from tests.fuzz.limited import run_limited
from tests.fuzz.policies import damaged_policy, saved_policies, tally


def _check(seeds: range) -> None:
    saved_policies()  # made here, once, and not in every fork
    counts, wrong = tally([damaged_policy(seed) for seed in seeds])
    print(f"{len(seeds)} damaged policies: {dict(counts)}")
    assert not wrong, "\n\n".join(wrong[:5])
    assert counts["refused"] > len(seeds) / 2, "otherwise the damage does no harm"


def test_fifteen_damaged_policies() -> None:
    _check(range(15))


@pytest.mark.slow
def test_six_hundred_damaged_policies() -> None:
    _check(range(1000, 1600))


def test_the_limits_of_a_case_hold() -> None:
    """What the tests here rest on: each kind of end is seen as what it is."""

    def refuse() -> None:
        raise ElicitError("no")

    def flood() -> None:
        torch.ones(1 << 33)  # 32 GB

    def spin() -> None:
        while True:
            pass

    outcomes = [run_limited(case, seconds=1) for case in (lambda: None, refuse, flood, spin)]
    assert [outcome.kind for outcome in outcomes] == ["fine", "refused", "raised", "killed"]
    assert "can't allocate memory" in outcomes[2].text
    assert outcomes[3].seconds < 10
