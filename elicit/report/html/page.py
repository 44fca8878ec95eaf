"""report.html: one file, no network, useful without scripts, below 4 MB whatever the run.

Sections: verdict, over training (where arms kept checkpoints; bases from weak to strong, where these are several; the
safety tax, where refusing was asked), gap recovered, forest plot, table, cost and accuracy, pass@k, sharpening and
expansion, leak, training curves, dose-response, side effects, flips and completions, budgets, how to repeat it, how to
read it. What grows without bound (completions, curves, doses) has a budget of bytes; completions get what is left.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

from elicit.panel.static import fragment
from elicit.report.charts import dose_response, forest, frontier, gap, ladder, leak, pass_at_k, svg
from elicit.report.charts import safety_tax as safety
from elicit.report.charts import training_curves as learning
from elicit.report.data.run_reader import Run
from elicit.report.data.summary_view import Panel, panels
from elicit.report.html import completions, costs, header, tables
from elicit.report.html.document import document, within
from elicit.report.html.glossary import READING
from elicit.report.trajectories import section as overtime
from elicit.text import escape, visible

#: Bytes: of a page, of its curves over training, of its training curves, of its dose-response charts and views, and
#: the least for completions.
_PAGE, _OVER, _TRAINING, _DOSE, _ANSWERS = 3_800_000, 1_200_000, 450_000, 400_000, 120_000
#: From so many arms on (all models together), every model but the first is folded.
_FOLDED = 60
_STATUS = "record in cells/MODEL/ARM/SEED/status.json"

_SECTIONS = (
    ("trajectory", "Over training", "Over training"),
    ("ladder", "Strong bases and weak ones", "Bases"),
    ("safety", "Reasoning up, refusal down?", "Safety tax"),
    ("gap", "Gap recovered", "Gap"),
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


def page(run: Run) -> str:
    """The whole page as text."""
    found = panels(run.summary)
    key = forest.reference_of(run.summary)
    scale = forest.scale_of(found, key)
    plot = _each(found, lambda panel: f"<figure>{forest.figure(panel, key, scale)}</figure>")
    content = {
        "trajectory": _over_training(found),
        "ladder": _ladder(found),
        "safety": _safety(found),
        "gap": _each(found, gap.figure),
        "forest": f"{plot}<p class=note>{forest.caption(run.summary, key)}</p>",
        "table": _each(found, tables.results),
        "frontier": _each(found, frontier.figure) or "<p>No arm's tokens are known.</p>",
        "passk": _each(found, pass_at_k.figure) or _UNSAMPLED,
        "expansion": _each(found, pass_at_k.expansion) or "<p>No arm was sampled beside the base.</p>",
        "leak": _each(found, leak.figure) or _NO_LEAK,
        "training": _training(run, found),
        "dose": _doses(run, found),
        "side": _each(found, tables.side_effects),
        "costs": _each(found, costs.budgets),
        "again": _again(run),
        "reading": READING,
    }
    there = [part for part in _SECTIONS if part[0] not in _OPTIONAL or content[part[0]]]
    links = " ".join(f'<a href="#{name}">{short}</a>' for name, _, short in (("verdict", "", "Verdict"), *there))
    opened = header.head(run, found) + f"<nav>{links}</nav>" + header.verdicts(run, found)
    left = _PAGE - sum(len(text.encode()) for text in (opened, *content.values()))
    content["answers"] = _answers(run, found, max(_ANSWERS, left))
    body = "".join(
        f'<section id="{name}"><h2>{_title(name, title, key)}</h2>{content[name]}</section>' for name, title, _ in there
    )
    return document(run.name, opened + body)


def _safety(found: list[Panel]) -> str:
    drawn = _each(found, safety.section)
    return safety.INTRO + drawn if drawn else ""


def _ladder(found: list[Panel]) -> str:
    drawn = ladder.section(found)
    return ladder.INTRO + drawn if drawn else ""


def _over_training(found: list[Panel]) -> str:
    pieces = [(panel.model, drawn) for panel in found if (drawn := overtime.section(panel))]
    if not pieces:
        return ""
    kept, note = within(pieces, _OVER, "arms.ARM.trajectory of summary.json")
    return overtime.INTRO + _named(found, kept) + note


def _title(name: str, title: str, key: forest.Key) -> str:
    return "Paired difference to the base" if name == "forest" and key == "vs_base" else title


def _each(found: list[Panel], draw: Callable[[Panel], str]) -> str:
    """What is drawn for every model, under its name; empty if there is nothing."""
    return _named(found, [(panel.model, inner) for panel in found if (inner := draw(panel))])


def _named(found: list[Panel], drawn: list[tuple[str, str]]) -> str:
    """(model, markup) under the models' names. In a large run all but the first are folded."""
    folded = len(found) > 1 and sum(len(panel.arms) for panel in found) > _FOLDED
    parts = []
    for i, (model, inner) in enumerate(drawn):
        attribute = f'class="model" data-model="{escape(model)}"'
        if folded:
            state = " open" if i == 0 else ""
            parts.append(f"<details {attribute}{state}><summary><b>{escape(model)}</b></summary>{inner}</details>")
        else:
            parts.append(f"<div {attribute}><h3>{escape(model)}</h3>{inner}</div>")
    return "".join(parts)


def _training(run: Run, found: list[Panel]) -> str:
    pieces = [
        (panel.model, drawn) for panel in found if (drawn := learning.section(panel, run.arms.get(panel.model, {})))
    ]
    if not pieces:
        return "<p>No arm of this run kept a training curve.</p>"
    intro = (
        "<p>As logged while training; the seeds of an arm are overlaid (solid, dashed, dotted, in their order). Each "
        f"chart has its own scale. Curves of more than {learning.STRETCHES} entries are means over as many equal "
        "stretches.</p>"
    )
    kept, note = within(pieces, _TRAINING, f"curve of the {_STATUS}")
    return intro + _named(found, kept) + note


def _doses(run: Run, found: list[Panel]) -> str:
    pieces: list[tuple[str, str]] = []
    views: list[tuple[str, str]] = []
    for panel in found:
        for arm, data in run.arms.get(panel.model, {}).items():
            for cell, status in zip(data.cells, data.statuses, strict=True):
                drawn = dose_response.dose_response(arm, cell.seed, status.get("record") or {})
                if drawn:
                    pieces.append((cell.name, f"<h3>{escape(panel.model)}: {escape(arm)}</h3>{drawn}"))
                if cell.name in run.views:
                    view = fragment(run.views[cell.name])
                    title = f"{escape(panel.model)}: {escape(arm)}, answer by answer"
                    views.append((cell.name, f"<details><summary>{title}</summary>{view}</details>"))
    if not pieces and not views:
        return "<p>No arm of this run was tuned over a strength.</p>"
    legend = dose_response.swatches(
        [("accuracy %, with 95 % interval", "circle", svg.BLUE, ""), ("trace rate %", "hollow", svg.ORANGE, "3 3")]
    )
    intro = (
        "<p>How strength and layer were chosen. These problems are from the select split, not from the test problems "
        "that everything else on this page is about; the chosen point is ringed. "
        "Strengths are spaced evenly, not to scale. Answer by answer: the chosen edit at every strength tried, beside "
        "the base, from the same random numbers; underlined tokens are not on the other side, colour is "
        "KL(steered‖base) at a token.</p>"
    )
    charts, left = within(pieces, _DOSE // 2, f"dose_response of the {_STATUS}")
    shown, more = within(views, _DOSE // 2, "cells/MODEL/ARM/SEED/panel.json")
    return intro + legend + "".join(drawn for _, drawn in charts) + left + "".join(view for _, view in shown) + more


def _answers(run: Run, found: list[Panel], budget: int) -> str:
    rule = (
        f"<p>Not hand-picked: the first {completions.FIRST} problems in the run's order, then the first problem of "
        f"each further pattern of right and wrong arms, up to {completions.PATTERNS}; then one problem that an arm "
        "gains or loses against the base or SFT, where none is shown yet. Only the first group is a sample; the others "
        "show exceptions once each, however rare. Own answers of each arm's first finished seed; arms that wrote the "
        "same share a card. Characters that cannot be seen are written out, as U+202E.</p>"
    )
    share = budget // max(1, len(found))
    places = {panel.model: i for i, panel in enumerate(found)}
    return rule + _each(found, lambda panel: completions.section(run, panel, places[panel.model], share))


def _place(words: list[str]) -> str | None:
    """The folder that a command `elicit run SPEC --out FOLDER` writes to; None for another command."""
    if words[:2] != ["elicit", "run"]:
        return None
    for i, word in enumerate(words):
        if word == "--out" and i + 1 < len(words):
            return words[i + 1]
        if word.startswith("--out="):
            return word.removeprefix("--out=")
    specs = [word for word in words[2:] if word.endswith((".yaml", ".yml"))]
    return f"runs/{Path(specs[0]).stem}" if specs else None


def _again(run: Run) -> str:
    given = run.manifest.get("command")
    words = [str(word) for word in given] if isinstance(given, list) else []
    typed = f"{shlex.join(words)}\n" if words else ""
    place = _place(words) or run.place
    if words[:2] != ["elicit", "run"]:
        typed += f"elicit run {shlex.quote(place)}/spec.yaml --out runs/again\n"
    typed += f"elicit verify {shlex.quote(place)}"
    shown = json.dumps(run.manifest, indent=1, ensure_ascii=False)
    if len(shown) > 60_000:
        shown = f"{shown[:60_000]}\n… cut here; the whole is in manifest.json"
    return (
        f'<pre class="file">{escape(visible(typed))}</pre>'
        f'<details><summary>Spec</summary><pre class="file">{escape(run.spec_text)}</pre></details>'
        "<details><summary>Manifest: code, packages, machine, seeds, times</summary>"
        f'<pre class="file">{escape(shown)}</pre></details>'
    )


_UNSAMPLED = "<p>No samples at temperature 1 were drawn in this run (<code>samples: 0</code>).</p>"
_NO_LEAK = (
    "<p>No model of this run is known to lack the ability, so what the arms teach rather than bring out is not "
    "measured. Add one (<code>incapable</code>) to the spec's models.</p>"
)
