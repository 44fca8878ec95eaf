"""Samples asked for: what a spec may say, and what amends a run, against the samples listed one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elicit.comparison.cell_state import goal_of
from elicit.comparison.spec import check_spec
from elicit.comparison.spec.cells import list_cells
from elicit.comparison.spec.samples_spec import Samples, normalize_samples, reduces_samples

ARMS = ("base", "sft", "self_consistency")
TEST = 5
SPEC: dict[str, Any] = {"models": ["cued"], "task": "addition", "arms": list(ARMS), "test": TEST}

_ASKED = st.integers(0, 4) | st.fixed_dictionaries(
    {"n": st.integers(0, 4)},
    optional={
        "problems": st.integers(1, TEST - 1) | st.none(),
        "arms": st.lists(st.sampled_from(ARMS), unique=True, min_size=1, max_size=2) | st.none(),
    },
)


def _drawn(asked: Any) -> set[tuple[str, int, int]]:
    """Every (arm, problem, sample) that is drawn."""
    found = Samples.model_validate(normalize_samples(asked))
    problems = found.limit_problems(TEST)
    return {(arm, p, i) for arm in ARMS for p in range(problems) for i in range(found.count_for_arm(arm))}


@given(_ASKED, _ASKED)
def test_an_amendment_keeps_every_sample(old: Any, new: Any) -> None:
    before, after = _drawn(old), _drawn(new)
    if before:
        assert reduces_samples(old, new) == (not before <= after)
    else:
        assert not reduces_samples(old, new)


@given(_ASKED)
def test_what_a_spec_says_survives_its_own_file(asked: Any) -> None:
    spec = check_spec({**SPEC, "samples": asked})
    again = check_spec(spec.to_dict())
    assert again == spec
    assert _drawn(spec.to_dict()["samples"]) == _drawn(asked)


@given(_ASKED, _ASKED)
def test_a_cell_is_worked_on_again_only_if_more_is_asked_of_it(old: Any, new: Any) -> None:
    before, after = (check_spec({**SPEC, "samples": asked}) for asked in (old, new))
    for cell in list_cells(before):
        same = {one[1:] for one in _drawn(old) if one[0] == cell.arm} == {
            one[1:] for one in _drawn(new) if one[0] == cell.arm
        }
        assert (goal_of(cell, before, None) == goal_of(cell, after, None)) == same


@pytest.mark.parametrize(
    ("limit", "goal"), [(None, {"n": 3, "problems": 2}), (4, {"n": 3, "problems": 2}), (2, 3), (1, 3)]
)
def test_a_limit_takes_the_first_of_the_sampled_problems(limit: int | None, goal: Any) -> None:
    spec = check_spec({**SPEC, "samples": {"n": 3, "problems": 2, "arms": ["base"]}})
    asked = {cell.arm: goal_of(cell, spec, limit)["samples"] for cell in list_cells(spec)}
    assert asked == {"base": goal, "sft": 0, "self_consistency": 0}
