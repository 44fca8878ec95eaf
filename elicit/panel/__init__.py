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
    from elicit.panel.comparison import compare_side_by_side as compare_side_by_side
    from elicit.panel.static import load_assets as load_assets
    from elicit.panel.static import render_grid_fragment as render_grid_fragment
    from elicit.panel.static import write_grid_page as write_grid_page
    from elicit.panel.strengths import Grid as Grid
    from elicit.panel.strengths import compare_strengths as compare_strengths
    from elicit.panel.widget import SteeringPanel as SteeringPanel

_WHERE = {
    "Grid": "strengths",
    "SideBySide": "comparison",
    "SteeringPanel": "widget",
    "load_assets": "static",
    "compare_side_by_side": "comparison",
    "write_grid_page": "static",
    "render_grid_fragment": "static",
    "compare_strengths": "strengths",
}

__all__ = [
    "Grid",
    "SideBySide",
    "SteeringPanel",
    "load_assets",
    "compare_side_by_side",
    "write_grid_page",
    "render_grid_fragment",
    "compare_strengths",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'elicit.panel' has no attribute {name!r}")
    return getattr(importlib.import_module(f"elicit.panel.{_WHERE[name]}"), name)
