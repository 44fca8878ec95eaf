"""What a page opens with: what was compared, the verdict of every model, and what failed."""

from __future__ import annotations

from elicit.errors import EXIT_SOME_ARMS_FAILED
from elicit.report.data.display_text import fold_onto_line, render_completion_html
from elicit.report.data.run_reader import LoadedRun
from elicit.report.data.summary_view import ModelPanel
from elicit.report.html import costs
from elicit.report.verdict import Paragraph, judge_panel, write_verdict
from elicit.text import escape_html


def head(run: LoadedRun, found: list[ModelPanel]) -> str:
    """Title, facts, and an example problem."""
    models = ", ".join(run.spec.models)
    start = run.manifest.get("start")
    facts = [
        f"models {models}",
        *dict.fromkeys(f"{panel.n} test problems of {panel.task}" for panel in found if panel.n),
        f"{run.spec.seeds} run seed{'s' if run.spec.seeds > 1 else ''}",
        *([str(start)[:10]] if start else []),
    ]
    example = next((p for known in run.problems.values() if not isinstance(known, str) for p in known.values()), None)
    asked = ""
    if example is not None:
        asked = (
            f" A problem: <code>{render_completion_html(example.prompt, 200)}</code> → "
            f"<code>{render_completion_html(example.answer, 60)}</code>."
        )
    limited = ""
    if run.limit is not None:
        limited = f'<p class="limited">LIMITED to {run.limit} of {run.spec.test} test problems: not the whole run.</p>'
    return (
        f"<h1>{escape_html(run.name)}</h1><p class=soft>{escape_html(' · '.join(facts))}</p>{limited}"
        f"<p>The same base model under {len(run.spec.arms)} arms, on the same problems. How much does each arm bring "
        "out of what the model can already do, next to plain supervised fine-tuning (SFT)? A ceiling says what the "
        "model does when the ability is cued; a control changes one thing of the arm it is named after."
        f"{asked}</p>"
    )


def verdicts(run: LoadedRun, found: list[ModelPanel]) -> str:
    """A box for every model, what failed, and what the arms are."""
    shown = "".join(map(_verdict, found)) or "<p>The summary holds no model.</p>"
    note = (
        '<p class="note">Written by fixed rules from the figures below; brackets are 95 % intervals. A share of the '
        "gap is 0 at the base and 1 at the ceiling.</p>"
    )
    return f'<section id="verdict">{_failures(found)}{shown}{note}{_arms(run, found)}</section>'


def _verdict(panel: ModelPanel) -> str:
    judged = write_verdict(judge_panel(panel))
    families = "".join(map(_paragraph, judged.families))
    families = f'<ul class="families">{families}</ul>' if families else ""
    closing = f"<p>{spaced(' '.join(judged.closing))}</p>" if judged.closing else ""
    details = ""
    if judged.details:
        inner = "".join(f"<li>{spaced(' '.join(detail.sentences))}</li>" for detail in judged.details)
        details = f"<details><summary>Every other arm, one by one</summary><ul>{inner}</ul></details>"
    notes = "".join(f"<li>{spaced(sentence)}</li>" for sentence in judged.cautions)
    return (
        f'<div class="verdict"><h3>{escape_html(panel.model)} <span class="soft">on '
        f"{escape_html(panel.task)}</span></h3>"
        f'<p class="lead">{spaced(judged.lead)}</p>{families}{closing}{details}'
        f"{'<ul class=cautions>' + notes + '</ul>' if notes else ''}</div>"
    )


def _paragraph(paragraph: Paragraph) -> str:
    return f"<li><b>{escape_html(paragraph.heading)}.</b> {spaced(' '.join(paragraph.sentences))}</li>"


def spaced(sentence: str) -> str:
    """Escaped, with numbers kept beside their units and intervals in one piece."""
    return escape_html(sentence).replace(" %", "\u00a0%").replace(", −", ",\u00a0−").replace(" [", "\u00a0[")


def _failures(found: list[ModelPanel]) -> str:
    """Every cell that failed, with what it said; and what the command's exit code was."""
    listed = [
        (f"{panel.model}/{arm.name}" + (f", seed {seed}" if seed else ""), error)
        for panel in found
        for arm in panel.arms
        for seed, error in arm.failures
    ]
    if not listed:
        return ""
    lines = "".join(
        f"<li><b>{escape_html(where)}</b>: {escape_html(fold_onto_line(error, 400))}</li>" for where, error in listed
    )
    many = f"{len(listed)} cells" if len(listed) > 1 else "One cell"
    return (
        f'<div class="failed" role="alert"><p><b>{many} failed</b>; the others went on, and the command ended with '
        f"exit code {EXIT_SOME_ARMS_FAILED}. The same command tries again.</p><ul>{lines}</ul></div>"
    )


def _arms(run: LoadedRun, found: list[ModelPanel]) -> str:
    records = {model: {arm: data.record for arm, data in arms.items()} for model, arms in run.arms.items()}
    inner = costs.render_arm_descriptions(found, run.spec.arms, records)
    return f"<details><summary>What the arms are</summary>{inner}</details>"
