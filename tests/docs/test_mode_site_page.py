"""The table on the page about patched sites is that of the committed results."""

from __future__ import annotations

import json
import re

from docs.builder.paths import RESULTS, ROOT
from experiments.mode_site_table import render_table


def test_the_pages_table_is_that_of_the_results():
    page = (ROOT / "docs" / "results" / "mode_site.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- mode_site -->\n(.*?)\n<!-- end mode_site -->", page, re.DOTALL)
    assert shown is not None
    assert shown[1] == render_table(RESULTS / "inside")


def test_every_effect_is_patched_less_target():
    """Of the committed numbers: no effect can leave the range that the target's own accuracy leaves."""
    for path in (RESULTS / "inside").glob("mode_site_*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        sweeps = [entry for name, entry in result.items() if name == "condition"]
        for entry in result.values():
            if isinstance(entry, dict) and "into base" in entry:
                sweeps += [entry["into base"], entry["out of arm"]]
        assert sweeps
        for sweep in sweeps:
            for patch in sweep["patches"]:
                own = sweep["target"][sweep["measures"].index(patch["measure"])]
                assert -own - 1e-9 <= patch["effect"] <= 1 - own + 1e-9
                assert patch["n"] == result["n"]
