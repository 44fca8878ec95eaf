"""Generated blocks in Markdown pages: tables that stand between two comments and equal what the archives give.

    <!-- table: unlock mechanisms -->
    ...
    <!-- end -->

`python -m docs.builder --write` fills them; a test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from docs.builder.catalog import method_rows
from experiments.tables import accuracy_of, interval, percent, read, table_lines

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"

_BLOCK = re.compile(
    r"(<!-- (?P<kind>table|methods|headline)(?:: (?P<rest>[^>]*))? -->\n).*?(?=<!-- end -->)", re.DOTALL
)

#: The rows of the README's table: what is compared, archive, model, arm.
HEADLINE = (
    ("16 worked demonstrations (SFT)", "unlock", "cued", "sft"),
    ("one SAE feature at the first step", "unlock", "cued", "sae_steering"),
    ("its control, a matched random feature", "unlock", "cued", "sae_steering/random_feature"),
    ("GRPO where no first token decides", "unlock", "cued-late", "grpo"),
    ("GRPO where there is no ability", "unlock", "incapable", "grpo"),
    ("one vector, Qwen2.5-Coder-0.5B", "qwen_coder", "chat", "mean_steering"),
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
    else:
        result, table = rest.split()
        yield from table_lines(RESULTS / result, table)


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
