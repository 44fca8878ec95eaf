"""Levels: how many arms of a comparison are told apart, a table in Markdown for each model.

python experiments/levels.py experiments/results/unlock

1. All pairs of arms that stand for themselves (no ceilings, no controls, none that consults the verifier) are compared,
   paired over the test problems.
2. Holm's correction over all pairs of the model; two arms differ at 5 %.
3. The levels are the longest list of arms that all differ from one another. The other arms stand beside the levels that
   they are not told apart from.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from elicit import statistics
from elicit.comparison.run import Run, open_run
from elicit.comparison.summary.contrasts import compare_paired
from elicit.comparison.summary.score_tables import problem_order, tabulate_scores
from elicit.method import Traits
from elicit.report.data.number_format import format_interval, format_percent
from elicit.report.data.summary_view import parse_estimate

LEVEL = 0.05


def find_levels(differ: dict[frozenset[str], bool], arms: tuple[str, ...]) -> tuple[str, ...]:
    """The longest list of arms, in the given order, every two of which differ; the first of several."""

    @functools.cache
    def longest(candidates: tuple[str, ...]) -> tuple[str, ...]:
        best: tuple[str, ...] = ()
        for i, arm in enumerate(candidates):
            rest = tuple(other for other in candidates[i + 1 :] if differ[frozenset((arm, other))])
            if 1 + len(rest) > len(best):
                best = max(best, (arm, *longest(rest)), key=len)
        return best

    return longest(arms)


def list_level_rows(run: Run) -> Iterator[str]:
    """A table for each model, a row for each level."""
    for model in run.spec.models:
        spec = run.spec.for_model(model)
        methods, data = spec.build_methods(), run.arms(model)
        order = problem_order(data, spec.task_label)
        scores: dict[str, np.ndarray] = {}
        for arm, method in methods.items():
            table = tabulate_scores(data[arm].rows[spec.task_label], order)
            if table is not None and _stands_for_itself(arm, method.traits):
                scores[arm] = table
        arms = tuple(sorted(scores, key=lambda arm: float(np.nanmean(scores[arm]))))
        pairs = list(itertools.combinations(arms, 2))
        found = [
            compare_paired(scores[a], scores[b], methods[a], reference_trained=methods[b].traits.trained)
            for a, b in pairs
        ]
        known = [1.0 if entry is None or entry["p"] is None else entry["p"] for entry in found]
        corrected = statistics.holm_correction(known)
        differ = {frozenset(pair): p < LEVEL for pair, p in zip(pairs, corrected, strict=True)}
        levels = find_levels(differ, arms)
        yield f"\n| `{model}`: level | right answers | seeds | not told apart from it |"
        yield "|---|---|---|---|"
        for arm in levels:
            estimate = parse_estimate(statistics.estimate_accuracy(scores[arm]).to_json())
            near = [other for other in arms if other != arm and not differ[frozenset((arm, other))]]
            yield (
                f"| {arm} | {format_percent(estimate.value, 0)} % {format_interval(estimate, 0)} | "
                f"{len(scores[arm])} | {', '.join(near) or '–'} |"
            )
        yield f"\n{len(levels)} levels of {len(arms)} arms; {len(pairs)} pairs, n = {len(order)}."


def _stands_for_itself(arm: str, traits: Traits) -> bool:
    """No ceiling, and no control: those are named under the arm that they control."""
    return traits.ceiling is None and not (traits.is_control or traits.verifier or "/" in arm)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    with open_run(parser.parse_args().folder) as run:
        print("\n".join(list_level_rows(run)).strip())


if __name__ == "__main__":
    main()
