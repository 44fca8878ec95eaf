"""Names of arms, models and tasks on a page: a line may break after a slash or an underscore, never inside a word."""

from __future__ import annotations

import re

from elicit.text import escape_html

_JOINT = re.compile(r"(?<=[\w.])([/_])(?=\w)")


def render_name(text: object) -> str:
    """HTML of a name, or of a sentence with names in it."""
    return _JOINT.sub(r"\1<wbr>", keep_figures_whole(escape_html(text)))


def keep_figures_whole(markup: str) -> str:
    """Numbers stay beside their units, and intervals in one piece."""
    return markup.replace(" %", "\u00a0%").replace(", −", ",\u00a0−").replace(" [", "\u00a0[")
