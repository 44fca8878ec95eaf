"""Which choices lie at the edge of what was tried."""

from __future__ import annotations

from typing import Any

import pytest

from elicit.fitting.selection import find_best, find_grid_edges

_BOUNDS = {"strength": (0.0, None), "layer": (0.0, 3.0)}


def _trial(strength: float, layer: int, accuracy: float, **more: Any) -> dict[str, Any]:
    return {"strength": strength, "layer": layer, "accuracy": accuracy, **more}


@pytest.mark.parametrize(
    ("winner", "said"),
    [
        ((1.0, 1), []),
        ((2.0, 1), ["strength 2 is the largest of those tried (0.5 to 2)"]),
        ((0.5, 1), ["strength 0.5 is the smallest of those tried (0.5 to 2)"]),
        ((1.0, 0), []),  # there is no layer below 0
        ((1.0, 2), ["layer 2 is the largest of those tried (0 to 2)"]),
    ],
)
def test_an_edge_is_named_unless_nothing_lies_beyond_it(winner: tuple[float, int], said: list[str]) -> None:
    grid = [(strength, layer) for layer in (0, 1, 2) for strength in (0.5, 1.0, 2.0)]
    trials = [_trial(*point, float(point == winner)) for point in grid]
    assert find_grid_edges(trials, find_best(trials), _BOUNDS) == said


def test_strengths_of_another_unit_are_another_grid() -> None:
    trials = [_trial(s, 0, 0.1, mode="add") for s in (1.0, 8.0)] + [
        _trial(s, 0, float(s == 2.0), mode="clamp") for s in (1.0, 2.0, 3.0)
    ]
    assert find_grid_edges(trials, find_best(trials), _BOUNDS) == []
    assert find_grid_edges([_trial(1.0, 0, 1.0)], 0, _BOUNDS) == []
