"""Where the pages and the committed results stand."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"


def list_archives() -> list[Path]:
    """The folders of all committed results, sorted."""
    return sorted(path.parent for path in RESULTS.glob("**/rows.json.xz"))


def result_page(archive: Path) -> str:
    """The page of a committed result, within docs/."""
    return f"results/{archive.relative_to(RESULTS).as_posix()}.md"


def spec_of(archive: Path) -> Path:
    """The spec in experiments/ that a committed result was made with, by the command in its manifest."""
    command = json.loads((archive / "manifest.json").read_text(encoding="utf-8"))["command"]
    return ROOT / command[2]
