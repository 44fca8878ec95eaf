"""The steering panel: a model side by side with itself, steered. Live in a notebook, or as a page of its own.

    from elicit.panel import SteeringPanel
    panel = SteeringPanel(model, sae, task)      # Jupyter, VS Code, Colab; needs the extra `notebook`
    panel.steering                               # the edit it shows, for use elsewhere
    panel.to_html("panel.html")                  # a page that opens offline, slider included

`comparison.compare` computes what it shows and needs no notebook.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elicit.panel.comparison import SideBySide as SideBySide
    from elicit.panel.comparison import compare as compare
    from elicit.panel.static import assets as assets
    from elicit.panel.static import export as export
    from elicit.panel.static import fragment as fragment
    from elicit.panel.strengths import Grid as Grid
    from elicit.panel.strengths import grid as grid
    from elicit.panel.widget import SteeringPanel as SteeringPanel

_WHERE = {
    "Grid": "strengths",
    "SideBySide": "comparison",
    "SteeringPanel": "widget",
    "assets": "static",
    "compare": "comparison",
    "export": "static",
    "fragment": "static",
    "grid": "strengths",
}

__all__ = [
    "Grid",
    "SideBySide",
    "SteeringPanel",
    "assets",
    "compare",
    "export",
    "fragment",
    "grid",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'elicit.panel' has no attribute {name!r}")
    return getattr(importlib.import_module(f"elicit.panel.{_WHERE[name]}"), name)
