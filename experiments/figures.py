"""The report's figures of a committed result as SVG files beside it, for the documentation and for papers.

python experiments/figures.py experiments/results/unlock
python experiments/figures.py experiments/results/generalization/data_arms trajectories
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from elicit.comparison.archive import SUMMARY, open_run_directory, read_compressed_json
from elicit.report import write_forest_svg
from elicit.report.charts import budget_curves, frontier, gap, ladder, leak, pass_at_k, safety_tax, svg
from elicit.report.data.summary_view import read_panels
from elicit.report.trajectories import section

DRAWN = {
    "gap": gap.render_gap_chart,
    "budgets": budget_curves.render_budget_curves,
    "frontier": frontier.render_frontier,
    "passk": pass_at_k.render_pass_at_k,
    "leak": leak.render_leak_chart,
    "trajectories": section.render_trajectories,
    "asymmetry": safety_tax.render_safety_tax,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "names", nargs="*", choices=[[], "forest", "ladder", *DRAWN], help="default: all that the run has"
    )
    options = parser.parse_args()
    folder, names = options.folder, options.names or ["forest", "ladder", *DRAWN]
    if "forest" in names:
        with open_run_directory(folder) as run:
            write_forest_svg(run, folder / "forest.svg")
    found = read_panels(read_compressed_json(folder / SUMMARY))
    for name in [name for name in names if name in DRAWN]:
        for panel in found:
            keep(folder / f"{name}-{panel.model}.svg", DRAWN[name](panel))
    if "ladder" in names:
        for name, rungs in ladder.collect_ladders(found).items():
            keep(folder / f"ladder-{re.sub('[^A-Za-z0-9_.]+', '-', name)}.svg", ladder.render_ladder(name, rungs))


def keep(path: Path, drawn: str) -> None:
    """The first picture in some markup as a file; none if there is none."""
    found = re.search(r"<svg\b.*?</svg>", drawn, re.DOTALL)
    if found is not None:
        named = found[0].replace("<svg ", f'<svg font-family="{svg.FONT}" ', 1)
        # What the report's tooltips read, and a file has no use for.
        path.write_text(svg.to_standalone_file(re.sub(r' data-[a-z-]+="[^"]*"', "", named)))


if __name__ == "__main__":
    main()
