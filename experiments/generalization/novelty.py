"""How new held-out compositions of transforms are, and what becomes of those that are new: a table in Markdown.

python experiments/generalization/novelty.py experiments/results/generalization/shifts

`transforms` holds out compositions by what they do to words of any length. On words of one length some held-out
compositions still do what a trained one does (on four letters, three places to the left are one to the right), so that
knowing the trained effects, in other words, would be enough for them. Only the others need parts put together anew.
Intervals are 95 %, over problems and seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from elicit.comparison.cell_state import count_test_problems
from elicit.comparison.problems import build_task_of_run
from elicit.comparison.run import Run, open_run
from elicit.comparison.summary.score_tables import estimate_share, tabulate_per_problem
from elicit.report.data.number_format import format_interval, format_percent
from elicit.report.data.summary_view import parse_estimate
from elicit.tasks.families.transforms import Content, compute_effect, sign_of


def done_to(content: Content) -> tuple[int, int, int]:
    """What is done to a word of this length: (places in the alphabet, direction, first place)."""
    word, composition = content
    on, sign, start = compute_effect(composition)
    return on, sign, start % len(word)


def signs(content: Content) -> tuple[str, ...]:
    """The composition as it is written."""
    return tuple(map(sign_of, content[1]))


def parts(content: Content) -> tuple[str, ...]:
    """The transforms in any order."""
    return tuple(sorted(signs(content)))


def contents(run: Run, description: Mapping[str, Any], split: Literal["train", "test"], n: int) -> dict[str, Content]:
    """Problem id -> its word and composition; the same in whatever words a model is asked."""
    task = build_task_of_run(run.folder, description, {}, where="novelty.py")
    return {problem.id: problem.content for problem in task.problems(split, n)}


def rows(run: Run, label: str) -> Iterator[str]:
    """First what is new about the held-out problems, then a row per model and arm with problem-wise accuracy."""
    for model in run.spec.models:
        spec = run.spec.for_model(model)
        shown = max(int(options.get("demonstrations", 0)) for options in spec.arms.values())
        trained = contents(run, spec.task, "train", shown).values()
        held = contents(run, spec.off_target[label], "test", count_test_problems(spec, run.limit))
        compositions, old = len(set(map(signs, trained))), _among(held.values(), trained, done_to)
        yield f"`{model}`, {label}, {len(held)} problems against {shown} demonstrations of {compositions} compositions:"
        yield f"- written as a trained one: {_share(_among(held.values(), trained, signs))}"
        yield f"- the parts of a trained one, in another order: {_share(_among(held.values(), trained, parts))}"
        yield f"- with the effect of a trained one on words of this length: {_share(old)}"
        yield f"\n| arm | effect is new ({old.count(False)}) | effect of a trained one ({old.count(True)}) | seeds |"
        yield "|---|---|---|---|"
        for arm, data in run.arms(model).items():
            table = tabulate_per_problem(data.rows[label], list(held), lambda row: float(row.correct))
            if table is not None:
                cells = [_shown(table[:, [one == which for one in old]]) for which in (False, True)]
                yield f"| {arm} | {' | '.join(cells)} | {len(table)} |"


def _among(held: Collection[Content], trained: Collection[Content], what: Callable[[Content], object]) -> list[bool]:
    known = set(map(what, trained))
    return [what(one) in known for one in held]


def _share(flags: list[bool]) -> str:
    return f"{100 * sum(flags) / len(flags):.1f} %"


def _shown(table: Any) -> str:
    share = parse_estimate(estimate_share(table))
    return f"{format_percent(share.value, 0)} % {format_interval(share, 0)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--held-out", default="unseen", help="label of the task whose compositions are held out")
    options = parser.parse_args()
    with open_run(options.folder) as run:
        print("\n".join(rows(run, options.held_out)))


if __name__ == "__main__":
    main()
