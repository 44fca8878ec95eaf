"""report.html: one file, no network, useful without scripts, below 4 MB whatever the run.

First the finding of every model in a sentence and a picture, then folded sections: what was compared, over training
(where arms kept checkpoints; bases from weak to strong, where these are several; the safety tax, where refusing was
asked), forest plot, table, cost and accuracy, pass@k, sharpening and
expansion, leak, training curves, dose-response, side effects, flips and completions, budgets, how to repeat it, how to
read it. What grows without bound (completions, curves, doses) has a budget of bytes; completions get what is left.
"""

from __future__ import annotations

from collections.abc import Callable

from elicit.panel.static import render_grid_fragment
from elicit.report.charts import dose_response, forest, frontier, ladder, leak, pass_at_k, svg
from elicit.report.charts import safety_tax as safety
from elicit.report.charts import training_curves as learning
from elicit.report.data.run_reader import LoadedRun
from elicit.report.data.summary_view import ModelPanel, read_panels
from elicit.report.html import completions, costs, header, tables
from elicit.report.html.document import document, within
from elicit.report.html.glossary import READING
from elicit.report.html.rerun import render_rerun_section
from elicit.report.trajectories import section as overtime
from elicit.text import escape_html

#: Bytes: of a page, of its curves over training, of its training curves, of its dose-response charts and views, and
#: the least for completions.
_PAGE, _OVER, _TRAINING, _DOSE, _ANSWERS = 3_800_000, 1_200_000, 450_000, 400_000, 120_000
#: From so many arms on (all models together), every model but the first is folded.
_FOLD_FROM_ARMS = 60
_STATUS = "record in cells/MODEL/ARM/SEED/status.json"

_SECTIONS = (
    ("arms", "What was compared", "Arms"),
    ("trajectory", "Over training", "Over training"),
    ("ladder", "Strong bases and weak ones", "Bases"),
    ("safety", "Reasoning up, refusal down?", "Safety tax"),
    ("forest", "Paired difference to SFT", "Difference to SFT"),
    ("table", "All figures", "All figures"),
    ("frontier", "Cost and accuracy", "Cost"),
    ("passk", "Right within k samples", "pass@k"),
    ("expansion", "Sharpening against expansion", "Expansion"),
    ("leak", "Teaching leak", "Leak"),
    ("training", "Training curves", "Training"),
    ("dose", "Dose-response on the select split", "Dose-response"),
    ("side", "Side effects", "Side effects"),
    ("answers", "Flips and completions, side by side", "Completions"),
    ("costs", "Budgets", "Budgets"),
    ("again", "Run it again", "Run it again"),
    ("reading", "How to read this", "How to read this"),
)


#: Sections that are left out where a run has nothing for them.
_OPTIONAL = ("trajectory", "ladder", "safety")


def render_page(run: LoadedRun) -> str:
    """The whole page as text."""
    model_panels = read_panels(run.summary)
    key = forest.choose_reference(run.summary)
    scale = forest.compute_forest_scale(model_panels, key)
    plot = _render_each_model(model_panels, lambda panel: f"<figure>{forest.render_forest(panel, key, scale)}</figure>")
    content = {
        "trajectory": _render_trajectory_section(model_panels),
        "ladder": _render_ladder_section(model_panels),
        "safety": _render_safety_section(model_panels),
        "arms": header.render_comparison(run, model_panels),
        "forest": f"{plot}<p class=note>{forest.write_forest_caption(run.summary, key)}</p>",
        "table": _render_each_model(model_panels, tables.render_results_table),
        "frontier": _render_each_model(model_panels, frontier.render_frontier) or "<p>No arm's tokens are known.</p>",
        "passk": _render_each_model(model_panels, pass_at_k.render_pass_at_k) or _UNSAMPLED,
        "expansion": _render_each_model(model_panels, pass_at_k.render_expansion)
        or "<p>No arm was sampled beside the base.</p>",
        "leak": _render_each_model(model_panels, leak.render_leak_chart) or _NO_LEAK,
        "training": _render_training_section(run, model_panels),
        "dose": _render_dose_section(run, model_panels),
        "side": _render_each_model(model_panels, tables.render_side_effects),
        "costs": _render_each_model(model_panels, costs.render_budget_table),
        "again": render_rerun_section(run),
        "reading": READING,
    }
    sections = [part for part in _SECTIONS if part[0] not in _OPTIONAL or content[part[0]]]
    links = " ".join(f'<a href="#{name}">{short}</a>' for name, _, short in sections)
    opening_markup = header.render_title(run, model_panels) + header.render_findings(model_panels)
    opening_markup += f"<nav>{links}</nav>"
    remaining_bytes = _PAGE - sum(len(text.encode()) for text in (opening_markup, *content.values()))
    content["answers"] = _render_completion_section(run, model_panels, max(_ANSWERS, remaining_bytes))
    body = "".join(
        f'<section id="{name}"><details class="part"><summary><h2>{_choose_section_title(name, title, key)}</h2>'
        f"</summary>{content[name]}</details></section>"
        for name, title, _ in sections
    )
    return document(run.name, opening_markup + body)


def _render_safety_section(model_panels: list[ModelPanel]) -> str:
    markup = _render_each_model(model_panels, safety.render_safety_tax)
    return safety.INTRO + markup if markup else ""


def _render_ladder_section(model_panels: list[ModelPanel]) -> str:
    markup = ladder.render_ladders(model_panels)
    return ladder.INTRO + markup if markup else ""


def _render_trajectory_section(model_panels: list[ModelPanel]) -> str:
    pieces = [(panel.model, markup) for panel in model_panels if (markup := overtime.render_trajectories(panel))]
    if not pieces:
        return ""
    fitting_pieces, note = within(pieces, _OVER, "arms.ARM.trajectory of summary.json")
    return overtime.INTRO + _render_model_blocks(model_panels, fitting_pieces) + note


def _choose_section_title(name: str, title: str, key: forest.ReferenceKey) -> str:
    return "Paired difference to the base" if name == "forest" and key == "vs_base" else title


def _render_each_model(model_panels: list[ModelPanel], render: Callable[[ModelPanel], str]) -> str:
    """The markup of every model under its name; empty if every model's is."""
    return _render_model_blocks(
        model_panels, [(panel.model, inner) for panel in model_panels if (inner := render(panel))]
    )


def _render_model_blocks(model_panels: list[ModelPanel], pieces: list[tuple[str, str]]) -> str:
    """(model, markup) under the models' names. In a large run all but the first are folded."""
    folded = len(model_panels) > 1 and sum(len(panel.arms) for panel in model_panels) > _FOLD_FROM_ARMS
    parts = []
    for i, (model, inner) in enumerate(pieces):
        attribute = f'class="model" data-model="{escape_html(model)}"'
        if folded:
            state = " open" if i == 0 else ""
            parts.append(f"<details {attribute}{state}><summary><b>{escape_html(model)}</b></summary>{inner}</details>")
        else:
            parts.append(f"<div {attribute}><h3>{escape_html(model)}</h3>{inner}</div>")
    return "".join(parts)


def _render_training_section(run: LoadedRun, model_panels: list[ModelPanel]) -> str:
    pieces = [
        (panel.model, markup)
        for panel in model_panels
        if (markup := learning.render_training_curves(panel, run.arms.get(panel.model, {})))
    ]
    if not pieces:
        return "<p>No arm of this run kept a training curve.</p>"
    intro = (
        "<p>As logged while training; the seeds of an arm are overlaid (solid, dashed, dotted, in their order). Each "
        f"chart has its own scale. Curves of more than {learning.MAX_STRETCHES} entries are means over as many equal "
        "stretches.</p>"
    )
    fitting_pieces, note = within(pieces, _TRAINING, f"curve of the {_STATUS}")
    return intro + _render_model_blocks(model_panels, fitting_pieces) + note


def _render_dose_section(run: LoadedRun, model_panels: list[ModelPanel]) -> str:
    pieces: list[tuple[str, str]] = []
    views: list[tuple[str, str]] = []
    for panel in model_panels:
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
    if any(panel.sees_traces for panel in model_panels):
        lines.append(("trace rate %", "hollow", svg.ORANGE, "3 3"))
    legend = dose_response.render_legend(lines)
    intro = (
        "<p>How strength and layer were chosen. These problems are from the select split, not from the test problems "
        "that everything else on this page is about; the chosen point is ringed. "
        "Strengths are spaced evenly, not to scale. Answer by answer: the chosen edit at every strength tried, beside "
        "the base, from the same random numbers; underlined tokens are not on the other side, colour is "
        "KL(steered‖base) at a token.</p>"
    )
    charts, chart_note = within(pieces, _DOSE // 2, f"dose_response of the {_STATUS}")
    fitting_views, view_note = within(views, _DOSE // 2, "cells/MODEL/ARM/SEED/panel.json")
    return (
        intro
        + legend
        + "".join(markup for _, markup in charts)
        + chart_note
        + "".join(view for _, view in fitting_views)
        + view_note
    )


def _render_completion_section(run: LoadedRun, model_panels: list[ModelPanel], budget: int) -> str:
    explanation = (
        f"<p>Not hand-picked: the first {completions.FIRST_PROBLEMS} problems in the run's order, then the first "
        "problem of "
        f"each further pattern of right and wrong arms, up to {completions.MAX_PATTERNS}; then one problem that an arm "
        "gains or loses against the base or SFT, where none is shown yet. Only the first group is a sample; the others "
        "show exceptions once each, however rare. Own answers of each arm's first finished seed; arms that wrote the "
        "same share a card. Characters that cannot be seen are written out, as U+202E.</p>"
    )
    model_budget = budget // max(1, len(model_panels))
    model_indices = {panel.model: i for i, panel in enumerate(model_panels)}
    return explanation + _render_each_model(
        model_panels, lambda panel: completions.render_completions(run, panel, model_indices[panel.model], model_budget)
    )


_UNSAMPLED = "<p>No samples at temperature 1 were drawn in this run (<code>samples: 0</code>).</p>"
_NO_LEAK = (
    "<p>No model of this run is known to lack the ability, so what the arms teach rather than bring out is not "
    "measured. Add one (<code>incapable</code>) to the spec's models.</p>"
)
