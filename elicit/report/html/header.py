"""The top of a page: title, and for every model its finding in a sentence and a picture, its claims and cautions."""

from __future__ import annotations

from elicit.errors import EXIT_SOME_ARMS_FAILED
from elicit.report.charts import gap
from elicit.report.data.display_text import fold_onto_line, render_completion_html
from elicit.report.data.number_format import describe_holm_family
from elicit.report.data.run_reader import LoadedRun
from elicit.report.data.summary_view import ModelPanel
from elicit.report.html import costs
from elicit.report.html.claims_table import render_claims_table
from elicit.report.html.names import render_name
from elicit.report.verdict import judge_panel, list_claims, list_detail_claims, write_headline, write_verdict
from elicit.text import escape_html

_OPEN_MODELS = 1
"""Models whose picture is in plain sight; of the others the sentence is, and the picture is folded."""
_CAPTION = (
    "Written by fixed rules from the figures below. Brackets are 95 % intervals, points are differences of two "
    "accuracies in percentage points, paired over the same problems."
)


def render_title(run: LoadedRun, model_panels: list[ModelPanel]) -> str:
    """The run's name, what was measured, and whatever failed."""
    start = run.manifest.get("start")
    facts = [
        *dict.fromkeys(f"{panel.n} test problems of {panel.task}" for panel in model_panels if panel.n),
        *_count_measured_arms(model_panels),
        f"{run.spec.seeds} run seed{'s' if run.spec.seeds > 1 else ''}",
        *([str(start)[:10]] if start else []),
    ]
    limited = ""
    if run.limit is not None:
        limited = f'<p class="limited">LIMITED to {run.limit} of {run.spec.test} test problems: not the whole run.</p>'
    return (
        f"<h1>{render_name(run.name)}</h1><p class=soft>{render_name(' · '.join(facts))}</p>{limited}"
        f"{_render_failures(model_panels)}"
    )


def render_findings(model_panels: list[ModelPanel]) -> str:
    """The finding of every model: one sentence, the gap chart, the claims behind it and the cautions."""
    findings = "".join(
        _render_finding(panel, with_title=len(model_panels) > 1, folded=i >= _OPEN_MODELS)
        for i, panel in enumerate(model_panels)
    )
    return f'<section id="verdict">{findings or "<p>The summary does not hold a model.</p>"}</section>'


def render_comparison(run: LoadedRun, model_panels: list[ModelPanel]) -> str:
    """The question, an example problem, and every arm in a line."""
    example = next(
        (p for problems in run.problems.values() if not isinstance(problems, str) for p in problems.values()), None
    )
    problem = ""
    if example is not None:
        problem = (
            f" A problem: <code>{render_completion_html(example.prompt, 200)}</code> → "
            f"<code>{render_completion_html(example.answer, 60)}</code>."
        )
    records = {model: {arm: data.record for arm, data in arms.items()} for model, arms in run.arms.items()}
    return (
        "<p>One base model under several arms, on the same problems. An arm is the model with one method applied: "
        "steering, another way of decoding, or training. The question is how much of what the model can already do "
        "each arm brings out, next to supervised fine-tuning (SFT). The base is the model asked plainly; a ceiling is "
        "the model where the ability is cued; a control changes one thing of the arm it is named "
        f"after.{problem}</p>{costs.render_arm_descriptions(model_panels, run.spec.arms, records)}"
    )


def _count_measured_arms(model_panels: list[ModelPanel]) -> list[str]:
    """`16 arms measured`; by model where the numbers differ."""
    counts = {panel.model: sum(arm.accuracy.value is not None for arm in panel.arms) for panel in model_panels}
    if len(set(counts.values())) < 2:
        return [f"{count} arm{'s' if count != 1 else ''} measured" for count in list(counts.values())[:1]]
    return [", ".join(f"{count} arms measured on {model}" for model, count in counts.items())]


def _render_finding(panel: ModelPanel, *, with_title: bool, folded: bool) -> str:
    verdict = judge_panel(panel)
    text = write_verdict(verdict)
    claims, detail_claims = list_claims(verdict), list_detail_claims(verdict)
    title = f'<p class="soft"><b>{render_name(panel.model)}</b> on {render_name(panel.task)}</p>' if with_title else ""
    table = render_claims_table(
        claims, caption=" ".join([_CAPTION, f"Holm p is corrected {describe_holm_family(panel)}.", *text.closing])
    )
    if detail_claims:
        table += (
            "<details><summary>Every claim about the other arms</summary>"
            f"{render_claims_table(detail_claims, caption=_CAPTION)}</details>"
        )
    parts = gap.render_gap_chart(panel)
    if table:
        parts += f"<details><summary>The claims behind it, one by one ({len(claims)})</summary>{table}</details>"
    if text.cautions:
        items = "".join(f"<li>{render_name(sentence)}</li>" for sentence in text.cautions)
        parts += f'<h3>Cautions</h3><ul class="cautions">{items}</ul>'
    if folded:
        parts = (
            f"<details><summary>Picture, claims and cautions for {render_name(panel.model)}</summary>{parts}</details>"
        )
    return (
        f'<div class="finding" data-model="{escape_html(panel.model)}">{title}'
        f'<p class="lead">{render_name(write_headline(verdict))}</p>{parts}</div>'
    )


def _render_failures(model_panels: list[ModelPanel]) -> str:
    """Every cell that failed with its message, and the command's exit code."""
    failures = [
        (f"{panel.model}/{arm.name}" + (f", seed {seed}" if seed else ""), error)
        for panel in model_panels
        for arm in panel.arms
        for seed, error in arm.failures
    ]
    if not failures:
        return ""
    lines = "".join(
        f"<li><b>{render_name(cell)}</b>: {escape_html(fold_onto_line(error, 400))}</li>" for cell, error in failures
    )
    many = f"{len(failures)} cells" if len(failures) > 1 else "One cell"
    return (
        f'<div class="failed" role="alert"><p><b>{many} failed</b>; the others went on, and the command ended with '
        f"exit code {EXIT_SOME_ARMS_FAILED}. The same command tries again.</p><ul>{lines}</ul></div>"
    )
