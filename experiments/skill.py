"""Elicited or taught: accuracy within and outside an organism's skill, a table in Markdown.

python experiments/skill.py experiments/results/unlock

The text of `prose` holds a stated share of the number facts, so a problem is within the skill exactly if its worked
solution needs no other fact. An arm that brings out what is there gains within the skill; what it gains outside, beyond
lucky guesses, it was taught. Intervals are 95 %, clustered by problem.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elicit.comparison.cell_state import load_test_problems
from elicit.comparison.run import Run, open_run
from elicit.comparison.spec import build_task
from elicit.comparison.summary.score_tables import estimate_share, tabulate_per_problem
from elicit.organisms.author import Author
from elicit.organisms.recipes import ORGANISMS
from elicit.report.data.number_format import format_interval, format_percent
from elicit.report.data.summary_view import parse_estimate
from elicit.tasks.generated.task import GeneratedTask
from elicit.tasks.prompts import AskedTask


def find_author(name: str) -> Author | None:
    """The author of a model's text; None for a model that is no organism of this kind."""
    config, _ = ORGANISMS.get(Path(name).name, ORGANISMS.get(Path(name).name.rpartition("-s")[0], (None, 0)))
    return None if config is None else config.author


def list_skill_rows(run: Run) -> Iterator[str]:
    """A table for each model that has an author, a row for each arm."""
    for model, name in run.spec.models.items():
        author, spec = find_author(name), run.spec.for_model(model)
        task = build_task(spec.task, where=model)
        if author is None or not isinstance(task, AskedTask) or not isinstance(task.inner, GeneratedTask):
            continue
        problems = load_test_problems(task, spec, run.limit)
        within = {problem.id: author.knows_all(task.inner, problem.content.problem) for problem in problems}
        count = sum(within.values())
        facts = f"`{model}` ({100 * author.known:.0f} % of the facts)"
        yield f"\n| {facts} | within the skill (n = {count}) | outside (n = {len(within) - count}) | seeds |"
        yield "|---|---|---|---|"
        for arm, data in run.arms(model).items():
            table = tabulate_per_problem(data.rows[spec.task_label], list(within), lambda row: float(row.correct))
            if table is not None:
                cells = [
                    _format_share(table[:, [side == where for side in within.values()]]) for where in (True, False)
                ]
                yield f"| {arm} | {' | '.join(cells)} | {len(table)} |"


def _format_share(table: Any) -> str:
    if not table.size:
        return "–"
    share = parse_estimate(estimate_share(table))
    return f"{format_percent(share.value, 0)} % {format_interval(share, 0)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    with open_run(parser.parse_args().folder) as run:
        print("\n".join(list_skill_rows(run)).strip())


if __name__ == "__main__":
    main()
