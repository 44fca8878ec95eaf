"""experiments/levels.py: the longest list of arms told apart, against brute force; its figures on a committed run."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from docs.builder.paths import RESULTS
from elicit.comparison.run import open_run
from experiments.levels import find_levels, list_level_rows


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_list_is_the_one_that_brute_force_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    arms = tuple(f"arm{i}" for i in range(9))
    differ = {frozenset(pair): bool(random.random() < 0.6) for pair in itertools.combinations(arms, 2)}
    found = find_levels(differ, arms)
    lists = (chosen for size in range(1, 10) for chosen in itertools.combinations(arms, size))
    apart = [chosen for chosen in lists if all(differ[frozenset(pair)] for pair in itertools.combinations(chosen, 2))]
    assert found in apart
    assert len(found) == max(map(len, apart))


def test_levels_of_a_run_have_its_figures() -> None:
    with open_run(RESULTS / "quickstart") as run:
        lines = list(list_level_rows(run))
        summary = run.summary["models"]["cued"]["tasks"]["addition"]["arms"]
    start = next(i for i, line in enumerate(lines) if "`cued`" in line)
    rows = [line.strip("| ").split(" | ") for line in itertools.takewhile(lambda line: "|" in line, lines[start + 2 :])]
    assert len(rows) >= 2
    for arm, share, seeds, near in rows:
        figures = summary[arm]
        assert share.startswith(f"{100 * figures['accuracy']:.0f} % [")
        assert int(seeds) == figures["seeds"]
        assert not {other for other, *_ in rows} & set(near.split(", ")), "levels differ from one another"
    levels, arms, pairs = map(int, re.findall(r"(\d+) levels of (\d+) arms; (\d+) pairs", "".join(lines[start:]))[0])
    assert levels == len(rows)
    assert pairs == arms * (arms - 1) / 2
