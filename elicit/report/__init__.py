"""Tables, figures and the one-file report. Reads run directories only, and imports no torch and no plotting library.

from elicit.report import terminal, write_report
write_report(run)          # run/report.html
terminal.show(summary)     # the table on stdout
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["forest_html", "trajectories_html", "write_forest_svg", "write_report"]


def write_report(run: Path) -> Path:
    """Write `report.html` into a run directory, whole or not at all, from its files alone, and return its path.

    Raises:
        ElicitError: not a run directory, no `summary.json` in it, or a folder that cannot be written.
    """
    from elicit.report.data.run_reader import load_report_run
    from elicit.report.html.page import render_page
    from elicit.runs import write_text

    target = run / "report.html"
    write_text(target, render_page(load_report_run(run)))
    return target


def write_forest_svg(run: Path, target: Path) -> Path:
    """Write the forest plot of a run as an SVG file of its own, and return its path.

    Raises:
        ElicitError: no `summary.json` in `run`, or a target that cannot be written.
    """
    from elicit.comparison.storage.typed_files import read_summary
    from elicit.report.charts.forest import render_forest_file
    from elicit.runs import write_text

    write_text(target, render_forest_file(read_summary(run)))
    return target


def forest_html(summary: Mapping[str, Any]) -> str:
    """The forest plot as an HTML fragment, for notebooks: it takes the text colour of its surroundings."""
    from elicit.report.charts.forest import render_forest_fragment

    return render_forest_fragment(summary)


def trajectories_html(summary: Mapping[str, Any]) -> str:
    """The section "Over training" as an HTML fragment, for notebooks; empty where no arm kept checkpoints."""
    from elicit.report.trajectories.section import render_trajectories_fragment

    return render_trajectories_fragment(summary)
