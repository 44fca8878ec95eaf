"""The report of a run, or of an archive, as pages of a site. The run itself is only read."""

from __future__ import annotations

from pathlib import Path

from elicit.publishing.entry import Entry


def write_run_pages(run: Path, folder: Path, name: str) -> Entry:
    """Write `report.html` into a new folder, and describe the run: models, task, arms, size and its forest plot.

    Raises:
        ElicitError: no run directory or archive, or a run without a summary: it has not ended.
    """
    from elicit.comparison.archive import open_run_directory
    from elicit.report import forest_html
    from elicit.report.data.run_reader import load_report_run
    from elicit.report.data.summary_view import read_panels
    from elicit.report.html.page import render_page

    with open_run_directory(run) as opened:
        loaded = load_report_run(opened)
        page = render_page(loaded)
    panels = read_panels(loaded.summary)
    tasks = ", ".join(dict.fromkeys(panel.task for panel in panels))
    models = ", ".join(dict.fromkeys(panel.model for panel in panels))
    sizes = ", ".join(dict.fromkeys(f"{panel.n:,}" for panel in panels))
    seeds = loaded.spec.seeds
    folder.mkdir()
    (folder / "report.html").write_text(page, encoding="utf-8")
    facts = (
        f"{models} on {tasks}: {len(loaded.spec.arms)} arms, {sizes} test problems, "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'}."
    )
    return Entry(name, facts, "report.html", forest_html(loaded.summary))
