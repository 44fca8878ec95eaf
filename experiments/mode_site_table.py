"""The table of `mode_site.py`'s results, as Markdown.

python experiments/mode_site_table.py experiments/results/inside
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HEAD = (
    "| organism | source | own accuracy, base | into base: site | patched | shuffled | mean "
    "| base into it: same site | shuffled |\n|---|---|---|---|---|---|---|---|---|"
)


def render_table(folder: Path) -> str:
    """One row for every organism and source, at the layer where the patch into the base brings most at offset 0."""
    lines = [HEAD]
    for path in sorted(folder.glob("mode_site_*.json")):
        result = json.loads(path.read_text())
        for source, into, out in _list_sources(result):
            lines.append(_render_row(result["model"], source, into, out))
    return "\n".join(lines)


def _list_sources(result: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name, entry in result.items():
        if name == "condition":
            yield "eliciting prompt", entry, None
        elif isinstance(entry, dict) and "into base" in entry:
            yield f"`{name}`", entry["into base"], entry["out of arm"]


def _render_row(model: str, source: str, into: Mapping[str, Any], out: Mapping[str, Any] | None) -> str:
    effects = _select(into)
    layer = max(effects["patched"], key=lambda number: effects["patched"][number]["effect"])
    cells = [_render_effect(effects[kind][layer]) for kind in ("patched", "shuffled", "mean")]
    behind = (
        ["–", "–"] if out is None else [_render_effect(_select(out)[kind][layer]) for kind in ("patched", "shuffled")]
    )
    own = f"{into['source'][0]:.2f}, {into['target'][0]:.2f}"
    return f"| `{model}` | {source} | {own} | `resid_post.{layer}` | {' | '.join([*cells, *behind])} |"


def _select(sweep: Mapping[str, Any]) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Kind -> layer -> the effect on accuracy at the last prompt token."""
    chosen: dict[str, dict[int, Mapping[str, Any]]] = {}
    for patch in sweep["patches"]:
        if patch["measure"] == "accuracy" and patch["offset"] == 0:
            chosen.setdefault(patch["kind"], {})[patch["layer"]] = patch
    return chosen


def _render_effect(patch: Mapping[str, Any]) -> str:
    low, high = patch["low"], patch["high"]
    return f"{patch['effect']:+.2f}" + ("" if low is None else f" [{low:+.2f}, {high:+.2f}]")


if __name__ == "__main__":
    print(render_table(Path(sys.argv[1])))
