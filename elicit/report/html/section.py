"""The parts of the report's page: the interface of a section, and the form most sections have.

A section of your own is an object with these members, in a package that offers it by an entry point:

    # my_package/tokens.py
    from elicit.text import escape_html

    class TokenSection:
        id = "tokens"
        title = "Tokens an answer"
        short_title = "Tokens"

        def render(self, run, panels):
            rows = "".join(
                f"<tr><td>{escape_html(arm.name)}<td>{arm.read_estimate('tokens_per_problem').value}"
                for panel in panels for arm in panel.arms
            )
            return f"<table>{rows}</table>" if rows else None

    [project.entry-points."elicit.report_sections"]
    tokens = "my_package.tokens:TokenSection"

`run` is everything in the run directory (`report.data.run_reader.LoadedRun`), `panels` the summary of each model. The
page forbids scripts and loads nothing; text that a model wrote goes through `escape_html`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from elicit.report.data.run_reader import LoadedRun
from elicit.report.data.summary_view import ModelPanel
from elicit.text import escape_html

#: From so many arms on (all models together), every model but the first is folded.
_FOLD_FROM_ARMS = 60


class Section(Protocol):
    """One section of the page."""

    @property
    def id(self) -> str:
        """The target of links, `#id`: lower-case letters, digits and `-`."""
        ...

    @property
    def title(self) -> str:
        """Its heading, as text."""
        ...

    @property
    def short_title(self) -> str:
        """The text of the link at the top of the page."""
        ...

    def render(self, run: LoadedRun, panels: list[ModelPanel]) -> str | None:
        """Its markup; None leaves the section out."""
        ...


@dataclass(frozen=True)
class PanelSection:
    """A chart or a table for every model, under the model's name."""

    id: str
    title: str
    short_title: str
    draw: Callable[[ModelPanel], str]
    """Markup of one model; empty where it has nothing to show."""
    intro: str = ""
    """Markup in front of the models'."""
    otherwise: str | None = ""
    """Markup where no model has anything; None leaves the section out."""

    def render(self, run: LoadedRun, panels: list[ModelPanel]) -> str | None:
        markup = render_each_model(panels, self.draw)
        return self.intro + markup if markup else self.otherwise


def render_each_model(panels: list[ModelPanel], render: Callable[[ModelPanel], str]) -> str:
    """Markup of every model under its name; empty if there is nothing."""
    return render_model_blocks(panels, [(panel.model, inner) for panel in panels if (inner := render(panel))])


def render_model_blocks(panels: list[ModelPanel], pieces: list[tuple[str, str]]) -> str:
    """(model, markup) under the models' names. In a large run all but the first are folded."""
    folded = len(panels) > 1 and sum(len(panel.arms) for panel in panels) > _FOLD_FROM_ARMS
    parts = []
    for i, (model, inner) in enumerate(pieces):
        attribute = f'class="model" data-model="{escape_html(model)}"'
        if folded:
            state = " open" if i == 0 else ""
            parts.append(f"<details {attribute}{state}><summary><b>{escape_html(model)}</b></summary>{inner}</details>")
        else:
            parts.append(f"<div {attribute}><h3>{escape_html(model)}</h3>{inner}</div>")
    return "".join(parts)
