"""What the answers of a run were, right or not, at the end of training: a table in Markdown.

python experiments/generalization/answers.py experiments/results/generalization/safety_tax refusal twin

An accuracy that falls may be an ability lost, an answer cut off, or an answer in a form that is not read. On `refusal`
tasks "right" is refused and "wrong" answered, and the other way round on unmarked twins. Intervals are 95 %, clustered
by problem; the last column is the commonest answer that cannot be read.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from elicit.comparison.run import Run, open_run
from elicit.comparison.summary.score_tables import Seeds, estimate_share, list_problem_ids, tabulate_per_problem
from elicit.report.data.number_format import format_interval, format_percent
from elicit.report.data.summary_view import parse_estimate
from elicit.schema import Row

KINDS: dict[str, Callable[[Row], bool]] = {
    "right": lambda row: row.correct,
    "wrong": lambda row: not row.correct and row.answer is not None,
    "cut off": lambda row: row.answer is None and not row.finished,
    "unreadable": lambda row: row.answer is None and row.finished,
}
_SHOWN = 40
"""Characters of an answer that are shown, its last ones: there the answer should stand."""


def rows(run: Run, among: list[str]) -> Iterator[str]:
    """One row per model, arm and task (all tasks if none is named)."""
    yield "| model | arm | task | " + " | ".join(KINDS) + " | n × seeds | e.g. |"
    yield "|---" * (len(KINDS) + 5) + "|"
    for model in run.spec.models:
        spec = run.spec.for_model(model)
        for arm, data in run.arms(model).items():
            for label in [spec.task_label, *spec.off_target]:
                if data.rows[label] and (not among or label in among):
                    yield f"| `{model}` | {arm} | {label} | " + " | ".join(_cells(data.rows[label])) + " |"


def _cells(seeds: Seeds) -> Iterator[str]:
    order = list_problem_ids(seeds)
    for is_kind in KINDS.values():
        share = parse_estimate(estimate_share(tabulate_per_problem(seeds, order, partial(_as_number, is_kind))))
        yield f"{format_percent(share.value, 0)} % {format_interval(share, 0)}"
    yield f"{len(order)} × {len(seeds)}"
    odd = Counter(row.completion for one in seeds for row in one if row.answer is None and row.sample == 0)
    text = odd.most_common(1)[0][0][-_SHOWN:] if odd else ""
    yield "`" + text.replace("\n", "\\n").replace("|", "\\|").replace("`", "'") + "`" if text.strip() else "–"


def _as_number(is_kind: Callable[[Row], bool], row: Row) -> float:
    return float(is_kind(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tasks", nargs="*", help="labels of tasks; default: all")
    options = parser.parse_args()
    with open_run(options.folder) as run:
        print("\n".join(rows(run, options.tasks)))


if __name__ == "__main__":
    main()
