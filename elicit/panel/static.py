"""Static pages: comparisons computed beforehand, drawn by the panel's own script, without a network.

A page needs the style and the script once (`assets`) and any number of fragments. Nothing in a fragment is markup but
its own wrapper: texts travel as JSON in which `<`, `>` and `&` are escaped, and the script writes them as text nodes.
Torch-free: a report needs no model to show what a run has kept.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from unicodedata import category

from elicit.runs import writing_to
from elicit.text import script_json


class DrawableGrid(Protocol):
    """Anything that a page can draw, such as `elicit.panel.Grid`."""

    def to_json(self) -> Mapping[str, Any]: ...


class Assets(NamedTuple):
    """Style and script that a page with fragments holds once: `<style>style</style>` before, `<script>script</script>`
    after."""

    style: str
    script: str

    @property
    def script_hash(self) -> str:
        """The script's source expression for a Content-Security-Policy."""
        return "'sha256-" + base64.b64encode(hashlib.sha256(self.script.encode()).digest()).decode() + "'"


def read_asset_files(*names: str) -> str:
    """The text of files of this package, one after another."""
    folder = resources.files("elicit.panel")
    return "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


def load_assets() -> Assets:
    """Style and script of the fragments. Running the script again draws only fragments that are new."""
    return Assets(read_asset_files("panel.css"), f"(() => {{\n{read_asset_files('view.js', 'static.js')}\n}})();")


def render_grid_fragment(grid: DrawableGrid | Mapping[str, Any]) -> str:
    """HTML of one grid, to stand in a page that has the assets.

    Args:
        grid: a grid, or the plain data that its `to_json` makes.
    """
    data = grid if isinstance(grid, Mapping) else grid.to_json()
    return (
        '<div class="elicit-panel" data-elicit-grid><noscript>This view is drawn by a script.</noscript>'
        f'<script type="application/json">{script_json(data)}</script></div>'
    )


def render_grid_page(
    grid: DrawableGrid | Mapping[str, Any], *, title: str = "Steering, side by side", note: str = ""
) -> str:
    """A whole page that opens offline. `title` and `note` are text, not markup."""
    loaded = load_assets()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {loaded.script_hash}; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}; base-uri 'none'; form-action 'none'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{_escape_visible(title)}</title><link rel="icon" '
        f'href="data:,"><style>{_PAGE}{loaded.style}</style></head>'
        f"<body><main><h1>{_escape_visible(title)}</h1>{f'<p>{_escape_visible(note)}</p>' if note else ''}"
        f"{render_grid_fragment(grid)}</main>"
        f"<script>{loaded.script}</script></body></html>\n"
    )


def write_grid_page(
    grid: DrawableGrid | Mapping[str, Any], path: str | Path, *, title: str = "Steering, side by side", note: str = ""
) -> Path:
    """Write `page` to a file and return its path.

    Raises:
        ElicitError: if the file cannot be written.
    """
    with writing_to(Path(path)):
        Path(path).write_text(render_grid_page(grid, title=title, note=note), encoding="utf-8")
    return Path(path)


def _escape_visible(text: str) -> str:
    """Text in HTML. Characters that are not seen, reorder others or cannot be encoded are written out, as <U+202E>."""
    return html.escape("".join(f"<U+{ord(c):04X}>" if category(c) in _UNSEEN else c for c in text))


#: Unicode's control, format, surrogate, line and paragraph separator characters.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


_PAGE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;background:light-dark(#fff,#14171b);color:light-dark(#1c2024,#e3e6ea);"
    'font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Liberation Sans",sans-serif}'
    "main{max-width:1180px;margin:0 auto;padding:2rem 1.5rem 4rem}"
    "main>h1{font-size:1.5rem;line-height:1.2;margin:0 0 .6rem}main>p{max-width:80ch;margin:.4rem 0 1rem}"
)
