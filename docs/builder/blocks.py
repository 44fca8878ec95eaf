"""Generated blocks in Markdown pages: tables that stand between two comments and equal what the archives give.

    <!-- table: unlock mechanisms -->
    ...
    <!-- end -->

Other kinds are `methods` and `headline` (the README's tables) and `diff` (the output of `elicit diff` on two archives).

`python -m docs.builder --write` fills them; a test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from docs.builder.catalog import method_rows
from docs.builder.paths import RESULTS, ROOT
from elicit.errors import one_line
from experiments.tables import accuracy_of, interval, percent, read, table_lines

_BLOCK = re.compile(
    r"(<!-- (?P<kind>table|methods|headline|diff)(?:: (?P<rest>[^>]*))? -->\n).*?(?=<!-- end -->)", re.DOTALL
)

#: Lines and characters of a sample of `elicit diff`.
_LINES, _WIDTH = 20, 116
#: The rows of the README's table: what is compared, archive, model, arm.
HEADLINE = (
    ("best of 6 prompts", "unlock", "prose", "best_prompt"),
    ("SFT, 16 solutions", "unlock", "prose", "sft"),
    ("GRPO", "unlock", "prose", "grpo"),
    ("one SAE feature", "unlock", "prose-s1", "sae_steering"),
    ("control, searched alike", "unlock", "prose-s1", "sae_steering/searched_random_feature"),
    ("GRPO without ability", "unlock", "prose-incapable", "grpo"),
    ("one vector, Qwen2.5 0.5B", "qwen_coder", "chat", "mean_steering"),
)


def pages() -> list[Path]:
    """The hand-written pages and the README."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def fill_blocks(text: str) -> str:
    """A page with its generated blocks made anew."""

    def replace(match: re.Match[str]) -> str:
        return match[1] + "\n".join(_block_lines(match["kind"], match["rest"] or "")) + "\n"

    return _BLOCK.sub(replace, text)


def _block_lines(kind: str, rest: str) -> Iterator[str]:
    if kind == "methods":
        yield from method_rows()
    elif kind == "headline":
        yield from headline_rows()
    elif kind == "diff":
        yield from diff_lines(*rest.split())
    else:
        result, table = rest.split()
        yield from table_lines(RESULTS / result, table)


def diff_lines(first: str, second: str) -> Iterator[str]:
    """What `elicit diff` prints for two committed results, as a sample; its end is cut."""
    from elicit.cli.diff import format_difference
    from elicit.comparison.run import open_run
    from elicit.comparison.run_differences import compare_runs

    with open_run(RESULTS / first) as left, open_run(RESULTS / second) as right:
        lines = format_difference(compare_runs(left, right))
    yield "```text"
    yield f"$ elicit diff experiments/results/{first} experiments/results/{second}"
    yield from (one_line(line, _WIDTH) if len(line) > _WIDTH else line for line in lines[:_LINES])
    yield "  ..."
    yield "```"


def headline_rows() -> Iterator[str]:
    """The README's rows: one arm of one committed result each, with a link to the result's page."""
    yield "| what was done | to | accuracy | gap recovered | n × seeds |"
    yield "|---|---|---|---|---|"
    for what, result, model, arm in HEADLINE:
        figures = next(iter(read(RESULTS / result)["models"][model]["tasks"].values()))["arms"][arm]
        gap = interval(figures["gap_recovered"], figures["gap_ci"], 1, "z.2f")
        yield (
            f"| [{what}](docs/results/{result}.md) | `{model}` | {percent(accuracy_of(figures))} | {gap} | "
            f"{figures['n']} × {figures['seeds']} |"
        )
