"""report.html: one file, no network, useful without scripts. A policy in the page forbids everything but its own parts.

Sections: verdict, forest plot, table, dose-response, pass@k, side effects, completions, costs and how to repeat it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Callable
from importlib import resources

from elicit.panel.static import assets, fragment
from elicit.report import completions, curves, forest, svg, tables
from elicit.report.figures import Panel, panels
from elicit.report.source import Run, majority
from elicit.report.text import marked
from elicit.report.verdict import judge
from elicit.text import escape, visible

#: Sorting and printing, nothing else; the policy names its hash. Unknown values stay at the end, whichever way.
_SCRIPT = """
document.documentElement.classList.add("js");
const value = cell => { const v = cell.dataset.value; return v === undefined ? null : isNaN(v) ? v : Number(v); };
for (const table of document.querySelectorAll("table.figures")) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending" || (column === 0 && !head.hasAttribute("aria-sort"));
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    table.classList.add("sorted");
    const body = table.tBodies[0], rows = [...body.rows].map(row => [value(row.cells[column]), row]);
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null)
      : (up ? 1 : -1) * (a < b ? -1 : a > b ? 1 : 0));
    body.append(...rows.map(([, row]) => row));
  }));
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));
"""

_SECTIONS = (
    ("verdict", "Verdict"),
    ("forest", "Difference to SFT"),
    ("table", "All figures"),
    ("dose", "Dose-response"),
    ("passk", "pass@k"),
    ("side", "Side effects"),
    ("answers", "Completions"),
    ("costs", "Costs"),
    ("again", "Run it again"),
    ("reading", "How to read this"),
)


def page(run: Run) -> str:
    """The whole page as text."""
    found = panels(run.summary)
    sections: list[tuple[str, str, str]] = [
        ("forest", "Paired difference to SFT", forest.fragment(run.summary)),
        ("table", "All figures", _each(found, tables.results)),
        ("dose", "Dose-response on the select split", _doses(run, found)),
        ("passk", "Right within k samples", _pass_at_k(run, found)),
        ("side", "Side effects", _each(found, tables.side_effects)),
        ("answers", "Completions side by side", _answers(run, found)),
        ("costs", "Costs", _each(found, tables.costs)),
        ("again", "Run it again", _again(run)),
        ("reading", "How to read this", _READING),
    ]
    links = " ".join(f'<a href="#{name}">{title}</a>' for name, title in _SECTIONS)
    body = _head(run, found) + f"<nav>{links}</nav>" + _verdicts(run, found)
    body += "".join(f'<section id="{name}"><h2>{title}</h2>{content}</section>' for name, title, content in sections)
    return _document(run.name, body)


def _document(name: str, body: str) -> str:
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    panel = assets()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}' {panel.script_hash}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    style, script = "", ""
    if "data-elicit-grid" in body:
        style, script = panel.style, f"<script>{panel.script}</script>"
    style = resources.files("elicit.report").joinpath("style.css").read_text(encoding="utf-8") + style
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f'<title>elicit: {escape(name)}</title><link rel="icon" href="data:,"><style>{style}</style></head>'
        f"<body><main>{body}</main><script>{_SCRIPT}</script>{script}</body></html>\n"
    )


def _head(run: Run, found: list[Panel]) -> str:
    models = ", ".join(run.spec.models)
    start = run.manifest.get("start")
    facts = [
        f"models {models}",
        f"{found[0].n if found else 0} test problems of {run.spec.task_label}",
        f"{run.spec.seeds} run seed{'s' if run.spec.seeds > 1 else ''}",
        *([str(start)[:10]] if start else []),
    ]
    example = next((p for known in run.problems.values() if not isinstance(known, str) for p in known.values()), None)
    asked = ""
    if example is not None:
        asked = f" A problem: <code>{marked(example.prompt, 200)}</code> → <code>{marked(example.answer, 60)}</code>."
    limited = ""
    if run.limit is not None:
        limited = f'<p class="limited">LIMITED to {run.limit} of {run.spec.test} test problems: not the whole run.</p>'
    return (
        f"<h1>{escape(run.name)}</h1><p class=soft>{escape(' · '.join(facts))}</p>{limited}"
        f"<p>The same base model under {len(run.spec.arms)} arms, on the same problems. How much does each arm bring "
        "out of what the model can already do, next to plain supervised fine-tuning (SFT)? A ceiling says what the "
        "model does when the ability is cued; a control changes one thing of the arm it is named after."
        f"{asked}</p>"
    )


def _verdicts(run: Run, found: list[Panel]) -> str:
    parts = []
    for panel in found:
        judged = judge(panel)
        lead, rest = judged.sentences[0], judged.sentences[1:]
        notes = "".join(f"<li>{_spaced(sentence)}</li>" for sentence in judged.cautions)
        parts.append(
            f'<div class="verdict"><h3>{escape(panel.model)} <span class="soft">on {escape(panel.task)}</span></h3>'
            f'<p class="lead">{_spaced(lead)}</p><p>{_spaced(" ".join(rest))}</p>'
            f"{'<ul>' + notes + '</ul>' if notes else ''}</div>"
        )
    note = '<p class="note">Written by fixed rules from the figures below; brackets are 95 % intervals.</p>'
    shown = "".join(parts) or "<p>The summary holds no model.</p>"
    return f'<section id="verdict">{shown}{note}{_arms(run, found)}</section>'


def _spaced(sentence: str) -> str:
    """Escaped, with numbers kept beside their units and intervals in one piece."""
    return escape(sentence).replace(" %", "\u00a0%").replace(", −", ",\u00a0−").replace(" [", "\u00a0[")


def _each(found: list[Panel], draw: Callable[[Panel], str]) -> str:
    return "".join(f"<h3>{escape(panel.model)}</h3>{draw(panel)}" for panel in found)


def _arms(run: Run, found: list[Panel]) -> str:
    inner = _each(found, lambda panel: tables.descriptions(panel, run.spec.arms))
    return f"<details><summary>What the arms are</summary>{inner}</details>"


def _doses(run: Run, found: list[Panel]) -> str:
    parts = []
    for panel in found:
        drawn = []
        for arm, data in run.arms.get(panel.model, {}).items():
            for cell, status in zip(data.cells, data.statuses, strict=True):
                drawn.append(curves.dose_response(arm, cell.seed, status.get("record") or {}))
                if cell.name in run.views:
                    view = fragment(run.views[cell.name])
                    drawn.append(f"<details><summary>{escape(arm)}, answer by answer</summary>{view}</details>")
        if any(drawn):
            parts.append(f"<h3>{escape(panel.model)}</h3>{''.join(drawn)}")
    if not parts:
        return "<p>No arm of this run was tuned over a strength.</p>"
    legend = curves.swatches(
        [("accuracy %, with 95 % interval", "circle", svg.BLUE, ""), ("trace rate %", "hollow", svg.ORANGE, "3 3")]
    )
    intro = (
        "<p>How strength and layer were chosen. These problems are from the select split, not from the test problems "
        "that everything else on this page is about; the chosen point is ringed. "
        "Strengths are spaced evenly, not to scale. Answer by answer: the chosen edit at every strength tried, beside "
        "the base, from the same random numbers; underlined tokens are not on the other side, colour is "
        "KL(steered‖base) at a token.</p>"
    )
    return intro + legend + "".join(parts)


def _pass_at_k(run: Run, found: list[Panel]) -> str:
    parts = []
    for panel in found:
        arms = run.arms.get(panel.model, {})
        votes = {arm: majority(data.rows.get(panel.task) or []) for arm, data in arms.items()}
        drawn = curves.pass_at_k(panel, votes)
        if drawn:
            parts.append(f"<h3>{escape(panel.model)}</h3>{drawn}")
    if not parts:
        return "<p>No samples at temperature 1 were drawn in this run (<code>samples: 0</code>).</p>"
    legend = curves.swatches(
        [
            ("pass@k, with 95 % interval", "circle", svg.BLUE, ""),
            ("with a valid trace only", "hollow", svg.GREEN, "4 3"),
            ("base's pass@k", None, svg.GREY, ""),
            ("uniform guesser", None, svg.GREY, "1 3"),
            ("majority vote of a seed's samples", "diamond", svg.ORANGE, "none"),
        ]
    )
    intro = (
        "<p>Share of problems with at least one right answer among k samples at temperature 1 (unbiased estimate, all "
        "seeds of an arm pooled per problem), in percent. A guesser also gets better with k: look at the distance.</p>"
    )
    return intro + legend + "".join(parts)


def _answers(run: Run, found: list[Panel]) -> str:
    rule = (
        f"<p>Not hand-picked: the first {completions.FIRST} problems in the run's order, then the first problem of "
        f"each further pattern of right and wrong arms, up to {completions.PATTERNS}. That second group shows "
        "exceptions once each, however rare, and is no sample. Own answers of each arm's first finished seed. "
        "Characters that cannot be seen are written out, as U+202E.</p>"
    )
    return rule + _each(found, lambda panel: completions.section(run, panel))


def _again(run: Run) -> str:
    given = run.manifest.get("command")
    words = [str(word) for word in given] if isinstance(given, list) else []
    typed = f"{shlex.join(words)}\n" if words else ""
    if words[:2] != ["elicit", "run"]:
        typed += f"elicit run {shlex.quote(run.name)}/spec.yaml --out runs/again\n"
    typed += f"elicit verify {shlex.quote(run.name)}"
    shown = json.dumps(run.manifest, indent=1, ensure_ascii=False)
    return (
        f'<pre class="file">{escape(visible(typed))}</pre>'
        f'<details><summary>Spec</summary><pre class="file">{escape(run.spec_text)}</pre></details>'
        "<details><summary>Manifest: code, packages, machine, seeds, times</summary>"
        f'<pre class="file">{escape(shown)}</pre></details>'
    )


_READING = """<dl>
<dt>accuracy, traces, finished</dt>
<dd>Share of problems, over the arm's own answers (one a problem and seed). The interval is Wilson's at the effective
sample size, clustered by problem: n counts problems, seeds only sharpen each problem. It speaks of these trained
models, not of other training runs.</dd>
<dt>points to SFT, points to base</dt>
<dd>Paired difference on the same problems. Between single runs: exact McNemar test with Tango's score interval. Where
an arm has several seeds: a two-level t interval over training seeds and problems. p is after Holm's correction over the
arms of one model.</dd>
<dt>gap recovered</dt>
<dd>(arm − base) / (ceiling − base), free to leave 0 to 100 %. Withheld where the ceiling does not exceed the base by
two standard errors: a share of nothing is not a number. Percentile bootstrap over problems, with a seed part.</dd>
<dt>pass@k</dt>
<dd>1 − C(n−c, k)/C(n, k) per problem, averaged; interval clustered by problem.</dd>
<dt>KL, tokens</dt>
<dd>Means with t intervals, over texts or problems; KL over training seeds where an arm has several.</dd>
<dt>–</dt>
<dd>Does not apply or is not known. It is never 0.</dd>
<dt>not covered</dt>
<dd>Each base model is one training run itself: how the same recipe would turn out with another seed is not in any
interval here.</dd>
</dl>"""
