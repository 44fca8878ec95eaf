"""The report's figures of a committed result as SVG files beside it, for the README and for papers.

python experiments/figures.py experiments/results/unlock
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from elicit.comparison.archive import SUMMARY, opened, unpacked
from elicit.report import frontier, gapchart, leak, passk, svg, write_forest_svg
from elicit.report.figures import panels

DRAWN = {"gap": gapchart.figure, "frontier": frontier.figure, "passk": passk.figure, "leak": leak.figure}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with opened(folder) as run:
        write_forest_svg(run, folder / "forest.svg")
    for panel in panels(unpacked(folder / SUMMARY)):
        for name, draw in DRAWN.items():
            found = re.search(r"<svg\b.*?</svg>", draw(panel), re.DOTALL)
            if found is not None:
                named = found[0].replace("<svg ", f'<svg font-family="{svg.FONT}" ', 1)
                (folder / f"{name}-{panel.model}.svg").write_text(svg.standalone(named))


if __name__ == "__main__":
    main()
