"""The parts of a feature's page, each as an HTML fragment."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from elicit.schema import Estimate
from elicit.text import escape
from saes.dashboard import plots
from saes.dashboard.bands import Activity, Example
from saes.dashboard.contrasting import Contrast, Prompt
from saes.dashboard.lens import Effect
from saes.dashboard.studies import Dose, Neighbour, Study
from saes.dashboard.text import Vocabulary, number, percent, signed, span, token

#: Shades a token's background has.
SHADES = 8
Link = Callable[[int], str | None]


def tokens(
    ids: Sequence[int],
    activations: Sequence[float],
    words: Vocabulary,
    largest: float,
    peak: int | None = None,
    *,
    titles: bool = True,
) -> str:
    """Running text, each firing token shaded by its share of `largest`, with its exact activation as a tooltip."""
    pieces = []
    for place, (index, value) in enumerate(zip(ids, activations, strict=True)):
        body = token(words.text(index))
        css = ["s"] if index in words.special else []
        if value > 0:
            css.insert(0, f"a{min(SHADES, max(1, math.ceil(SHADES * value / largest)))}")
        if place == peak:
            css.append("p")
        said = "not read by the SAE" if math.isnan(value) else f"{exact(value)} · token {index}"
        title = f' title="{said}"' if titles else ""
        if value > 0 or place == peak:
            pieces.append(f'<mark class="{" ".join(css)}"{title}>{body}</mark>')
        elif css:
            pieces.append(f"<span class='s'{title}>{body}</span>")
        else:
            pieces.append(body)
    return "".join(pieces)


def exact(value: float) -> str:
    """An activation with six significant digits."""
    return "–" if math.isnan(value) else f"{value:.6g}"


def example(shown: Example, words: Vocabulary, largest: float) -> str:
    body = tokens(shown.ids, shown.activations, words, largest, shown.peak)
    before = "" if shown.opens else '<span class="cut">…</span>'
    after = "" if shown.closes else '<span class="cut">…</span>'
    return (
        f'<li><span class="v" title="{exact(shown.value)}">{number(shown.value, 4)}</span>'
        f'<code dir="ltr">{before}{body}{after}</code></li>'
    )


def examples(activity: Activity, words: Vocabulary) -> str:
    """Top examples, then those sampled from each band."""
    if not activity.count:
        return "<p>It does not fire on this text.</p>"
    count = len(activity.top)
    parts = [
        f"<h3>Strongest <span class='note'>{count} of {activity.count:,} firings: one a sequence, contexts once</span>"
        "</h3>",
        _listed(activity.top, words, activity.maximum),
    ]
    for band in activity.bands:
        low, high = band.quantiles
        drawn = f"{len(band.examples)} drawn at random" if band.examples else "none among those sampled"
        note = (
            f"activation {number(band.low)} to {number(band.high)} · {band.count:,} firings "
            f"({percent(band.count / activity.count)} %), {drawn}"
        )
        parts.append(f"<h3>Quantiles {100 * low:.0f} to {100 * high:.0f} % <span class='note'>{note}</span></h3>")
        parts.append(_listed(band.examples, words, activity.maximum))
    return "".join(parts)


def _listed(shown: Sequence[Example], words: Vocabulary, largest: float) -> str:
    return f'<ol class="ex">{"".join(example(one, words, largest) for one in shown)}</ol>'


def scale(largest: float) -> str:
    """The legend of the shading."""
    steps = "".join(f'<i class="a{i}"></i>' for i in range(1, SHADES + 1))
    return f'<p class="scale note">activation 0 <span aria-hidden="true">{steps}</span> {number(largest)}</p>'


def histogram(activity: Activity) -> str:
    zeros = activity.tokens - activity.count
    note = (
        f"<p class='note'>Above 0 on {activity.count:,} of {activity.tokens:,} tokens ({percent(activity.density)} %), "
        f"zero on {zeros:,}.</p>"
    )
    return f"<h2>Activations</h2>{plots.activations(activity.histogram, zeros)}{note}"


def lens(effect: Effect, words: Vocabulary) -> str:
    rows = [_logit(up, words) + _logit(down, words) for up, down in zip(effect.raised, effect.lowered, strict=True)]
    table = _table(("raises", "lowers"), rows, "lens", span=2)
    return (
        f"<h2>Logit lens</h2>{table}"
        f"{plots.logits(effect.edges, effect.counts)}"
        "<p class='note'>Logits that the final norm and the unembedding make of the decoder row alone, less their mean "
        f"over the vocabulary (n = {effect.tokens:,} tokens). What the feature writes, not all it does.</p>"
    )


def _logit(entry: tuple[int, float], words: Vocabulary) -> str:
    index, value = entry
    css = ' class="s"' if index in words.special else ""
    body = token(words.text(index), alone=True)
    return f'<td><code title="token {index}"{css}>{body}</code></td><td class="r">{signed(value)}</td>'


def neighbours(title: str, note: str, found: Sequence[Neighbour], study: Study, link: Link) -> str:
    if not found:
        return ""
    rows = []
    for feature, value in found:
        effect = study.lens.of(feature) if study.lens else None
        raised = token(study.vocabulary.text(effect.raised[0][0]), alone=True) if effect and effect.raised else ""
        code = f"<code>{raised}</code>" if raised else ""
        rows.append(f'<td>{linked(feature, link)}</td><td class="r">{signed(value)}</td><td>{code}</td>')
    return f"<h2>{title}</h2>{_table(('feature', note, 'raises most'), rows, 'near')}"


def basis(row: Float[np.ndarray, " d_model"]) -> str:
    """The decoder row's largest entries: other dashboards show them as neuron alignment."""
    total = np.abs(row).sum()
    rows = [
        f'<td>{i}</td><td class="r">{signed(float(row[i]))}</td><td class="r">{percent(abs(row[i]) / total)} %</td>'
        for i in np.argsort(-np.abs(row), kind="stable")[:3]
    ]
    table = _table(("dimension", "value", "share of L1"), rows, "basis")
    return f"<details><summary>Largest entries of the decoder row</summary>{table}</details>"


def _table(heads: Sequence[str], rows: Sequence[str], css: str, *, span: int = 1) -> str:
    scope = f'colspan="{span}" scope="colgroup"' if span > 1 else 'scope="col"'
    head = "".join(f"<th {scope}>{name}</th>" for name in heads)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table class="{css}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def linked(feature: int, link: Link) -> str:
    target = link(feature)
    return str(feature) if target is None else f'<a href="{escape(target)}">{feature}</a>'


def contrasted(contrast: Contrast, feature: int, words: Vocabulary, largest: float) -> str:
    """The same problems under both conditions, and the means at the last prompt token."""
    found = contrast.of(feature)
    if found is None:
        return ""
    positive, negative = contrast.names
    largest = max([largest, *(a for pair in found.shown for side in pair for a in side.activations if a > 0)])
    panels = []
    for name, side, estimate in ((negative, 1, found.negative), (positive, 0, found.positive)):
        rows = "".join(_prompt(pair[side], words, largest) for pair in found.shown)
        panels.append(
            f'<div class="panel"><h3>{escape(name)} <span class="note">at the last prompt token {measured(estimate)}'
            f'</span></h3><ol class="ex">{rows}</ol></div>'
        )
    chart = plots.means([(negative, found.negative), (positive, found.positive), ("difference", found.paired)])
    return (
        f"<h2>{escape(positive.capitalize())} against {escape(negative)}</h2>"
        f'<div class="pair">{"".join(panels)}</div>'
        f'<div class="pair"><div>{chart}</div><p class="note">Mean activation at the last prompt token with 95 % t '
        f"intervals over problems; the difference is paired: {measured(found.paired)}. The problems shown are "
        "the first of them, not chosen; the number at their left is the activation at the last token.</p></div>"
    )


def _prompt(prompt: Prompt, words: Vocabulary, largest: float) -> str:
    last = prompt.activations[-1]
    body = tokens(prompt.ids, prompt.activations, words, largest, len(prompt.ids) - 1)
    return f'<li><span class="v" title="{exact(last)}">{number(last, 4)}</span><code dir="ltr">{body}</code></li>'


def measured(estimate: Estimate) -> str:
    """A mean with its interval and n; without an interval, why."""
    ci = span(estimate.ci) or ("(all equal)" if estimate.n > 1 else "(no interval)")
    return f"{number(estimate.value)} {ci}, n = {estimate.n}"


def dosed(doses: Sequence[Dose]) -> str:
    """Accuracy and trace rate against strength, one chart a curve and layer."""
    charts = []
    for dose in doses:
        for layer in dict.fromkeys(point.get("layer") for point in dose.points):
            points = [point for point in dose.points if point.get("layer") == layer]
            counts = sorted({int(point["n"]) for point in points})
            n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
            title = f"{dose.label}, layer {layer}"
            charts.append(
                f"<figure>{plots.doses(points, f'{title}: accuracy and trace rate over strength', dose.unit)}"
                f"<figcaption class='note'>{escape(title)}; {n} problems a point</figcaption></figure>"
            )
    if not charts:
        return ""
    key = (
        '<p class="note"><span class="key right"></span> accuracy % <span class="key trace"></span> trace rate %, '
        "with 95 % Wilson intervals. Strengths are spaced evenly, not to scale.</p>"
    )
    return f"<h2>Dose-response</h2><div class='charts'>{''.join(charts)}{key}</div>"
