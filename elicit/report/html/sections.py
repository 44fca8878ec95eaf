"""The sections of the page in their order. What grows without bound has a budget of bytes."""

from __future__ import annotations

from dataclasses import dataclass

from elicit.panel.static import render_grid_fragment
from elicit.report.charts import (
    budget_curves,
    dose_response,
    forest,
    frontier,
    ladder,
    leak,
    pass_at_k,
    safety_tax,
    svg,
)
from elicit.report.charts import training_curves as learning
from elicit.report.data.run_reader import LoadedRun
from elicit.report.data.summary_view import ModelPanel
from elicit.report.html import completions, costs, header, tables
from elicit.report.html.document import within
from elicit.report.html.glossary import READING
from elicit.report.html.rerun import render_rerun_section
from elicit.report.html.section import PanelSection, Section, render_each_model, render_model_blocks
from elicit.report.trajectories import section as overtime
from elicit.text import escape_html

_STATUS = "record in cells/MODEL/ARM/SEED/status.json"
_UNSAMPLED = "<p>No samples at temperature 1 were drawn in this run (<code>samples: 0</code>).</p>"
_NO_LEAK = (
    "<p>No model of this run is known to lack the ability, so what the arms teach rather than bring out is not "
    "measured. Add one (<code>incapable</code>) to the spec's models.</p>"
)


_TRAINING_INTRO = (
    "<p>As logged while training; the seeds of an arm are overlaid (solid, dashed, dotted, in their order). Each "
    f"chart has its own scale. Curves of more than {learning.MAX_STRETCHES} entries are means over as many equal "
    "stretches.</p>"
)
_DOSE_INTRO = (
    "<p>How strength and layer were chosen. These problems are from the select split, not from the test problems "
    "that everything else on this page is about; the chosen point is ringed. "
    "Strengths are spaced evenly, not to scale. Answer by answer: the chosen edit at every strength tried, beside "
    "the base, from the same random numbers; underlined tokens are not on the other side, colour is "
    "KL(steered‖base) at a token.</p>"
)
_COMPLETION_INTRO = (
    f"<p>Not hand-picked: the first {completions.FIRST_PROBLEMS} problems in the run's order, then the first "
    "problem of "
    f"each further pattern of right and wrong arms, up to {completions.MAX_PATTERNS}; then one problem that an arm "
    "gains or loses against the base or SFT, where none is shown yet. Only the first group is a sample; the others "
    "show exceptions once each, however rare. Own answers of each arm's first finished seed; arms that wrote the "
    "same share a card. Characters that cannot be seen are written out, as U+202E.</p>"
)


@dataclass(frozen=True)
class ArmsSection:
    """The arms, and an example of a problem."""

    id: str = "arms"
    title: str = "What was compared"
    short_title: str = "Arms"

    def render(self, run: LoadedRun, panels: list[ModelPanel]) -> str | None:
        return header.render_comparison(run, panels)


@dataclass(frozen=True)
class TrajectorySection:
    """Curves over training, where arms kept checkpoints."""

    budget: int
    """Bytes."""
    id: str = "trajectory"
    title: str = "Over training"
    short_title: str = "Over training"

    def render(self, run: LoadedRun, panels: list[ModelPanel]) -> str | None:
        pieces = [(panel.model, markup) for panel in panels if (markup := overtime.render_trajectories(panel))]
        if not pieces:
            return None
        fitting_pieces, note = within(pieces, self.budget, "arms.ARM.trajectory of summary.json")
        return overtime.INTRO + render_model_blocks(panels, fitting_pieces) + note


@dataclass(frozen=True)
class LadderSection:
    """Bases from weak to strong, where a run has several."""

    id: str = "ladder"
    title: str = "Strong bases and weak ones"
    short_title: str = "Bases"

    def render(self, run: LoadedRun, panels: list[ModelPanel]) -> str | None:
        markup = ladder.render_ladders(panels)
        return ladder.INTRO + markup if markup else None


@dataclass(frozen=True)
class ForestSection:
    """Paired differences to the reference arm; left out in a run with another reference."""

    reference: forest.ReferenceKey
    title: str
    id: str = "forest"
    short_title: str = "Difference to SFT"

    def render(self, run: LoadedRun, panels: list[ModelPanel]) -> str | None:
        key = forest.choose_reference(run.summary)
        if key != self.reference:
            return None
        scale = forest.compute_forest_scale(panels, key)
        plot = render_each_model(panels, lambda panel: f"<figure>{forest.render_forest(panel, key, scale)}</figure>")
        return f"{plot}<p class=note>{forest.write_forest_caption(run.summary, key)}</p>"


@dataclass(frozen=True)
class TrainingSection:
    """Training curves as logged."""

    budget: int
    """Bytes."""
    id: str = "training"
    title: str = "Training curves"
    short_title: str = "Training"

    def render(self, run: LoadedRun, panels: list[ModelPanel]) -> str | None:
        pieces = [
            (panel.model, markup)
            for panel in panels
            if (markup := learning.render_training_curves(panel, run.arms.get(panel.model, {})))
        ]
        if not pieces:
            return "<p>No arm of this run kept a training curve.</p>"
        fitting_pieces, note = within(pieces, self.budget, f"curve of the {_STATUS}")
        return _TRAINING_INTRO + render_model_blocks(panels, fitting_pieces) + note


@dataclass(frozen=True)
class DoseSection:
    """Accuracy over strength and layer on the select split, and answers under every strength that was tried."""

    budget: int
    """Bytes: half for charts, half for answers."""
    id: str = "dose"
    title: str = "Dose-response on the select split"
    short_title: str = "Dose-response"

    def render(self, run: LoadedRun, panels: list[ModelPanel]) -> str | None:
        pieces: list[tuple[str, str]] = []
        views: list[tuple[str, str]] = []
        for panel in panels:
            for arm, data in run.arms.get(panel.model, {}).items():
                for cell, status in zip(data.cells, data.statuses, strict=True):
                    markup = dose_response.render_dose_response(
                        arm, cell.seed, status.get("record") or {}, with_traces=panel.sees_traces
                    )
                    if markup:
                        pieces.append((cell.name, f"<h3>{escape_html(panel.model)}: {escape_html(arm)}</h3>{markup}"))
                    if cell.name in run.views:
                        view = render_grid_fragment(run.views[cell.name])
                        title = f"{escape_html(panel.model)}: {escape_html(arm)}, answer by answer"
                        views.append((cell.name, f"<details><summary>{title}</summary>{view}</details>"))
        if not pieces and not views:
            return "<p>No arm of this run was tuned over a strength.</p>"
        lines: list[dose_response.LegendEntry] = [("accuracy %, with 95 % interval", "circle", svg.BLUE, "")]
        if any(panel.sees_traces for panel in panels):
            lines.append(("trace rate %", "hollow", svg.ORANGE, "3 3"))
        legend = dose_response.render_legend(lines)
        charts, chart_note = within(pieces, self.budget // 2, f"dose_response of the {_STATUS}")
        fitting_views, view_note = within(views, self.budget // 2, "cells/MODEL/ARM/SEED/panel.json")
        return (
            _DOSE_INTRO
            + legend
            + "".join(markup for _, markup in charts)
            + chart_note
            + "".join(view for _, view in fitting_views)
            + view_note
        )


@dataclass(frozen=True)
class CompletionSection:
    """Problems with the completions of all arms side by side."""

    budget: int
    """Bytes: the least; it gets all that the other sections leave."""
    id: str = "answers"
    title: str = "Flips and completions, side by side"
    short_title: str = "Completions"

    def render(self, run: LoadedRun, panels: list[ModelPanel]) -> str | None:
        model_budget = self.budget // max(1, len(panels))
        model_indices = {panel.model: i for i, panel in enumerate(panels)}
        return _COMPLETION_INTRO + render_each_model(
            panels, lambda panel: completions.render_completions(run, panel, model_indices[panel.model], model_budget)
        )


@dataclass(frozen=True)
class RerunSection:
    """Commands, spec and manifest."""

    id: str = "again"
    title: str = "Run it again"
    short_title: str = "Run it again"

    def render(self, run: LoadedRun, panels: list[ModelPanel]) -> str | None:
        return render_rerun_section(run)


@dataclass(frozen=True)
class ReadingSection:
    """The glossary."""

    id: str = "reading"
    title: str = "How to read this"
    short_title: str = "How to read this"

    def render(self, run: LoadedRun, panels: list[ModelPanel]) -> str | None:
        return READING


COMPLETIONS = CompletionSection(budget=120_000)
#: In the page's order. Sections from outside stand in front of the completions.
SECTIONS: list[Section] = [
    ArmsSection(),
    TrajectorySection(budget=1_200_000),
    LadderSection(),
    PanelSection(
        "safety",
        "Reasoning up, refusal down?",
        "Safety tax",
        safety_tax.render_safety_tax,
        intro=safety_tax.INTRO,
        otherwise=None,
    ),
    ForestSection("vs_sft", "Paired difference to SFT"),
    ForestSection("vs_base", "Paired difference to the base"),
    PanelSection("table", "All figures", "All figures", tables.render_results_table),
    PanelSection(
        "frontier",
        "Cost and accuracy",
        "Cost",
        frontier.render_frontier,
        otherwise="<p>No arm's tokens are known.</p>",
    ),
    PanelSection(
        "budgets",
        "Accuracy against budget",
        "Budget curves",
        budget_curves.render_budget_curves,
        otherwise=None,
    ),
    PanelSection("passk", "Right within k samples", "pass@k", pass_at_k.render_pass_at_k, otherwise=_UNSAMPLED),
    PanelSection(
        "expansion",
        "Sharpening against expansion",
        "Expansion",
        pass_at_k.render_expansion,
        otherwise="<p>No arm was sampled beside the base.</p>",
    ),
    PanelSection("leak", "Teaching leak", "Leak", leak.render_leak_chart, otherwise=_NO_LEAK),
    TrainingSection(budget=450_000),
    DoseSection(budget=400_000),
    PanelSection("side", "Side effects", "Side effects", tables.render_side_effects),
    COMPLETIONS,
    PanelSection("costs", "Budgets", "Budgets", costs.render_budget_table),
    RerunSection(),
    ReadingSection(),
]
